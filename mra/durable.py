"""Changes to files and directories that survive power loss: a rename counts once its directory is synced."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO


def sync_directory(path: Path) -> None:
    """Flush the entries of one directory to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(
    path: Path, content: bytes, *, mode: int = 0o600, synced: bool = True, sole_writer: bool = False
) -> None:
    """Make `path` hold `content`, all of it or none; a reader never sees a part. Raises OSError. Blocking.

    The temporary file stands beside it, hidden and under another suffix, and is removed on any failure.

    Args:
        mode: of the file, whatever the umask is.
        synced: whether it has to survive a power loss once this returns.
        sole_writer: nobody else writes this file, so the temporary one may have a fixed name, and what a kill left of
            it is replaced instead of staying for ever.
    """
    with _replacement(path, synced=synced, sole_writer=sole_writer) as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)


@contextmanager
def replacement(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the name `path` when the block is left: all of it, on the disk, or none.

    For what is too large to hold, and for disks of other systems: its mode is 0600 where the disk knows modes. Raises
    OSError. Blocking.
    """
    with _replacement(path, synced=True, sole_writer=False) as file:
        yield file


@contextmanager
def _replacement(path: Path, *, synced: bool, sole_writer: bool) -> Iterator[BinaryIO]:
    fd, temporary = _create_fixed(path) if sole_writer else _create_unique(path)
    try:
        with open(fd, "wb") as file:
            yield file
            file.flush()
            if synced:
                os.fsync(fd)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if synced:
        sync_directory(path.parent)


def _create_unique(path: Path) -> tuple[int, Path]:
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    return fd, Path(name)


def _create_fixed(path: Path) -> tuple[int, Path]:
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), temporary
