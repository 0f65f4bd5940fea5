"""Step the wall clock of one running process, and of no other.

`shift.c` is compiled on the spot and preloaded into the processes that are started with `WallClock.environment`. It
adds an offset, read from a mapped file, to what they learn of the time of day; their monotonic clocks stay true, so
timers run as they would through a real step of the clock. It works through the C library: Python and SQLite are
shifted, a statically linked Go program is not. Time stamps that the kernel sets, those of files, stay true as well.
"""

from __future__ import annotations

import functools
import os
import shutil
import struct
import subprocess
from pathlib import Path

import trio

SOURCE = Path(__file__).with_name("shift.c")
OFFSET = struct.Struct("=q")
NANOSECONDS = 1_000_000_000
YEAR = 365.25 * 86_400


@functools.cache
def missing() -> str | None:
    """Why clocks cannot be shifted here, or None when they can."""
    return None if shutil.which("cc") else "there is no C compiler (cc)"


class WallClock:
    """The wall clock of every process started with `environment`. Made by `make_wall_clock`."""

    def __init__(self, library: Path, offset: Path) -> None:
        self._offset = offset
        self.environment = {"LD_PRELOAD": str(library), "SHIFT_CLOCK_FILE": str(offset)}
        self.set(0)

    def set(self, seconds: float) -> None:
        """Let the clock be this far ahead of the true one, or behind it; processes see it at their next look."""
        file = os.open(self._offset, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.pwrite(file, OFFSET.pack(round(seconds * NANOSECONDS)), 0)
        finally:
            os.close(file)


async def make_wall_clock(directory: Path) -> WallClock:
    """Compile the library into a directory that exists; the clock is right at first."""
    library = directory / "shift.so"
    command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise OSError(f"cc could not compile {SOURCE}: {done.stdout.decode()}")
    return WallClock(library, directory / "clock-offset")
