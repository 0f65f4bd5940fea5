"""Looks at processes that commands of watchers started."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie that somebody else has to reap does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def is_known(pid: int) -> bool:
    """Whether the kernel knows the process at all, if only as a zombie."""
    return Path(f"/proc/{pid}").exists()


def children() -> set[int]:
    """All child processes of this one, zombies too."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(word) for each in lists for word in each.read_text().split()}


async def wait_for(condition: Callable[[], object]) -> None:
    """Look again and again, for things that other processes do."""
    with trio.fail_after(20):
        while True:
            if condition():
                return
            await trio.sleep(0.01)


async def wait_gone(*pids: int) -> None:
    """Wait until none of the processes runs."""
    await wait_for(lambda: not any(is_alive(pid) for pid in pids))


async def pids_in(path: Path, count: int) -> list[int]:
    """The process ids a script wrote into a file, one to a line, once there are enough."""

    def words() -> list[str]:
        return path.read_text().split() if path.exists() else []

    await wait_for(lambda: len(words()) >= count)
    return [int(word) for word in words()]
