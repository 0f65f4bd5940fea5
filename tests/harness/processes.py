"""Child processes that a test can kill, stop and continue, and that never outlive it.

Three nets catch a child, because chaos tests themselves get killed: leaving the block kills its whole process group;
the kernel kills it when the test process dies (PR_SET_PDEATHSIG, set by `setpriv` of util-linux); and its output goes
to a file, so that nothing blocks on a pipe that nobody reads.

The kernel binds the death signal to the *thread* that started the child. `trio.lowlevel.open_process` starts children
from short-lived worker threads, which would have them killed at random, hence `subprocess` from the main thread.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path


class Child:
    """One running process; its standard output and error are appended to `log`."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if environment is None else {**os.environ, **environment},
                start_new_session=True,
            )
        self._exit = os.pidfd_open(self._process.pid)
        self.log = log

    @property
    def pid(self) -> int:
        """The process id; `setpriv` becomes the command, so it is the command's own."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, minus the signal number if one ended it, or None while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process alone; nothing happens when it has ended."""
        self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait until the process has ended and give its status. Cancelling leaves it running."""
        while (status := self._process.poll()) is None:
            await trio.lowlevel.wait_readable(self._exit)
        return status

    async def suspend(self) -> None:
        """SIGSTOP, and wait until every thread of it stands still."""
        self.signal(signal.SIGSTOP)
        stopped_or_gone = os.WSTOPPED | os.WEXITED | os.WNOWAIT
        await trio.to_thread.run_sync(os.waitid, os.P_PID, self.pid, stopped_or_gone)

    def resume(self) -> None:
        """SIGCONT: it goes on where it stood."""
        self.signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it with SIGKILL, suspended or not, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def terminate(self) -> int:
        """Ask with SIGTERM and wait for its own end, as long as the caller's deadline allows."""
        self.signal(signal.SIGTERM)
        return await self.wait()

    async def aclose(self) -> None:
        """Kill the process and what it left in its process group. Not interrupted by cancellation."""
        with trio.CancelScope(shield=True):
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            await self.wait()
        os.close(self._exit)


@asynccontextmanager
async def open_child(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Child]:
    """Run a command for the length of the block. `environment` is added to that of the tests."""
    child = Child(command, log, environment)
    try:
        yield child
    finally:
        await child.aclose()
