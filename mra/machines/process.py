"""Runs the commands of watchers, and leaves none of them behind (section 3.1 of the reference).

A command gets exactly the environment and the directory it is given, a session of its own, no input, and one pipe for
both its outputs. It is over when it has ended and nobody holds the pipe any more, or when its time is up. Then, and
when the caller is cancelled, the whole process group is killed, grandchildren included (Choria kills the child only,
and waits for ever for a grandchild that holds the pipe). Processes that detach into a session of their own are beyond
reach; the pipe is closed on them.

The group is signalled only while its leader has not been waited for: until then its number belongs to nobody else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from mra.errors import BadInput, Unavailable
from mra.log import logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

log = logger("machines")
MOST_OUTPUT: Final = 1024 * 1024
_CHUNK: Final = 64 * 1024
_REAP_SECONDS: Final = 5.0  # a killed process that has not gone by then hangs in the kernel


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ran. `code` is its exit status, or the negative number of the signal that ended it."""

    code: int
    output: bytes
    truncated: bool  # there was more than `MOST_OUTPUT`; the rest was read and thrown away
    timed_out: bool
    seconds: float

    @property
    def trouble(self) -> str:
        """Why it counts as failed; empty when it does not."""
        if self.timed_out:
            return "the command was killed, as its time was up"
        if self.code < 0:
            return f"the command was ended by signal {-self.code}"
        return f"the command ended with exit code {self.code}" if self.code else ""


async def run(
    words: Sequence[str], *, directory: Path, environment: Mapping[str, str], patience: float, path: str | None = None
) -> Finished:
    """Run a command and wait for its end, at most `patience` seconds. Cancelled, it leaves no process of its group.

    A program without a slash is looked up in `path`, by default the agent's PATH, and never in the command's own
    environment; one with a slash is relative to the directory.

    Raises:
        BadInput: there is nothing to run.
        Unavailable: the program cannot be started.
    """
    started = trio.current_time()
    process = await _start(words, directory, environment, path, subprocess.PIPE)
    assert process.stdout is not None
    output = bytearray()
    ended = False
    try:
        with trio.move_on_after(patience):
            await _drain(process.stdout, output)
            await process.wait()
            ended = True
    finally:
        await _finish(process, kill=not ended)
    code = -signal.SIGKILL if process.returncode is None else process.returncode
    return Finished(
        code=code,
        output=bytes(output[:MOST_OUTPUT]),
        truncated=len(output) > MOST_OUTPUT,
        timed_out=not ended and code == -signal.SIGKILL,
        seconds=trio.current_time() - started,
    )


async def run_detached(
    words: Sequence[str], *, directory: Path, environment: Mapping[str, str], path: str | None = None
) -> Finished:
    """Run a command that outlives its caller: its output goes nowhere, and cancellation stops only the waiting.

    Raises as `run` does.
    """
    started = trio.current_time()
    process = await _start(words, directory, environment, path, subprocess.DEVNULL)
    try:
        code = await process.wait()
    except trio.Cancelled:
        trio.lowlevel.spawn_system_task(process.wait, name=f"reap {process.pid}")  # or it would stay a zombie
        raise
    return Finished(code, b"", truncated=False, timed_out=False, seconds=trio.current_time() - started)


async def _start(
    words: Sequence[str], directory: Path, environment: Mapping[str, str], path: str | None, output: int
) -> trio.Process:
    program = _find(words, path)
    try:
        return await trio.lowlevel.open_process(
            [program, *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output == subprocess.PIPE else output,
            cwd=directory,
            env=dict(environment),
            start_new_session=True,
        )
    except (OSError, ValueError) as fault:  # ValueError: a zero byte, or text that no file name can hold
        reason = (fault.strerror if isinstance(fault, OSError) else None) or str(fault)
        raise Unavailable(
            f"{words[0][:200]!r} cannot be started in {directory} ({reason}); check the command"
        ) from fault


def _find(words: Sequence[str], path: str | None) -> str:
    if not words or not words[0]:
        raise BadInput("the command is empty; name a program")
    if "/" in words[0]:
        return words[0]
    found = shutil.which(words[0], path=os.environ.get("PATH", os.defpath) if path is None else path)
    if found is None or not os.path.isabs(found):
        hint = "a program of the machine's own directory is written ./program"
        raise Unavailable(f"there is no program {words[0][:200]!r} in the agent's PATH; {hint}")
    return found


async def _drain(pipe: trio.abc.ReceiveStream, output: bytearray) -> None:
    """Read to the end. Of what is beyond the limit one byte is kept, and reading slows down: floods cost little CPU."""
    while chunk := await pipe.receive_some(_CHUNK):
        output += chunk[: max(0, MOST_OUTPUT + 1 - len(output))]
        if len(output) > MOST_OUTPUT:
            await trio.sleep(0.01)


async def _finish(process: trio.Process, *, kill: bool) -> None:
    """Close the pipe, and end the process group if it may still be there."""
    if kill:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with trio.CancelScope(shield=True):
        if process.stdout is not None:
            await process.stdout.aclose()
        with trio.move_on_after(_REAP_SECONDS):
            await process.wait()
        if process.returncode is None:
            log.warning("a killed process does not go away", pid=process.pid)
