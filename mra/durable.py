"""Changes to files and directories that survive power loss: a rename counts once its directory is synced."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


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
    fd, temporary = _create_fixed(path) if sole_writer else _create_unique(path)
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(content)
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
