"""Disk space set aside: SQLite needs room even to delete, so a full disk would otherwise stop the draining too."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Ballast:
    """A file of reserved blocks that is given up when the disk is full and set aside again when there is room."""

    def __init__(self, path: Path, size: int, min_free: int) -> None:
        self._path = path
        self._size = size
        self._min_free = min_free

    @property
    def is_set(self) -> bool:
        """Whether the space is set aside right now."""
        try:
            return self._path.stat().st_blocks * 512 >= self._size
        except OSError:
            return False

    def set_aside(self) -> bool:
        """Reserve the blocks if the host can spare them; return whether they are reserved. Never raises."""
        if not self._size:
            self.release()
            return False
        if self.is_set:
            return True
        try:
            room = os.statvfs(self._path.parent)
            if room.f_bavail * room.f_frsize < self._min_free + self._size:
                return False
            descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            os.posix_fallocate(descriptor, 0, self._size)
        except OSError:
            os.ftruncate(descriptor, 0)
            return False
        finally:
            os.close(descriptor)
        return True

    def release(self) -> bool:
        """Give the blocks up; return whether there were any. Never raises."""
        try:
            had = self._path.stat().st_blocks > 0
            self._path.unlink()
        except OSError:
            return False
        return had
