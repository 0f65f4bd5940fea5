"""Unpacks an archive into a new directory (section 3.4 of the reference). Blocking."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mra.errors import BadInput
from mra.machines.archives.limits import DEFAULT_LIMITS, Limits
from mra.machines.archives.members import Member, MemberReader
from mra.machines.archives.tree import below, create_file, make_directory, opened_directory, remove

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PERMITTED = 0o755  # no set-user-id, set-group-id or sticky bits, and nothing that others may write


def extract(
    archive: Path,
    into: Path,
    *,
    limits: Limits = DEFAULT_LIMITS,
    checkpoint: Callable[[], None] = lambda: None,
) -> None:
    """Unpack `archive` into the directory `into`, which must not exist yet; every file is synced to the disk.

    Modes are those of the archive, less what `_PERMITTED` and the umask take away; owners and times are not taken over.
    Directories that the archive forgot are made. On any failure `into` is removed again.

    Args:
        checkpoint: called between pieces of work; raise from it to give up.

    Raises:
        BadInput: a member is not acceptable, or there are too many of them, or too large ones.
        OSError: the disk is full or broken.
    """
    into.mkdir(mode=0o700)
    try:
        with archive.open("rb") as file, opened_directory(into) as root:
            seen: set[tuple[str, ...]] = set()
            reader = MemberReader(file, os.fstat(file.fileno()).st_size, limits)
            for member in reader:
                checkpoint()
                if member.parts:
                    _note(member, seen)
                    _write(root, member, reader, checkpoint)
            for directory in {parts[:-1] for parts in seen}:
                with below(root, directory) as fd:
                    os.fsync(fd)
    except BaseException:
        remove(into)
        raise


def _note(member: Member, seen: set[tuple[str, ...]]) -> None:
    if member.parts in seen:
        raise BadInput(f"archive has {'/'.join(member.parts)} twice; pack it again")
    seen.add(member.parts)


def _write(root: int, member: Member, reader: MemberReader, checkpoint: Callable[[], None]) -> None:
    *directories, name = member.parts
    try:
        with below(root, directories, create=True) as parent:
            if member.is_directory:
                make_directory(parent, name, member.mode & _PERMITTED | 0o700)
                return
            with create_file(parent, name, member.mode & _PERMITTED | 0o600) as file:
                for piece in reader.chunks():
                    checkpoint()
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
    except (FileExistsError, NotADirectoryError) as cause:
        raise BadInput(
            f"archive has {'/'.join(member.parts)} both as a file and as a directory; pack it again"
        ) from cause
