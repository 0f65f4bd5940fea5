"""Reading files that lie where others can put things: never waiting for a pipe, never more than is sane."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read_regular(path: Path, most: int) -> bytes:
    """The contents of a regular file, at most `most` bytes and one more, so that the caller sees what is too long.

    Raises OSError, also for anything that is no regular file. Blocking, but not on pipes or devices.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return file.read(most + 1)
