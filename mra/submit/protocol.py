"""What is said over the submission socket. Pure.

A connection carries any number of requests, each followed by its answer, in order. Both are frames: the length of the
document in four bytes, the highest first, then the document, in JSON as UTF-8.

    request   {"v": 1, "subject": "app.metrics", "payload": "<base64>"}
              and, optional: id (string; chosen by the sender, so that it may ask again), reliable (boolean),
              ttl (seconds), priority (0 to 4), tries (integer), headers (object of strings)
    answer    {"v": 1, "receipt": {"lane": "submissions", "seq": 17, "id": "...", "repeated": false}}
              {"v": 1, "error": "<one sentence>", "retry": true}

The answer comes after the record is on disk. `retry` tells whether asking the same again can help. There is no key
for sender or identity: the agent knows both. A request that cannot be read is answered with an error too; when its
frame is too long the connection is closed after the answer, because what follows cannot be told apart.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from mra.errors import BadInput, MraError, Refused, Unavailable
from mra.outbox.record import Lane, Receipt
from mra.submit.message import MOST_HEADER_BYTES, Submission

T = TypeVar("T")

VERSION: Final = 1
LENGTH_BYTES: Final = 4
LONGEST_ANSWER: Final = 64 * 1024
_AROUND: Final = 4 * 1024 + 6 * MOST_HEADER_BYTES  # JSON may write a byte of a header in six characters


class _Request(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    v: int
    subject: str
    payload: bytes
    id: str | None = None
    reliable: bool = False
    ttl: float | None = None
    priority: int = 4
    tries: int | None = None
    headers: dict[str, str] = {}


class _Receipt(msgspec.Struct):
    lane: str
    seq: int
    id: str
    repeated: bool = False


class _Answer(msgspec.Struct, omit_defaults=True):
    v: int
    receipt: _Receipt | None = None
    error: str | None = None
    retry: bool | None = None


def longest_request(max_payload: int) -> int:
    """Bytes of the longest document that can hold a valid submission."""
    return (max_payload + 2) // 3 * 4 + _AROUND


def frame(document: bytes) -> bytes:
    """The document with its length in front."""
    return len(document).to_bytes(LENGTH_BYTES, "big") + document


def encode_request(submission: Submission) -> bytes:
    """A submission as a document. Its sender stays behind."""
    return msgspec.json.encode(
        _Request(
            v=VERSION,
            subject=submission.subject,
            payload=submission.payload,
            id=submission.id,
            reliable=submission.reliable,
            ttl=submission.ttl,
            priority=submission.priority,
            tries=submission.tries,
            headers=dict(submission.headers),
        )
    )


def decode_request(document: bytes) -> Submission:
    """The submission in a document; it still has to be checked. Raises BadInput."""
    request = _decode(document, _Request, "request")
    if request.v != VERSION:
        raise BadInput(f"The request is of version {request.v}, and this agent speaks version {VERSION}: update it.")
    fields: dict[str, Any] = {name: getattr(request, name) for name in request.__struct_fields__ if name != "v"}
    if request.id is None:
        del fields["id"]
    return Submission(**fields)


def encode_receipt(receipt: Receipt) -> bytes:
    """The answer to a request that was accepted."""
    return msgspec.json.encode(
        _Answer(VERSION, receipt=_Receipt(receipt.lane, receipt.seq, receipt.id, receipt.repeated))
    )


def encode_error(error: MraError) -> bytes:
    """The answer to a request that was not."""
    return msgspec.json.encode(_Answer(VERSION, error=error.sentence[:4096], retry=isinstance(error, Unavailable)))


def decode_answer(document: bytes) -> Receipt:
    """The receipt in an answer. Raises the agent's refusal as BadInput, its "not now" as Unavailable."""
    try:
        answer = _decode(document, _Answer, "answer")
        if answer.receipt:
            found = answer.receipt
            return Receipt(Lane(found.lane), found.seq, found.id, found.repeated)
    except (Refused, ValueError) as error:
        raise Unavailable(f"The agent's answer cannot be read ({error}): update mra on both sides.") from error
    raise (Unavailable if answer.retry else BadInput)(answer.error or "The agent refused without a reason.")


def _decode(document: bytes, type_: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(document, type=type_)
    except msgspec.ValidationError as error:
        raise BadInput(f"The {what} is wrong: {_plain(str(error))}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"The {what} is no JSON document ({error}).") from error


def _plain(message: str) -> str:
    return message.replace("Object contains unknown field", "unknown key").replace("Object missing required", "missing")
