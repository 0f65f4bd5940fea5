"""Three clocks, kept apart.

The wall clock is for people: it may be wrong by years and step at any time, so nothing is decided by it. Ages are
taken from `CLOCK_BOOTTIME`, which counts suspended time and never steps, together with the id of the boot it counts in.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NANOSECONDS = 1_000_000_000


class Stamp(NamedTuple):
    """One moment: wall clock (ns since 1970), boot time (ns since boot) and the boot it belongs to."""

    wall: int
    mono: int
    boot_id: str


@cache
def boot_id() -> str:
    """Name of the running boot; where the host offers none, one boot is assumed to last for ever."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def now() -> Stamp:
    """This moment on all three clocks."""
    return Stamp(time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME), boot_id())
