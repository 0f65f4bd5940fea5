"""One daemon per state directory: a lock that the kernel drops when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mra.errors import BadInput, Busy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOOKS, _LOOK_SECONDS = 3, 0.02


@contextmanager
def daemon_lock(path: Path) -> Iterator[None]:
    """Hold the lock for a block. Raises Busy, naming the holder's process id; BadInput where no lock can be made."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadInput(f"Cannot make {path} ({error.strerror}): check agent.state, its owner and its disk.") from error
    try:
        try:
            _lock(descriptor)
        except BlockingIOError as error:
            holder = _read_holder(descriptor) or "unknown"
            raise Busy(
                f"Another daemon (process {holder}) runs on {path.parent}: stop it, or choose another state directory."
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    for _ in range(_LOOKS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOOK_SECONDS)  # it may be `holder_of`, which is gone in a moment
        else:
            return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def holder_of(path: Path) -> int | None:
    """Process id of the daemon that holds the lock, None when none does or it cannot be told."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_holder(descriptor)
    finally:
        os.close(descriptor)
    return None


def _read_holder(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip()
    return int(text) if text.isdecimal() else None
