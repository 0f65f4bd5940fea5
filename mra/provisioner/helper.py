"""Asks the SaaS's own program about a node: JSON in, JSON out, for a limited time and a limited amount.

The contract is Choria's (`provisioning.md`, section 7): one JSON object on standard input, one on standard output, exit
code 0. Whatever else the program does is a failure of this attempt and of nothing else. What it writes to standard
error goes into the log, as it is its author's to keep secrets out of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import trio

from mra.errors import Unavailable
from mra.log import logger

if TYPE_CHECKING:
    from pathlib import Path

log = logger("provision")
MOST_OUTPUT: Final = 256 * 1024
_MOST_COMPLAINT: Final = 4096
_REAP_SECONDS: Final = 5.0


class ServerClaims(msgspec.Struct, frozen=True):
    """What a helper may say about the server token; the rest of it is not the helper's to choose."""

    ou: str = "choria"
    exp: int = 0  # second since 1970; 0 for the usual validity
    collectives: list[str] = msgspec.field(default_factory=lambda: ["choria"])
    permissions: dict[str, bool] = msgspec.field(default_factory=dict)


class HelperAnswer(msgspec.Struct, frozen=True):
    """What a helper decided: enrol the node with this configuration, look at it again later, or have it stop."""

    defer: bool = False
    shutdown: bool = False
    msg: str = ""
    configuration: dict[str, str] = msgspec.field(default_factory=dict)
    server_claims: ServerClaims = msgspec.field(default_factory=ServerClaims)


class Helper(Protocol):
    """Decides about nodes. Raises Unavailable when it cannot."""

    async def __call__(self, question: dict[str, Any], /) -> HelperAnswer: ...


class Program:
    """An executable as helper. Its process group is killed when its time is up, and when the caller is cancelled."""

    def __init__(self, path: Path, *, seconds: float = 10.0) -> None:
        self._path = path
        self._seconds = seconds

    async def __call__(self, question: dict[str, Any], /) -> HelperAnswer:
        """See `Helper`."""
        try:
            process = await trio.lowlevel.open_process(
                [str(self._path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(f"The helper {self._path} cannot be started ({error.strerror}): check it.") from error
        output, complaint = bytearray(), bytearray()
        ended = False
        try:
            with trio.move_on_after(self._seconds):
                await _converse(process, msgspec.json.encode(question), output, complaint)
                await process.wait()
                ended = True
        finally:
            await _finish(process)
        if complaint:
            log.info("the helper says", text=_printable(complaint))
        if not ended:
            raise Unavailable(f"The helper gave no answer within {self._seconds:g} s.")
        if process.returncode:
            raise Unavailable(f"The helper ended with exit code {process.returncode}.")
        return read_answer(bytes(output))


def read_answer(output: bytes) -> HelperAnswer:
    """The answer in what a helper printed. Raises Unavailable for anything else; it does not repeat the output."""
    if len(output) > MOST_OUTPUT:
        raise Unavailable(f"The helper printed more than {MOST_OUTPUT} bytes.")
    try:
        return msgspec.json.decode(output, type=HelperAnswer)
    except msgspec.ValidationError as error:
        raise Unavailable(f"The helper's answer has a wrong value ({error}).") from None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise Unavailable("The helper printed no JSON object.") from None


async def _converse(process: trio.Process, question: bytes, output: bytearray, complaint: bytearray) -> None:
    async def tell() -> None:
        assert process.stdin is not None
        with contextlib.suppress(trio.BrokenResourceError):  # a helper need not read what it does not care for
            await process.stdin.send_all(question)
        await process.stdin.aclose()

    assert process.stdout is not None
    assert process.stderr is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        nursery.start_soon(_keep, process.stdout, output, MOST_OUTPUT + 1)
        nursery.start_soon(_keep, process.stderr, complaint, _MOST_COMPLAINT)


async def _keep(pipe: trio.abc.ReceiveStream, into: bytearray, most: int) -> None:
    """Read to the end, and keep the beginning."""
    while chunk := await pipe.receive_some(65536):
        into += chunk[: most - len(into)]


async def _finish(process: trio.Process) -> None:
    """Leave no process behind, also none that the helper started and that holds its pipes."""
    if process.returncode is None:  # not waited for: the group's number belongs to nobody else
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with trio.CancelScope(shield=True):
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                await pipe.aclose()
        with trio.move_on_after(_REAP_SECONDS):
            await process.wait()


def _printable(text: bytes | bytearray) -> str:
    return re.sub(r"[^\x20-\x7e]+", " ", text.decode("utf-8", "replace")).strip()[:1000]
