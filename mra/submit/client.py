"""Hands a submission to the agent's socket. Blocking, for commands and other programs."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from mra.errors import BadInput, Unavailable
from mra.outbox.record import LARGEST_BODY
from mra.submit import protocol
from mra.submit.message import check

if TYPE_CHECKING:
    from pathlib import Path

    from mra.outbox.record import Receipt
    from mra.submit.message import Submission


def submit_over_socket(path: Path, submission: Submission, *, patience: float = 30.0) -> Receipt:
    """Submit, and return once the record is on disk.

    Raises Unavailable when no agent answers within `patience` seconds or it has no room; the record may then have been
    accepted all the same, and submitting it again under the same `submission.id` is safe. Raises BadInput when the
    agent refuses it for good, or when this user may not use the socket.
    """
    check(submission, LARGEST_BODY)  # how much the SaaS takes is for the agent to say
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as client:
        client.settimeout(patience)
        try:
            client.connect(str(path))
        except PermissionError as error:
            raise BadInput(f"This user may not submit through {path}: ask for access to the socket.") from error
        except OSError as error:
            raise Unavailable(f"No agent answers at {path} ({error}): start it with `mra run`.") from error
        try:
            # An agent that refuses early closes while we write; its answer can be read nevertheless.
            with suppress(BrokenPipeError):
                client.sendall(protocol.frame(protocol.encode_request(submission)))
            with client.makefile("rb") as stream:
                answer = _document(stream)
        except OSError as error:
            raise Unavailable(f"The agent at {path} gave no answer ({error}): submit it again.") from error
    return protocol.decode_answer(answer)


def _document(stream: BinaryIO) -> bytes:
    head = stream.read(protocol.LENGTH_BYTES)
    length = int.from_bytes(head, "big")
    document = stream.read(length) if length <= protocol.LONGEST_ANSWER else b""
    if len(head) < protocol.LENGTH_BYTES or len(document) < length:
        raise ConnectionError("the connection ended")
    return document
