"""Walks below one directory through file descriptors, so that no link can lead anywhere else. Blocking."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import BufferedReader, BufferedWriter
    from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def opened_directory(path: Path) -> Iterator[int]:
    """A descriptor of a directory that is no link itself."""
    fd = os.open(path, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def below(root: int, parts: Sequence[str], *, create: bool = False) -> Iterator[int]:
    """A descriptor of the directory `parts` below `root`; with `create`, missing ones are made, mode 0755 and umask.

    Raises OSError when one of them is a link or a file.
    """
    fd = os.dup(root)
    try:
        for part in parts:
            if create:
                make_directory(fd, part, 0o755)
            inner = os.open(part, _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def make_directory(parent: int, name: str, mode: int) -> None:
    """Make a directory unless there is one."""
    try:
        os.mkdir(name, mode, dir_fd=parent)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise


def create_file(parent: int, name: str, mode: int) -> BufferedWriter:
    """A new file for writing; raises FileExistsError for whatever has the name already."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return open(os.open(name, flags, mode, dir_fd=parent), "wb")


def open_regular(root: int, parts: Sequence[str]) -> BufferedReader:
    """A regular file below `root`, for reading; no link on the way is followed, and no pipe waited for."""
    with below(root, parts[:-1]) as parent:
        fd = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no regular file", "/".join(parts))
    return open(fd, "rb")


def remove(path: Path) -> None:
    """Remove whatever stands at `path`, a link itself rather than what it names; nothing there is fine."""
    try:
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        pass
