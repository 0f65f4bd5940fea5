"""Opening an outbox for writing, in whatever state its directory is: absent, foreign, newer, half salvaged.

What must not be opened is refused before SQLite may change a byte of it.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from mra.durable import sync_directory
from mra.errors import BadInput, Busy, StoreBroken
from mra.outbox import schema, sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mra.outbox.policy import OutboxSettings
    from mra.outbox.sqlite import Connection


def prepare(path: Path, settings: OutboxSettings) -> Connection:
    """A read-write connection to an up-to-date outbox, created when absent. The caller closes it.

    Raises BadInput for a path that cannot be or a file that is not ours, StoreBroken for a newer schema, Damaged for
    a file that needs a salvage, Busy while one is under way. Writes nothing to a database that is up to date.
    """
    _create(path)
    if salvaged_name(path).exists():
        raise Busy(f"{path} is being salvaged: the agent finishes that when it starts; try again then.")
    examine(path)
    if not os.access(path, os.W_OK):  # SQLite would open it for reading and say so at the first write
        raise StoreBroken(f"{path} cannot be written: check its owner, its mode and whether its disk is read-only.")
    connection = sqlite.connect(path, max_bytes=settings.max_bytes, synchronous=settings.synchronous)
    try:
        schema.migrate(connection, path)
    except sqlite.Error as error:
        connection.close()
        raise sqlite.translate(error, path) from error
    except BaseException:
        connection.close()
        raise
    return connection


class Guest(NamedTuple):
    """Another process's way into an outbox on which a daemon may be running."""

    connection: Connection
    path: Path
    file: tuple[int, int]

    def confirm(self) -> None:
        """Call between a commit and telling anybody about it: a salvage by the daemon may have replaced the file.

        The daemon locks a damaged file while it copies, so a commit is either copied or comes after the new file.
        Raises StoreBroken when it came after: it went into the old file, and counts for nothing.
        """
        if _identity(self.path) != self.file:
            raise StoreBroken(f"{self.path} was salvaged meanwhile, and what was just written is not in it: try again.")


@contextmanager
def open_beside(path: Path, settings: OutboxSettings) -> Iterator[Guest]:
    """`prepare` for a block of another process than the daemon; SQLite's errors come out translated."""
    while True:
        _create(path)
        before = _identity(path)
        connection = prepare(path, settings)
        if _identity(path) == before:
            break
        connection.close()
    try:
        yield Guest(connection, path, before)
    except sqlite.Error as error:
        raise sqlite.translate(error, path) from error
    finally:
        connection.close()


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def salvaged_name(path: Path) -> Path:
    """Where a finished salvage of `path` lies until it takes the damaged file's place."""
    return path.with_name(path.name + ".salvaged")


def examine(path: Path) -> None:
    """Raise BadInput for another program's database, StoreBroken for one that a newer mra has written."""
    if not path.is_file():
        raise BadInput(f"{path} is not a file: choose another state directory or move it away.")
    if path.stat().st_size == 0:
        return  # just created: by us, or by another process that is about to fill it
    found = sqlite.identify(path)
    if found.is_foreign:
        raise BadInput(f"{path} is not an outbox of mra: choose another state directory or move the file away.")
    if found.version > schema.newest():
        raise StoreBroken(
            f"{path} has schema {found.version}, and this program knows schemas up to {schema.newest()}: install a"
            " newer mra."
        )


def _create(path: Path) -> None:
    """Create the state directory 0700 and an empty database file 0600, durably, before SQLite touches either."""
    try:
        _create_directory(path.parent)
        if not path.exists() and not salvaged_name(path).exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            sync_directory(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise sqlite.DiskFull(f"No room to create {path}: free disk space.") from error
        raise BadInput(f"{path} cannot be created ({error.strerror}): check agent.state and its owner.") from error


def _create_directory(directory: Path) -> None:
    if directory.is_dir():
        return
    _create_directory(directory.parent)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        if not directory.is_dir():
            raise
    sync_directory(directory.parent)
