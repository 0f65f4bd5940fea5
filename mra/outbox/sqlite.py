"""Opening SQLite the one right way, and naming its errors.

The library is pysqlite3's, not the interpreter's: SQLite before 3.51.3 (3.50.7, 3.44.6) can lose committed data when
two connections write and checkpoint a WAL together (sqlite.org/wal.html#walresetbug), and several processes use this
file. The version is checked here, once, for everyone.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

try:
    import pysqlite3
except ImportError:  # no wheel for this machine: the interpreter's own library will do if it carries the fix
    import sqlite3 as pysqlite3

from mra.errors import BadInput, Busy, StoreBroken

if TYPE_CHECKING:
    from sqlite3 import Connection as Connection
else:
    Connection = Any

Error = pysqlite3.Error
IntegrityError = pysqlite3.IntegrityError
APPLICATION_ID = 0x6D726131  # "mra1"
PAGE_SIZE = 4096
PATIENCE = 10.0  # seconds that a lock of another process is waited for
WAL_LIMIT = 8 * 1024 * 1024  # bytes the log is cut back to; the ballast is chosen to cover twice this

_FULL, _CORRUPT, _NOTADB, _IOERR, _READONLY, _CANTOPEN, _PERM = 13, 11, 26, 10, 8, 14, 3
_BUSY, _LOCKED, _PROTOCOL = 5, 6, 15
_ERROR, _TOOBIG, _CONSTRAINT, _MISMATCH, _MISUSE, _RANGE = 1, 18, 19, 20, 21, 25

complete_statement = pysqlite3.complete_statement


class DiskFull(StoreBroken):
    """No room for the write; it was rolled back."""


class Damaged(StoreBroken):
    """The file's pages contradict each other; `salvage` can rescue the rows."""


def library_version() -> str:
    """Version of the SQLite library in use."""
    return str(pysqlite3.sqlite_version)


def is_safe(version: str) -> bool:
    """Whether this SQLite carries the fix for the WAL-reset bug."""
    number = tuple(int(part) for part in version.split("."))
    return number >= (3, 51, 3) or (3, 50, 7) <= number < (3, 51) or (3, 44, 6) <= number < (3, 45)


def blames_the_statement(error: Exception) -> bool:
    """Whether SQLite refused what one statement asked, rather than failed at the file: the transaction may go on."""
    if not isinstance(error, Error):
        return False
    code = getattr(error, "sqlite_errorcode", _ERROR) & 0xFF
    return code in (_ERROR, _TOOBIG, _CONSTRAINT, _MISMATCH, _MISUSE, _RANGE)


def translate(error: Exception, path: Path | str) -> StoreBroken | Busy:
    """The error as one of ours, telling what to do about it."""
    code = getattr(error, "sqlite_errorcode", _ERROR) & 0xFF
    if code == _FULL or (code in (_IOERR, _CANTOPEN) and _disk_is_full(path)):
        return DiskFull(f"No room to write {path}: free disk space or raise outbox.max_bytes.")
    if code in (_CORRUPT, _NOTADB):
        return damaged(path, str(error))
    if code in (_BUSY, _LOCKED, _PROTOCOL):
        return Busy(f"{path} is locked by another process: try again, or look for a program that keeps it open.")
    if code in (_READONLY, _CANTOPEN, _PERM):
        return StoreBroken(f"{path} cannot be opened or written ({error}): check its owner, mode and file system.")
    return StoreBroken(f"{path} failed ({error}).")


def damaged(path: Path | str, what: str) -> Damaged:
    """The error for a file whose pages contradict each other."""
    return Damaged(f"{path} is damaged ({what}): it will be salvaged, and the damaged file kept beside it.")


def _disk_is_full(path: Path | str) -> bool:
    try:
        room = os.statvfs(Path(path).parent)
    except OSError as error:
        return error.errno == errno.ENOSPC
    return room.f_bavail * room.f_frsize < 2 * PAGE_SIZE


def _lenient(raw: bytes) -> str:
    """Text as SQLite stores it; a flipped bit gives a wrong character, and so a wrong checksum, but no exception."""
    return raw.decode("utf-8", "replace")


def connect(path: Path, *, max_bytes: int = 0, synchronous: str = "FULL") -> Connection:
    """A read-write connection with every durability setting set and read back. The caller closes it."""
    if not is_safe(library_version()):
        raise StoreBroken(
            f"SQLite {library_version()} can lose committed rows (WAL-reset bug): install pysqlite3 0.6.1 or newer."
        )
    try:
        connection: Connection = pysqlite3.connect(
            path, isolation_level=None, timeout=PATIENCE, check_same_thread=False
        )
    except Error as error:
        raise translate(error, path) from error
    try:
        _configure(connection, path, max_bytes, synchronous)
    except Error as error:
        connection.close()
        raise translate(error, path) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(connection: Connection, path: Path, max_bytes: int, synchronous: str) -> None:
    connection.text_factory = _lenient
    _shape(connection)
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
    connection.execute("PRAGMA wal_autocheckpoint = 1000")
    connection.execute("PRAGMA cache_size = -8192")
    connection.execute("PRAGMA trusted_schema = OFF")
    if max_bytes:
        connection.execute(f"PRAGMA max_page_count = {max(64, max_bytes // PAGE_SIZE)}")
    wanted = {"FULL": 2, "NORMAL": 1}[synchronous]
    if mode != "wal" or connection.execute("PRAGMA synchronous").fetchone()[0] != wanted:
        raise StoreBroken(f"{path} cannot use WAL with synchronous={synchronous}: use a local file system.")


def connect_for_salvage(path: Path) -> Connection:
    """A connection to a file that may be damaged anywhere; it holds the write lock when there is one to hold."""
    connection: Connection = pysqlite3.connect(path, isolation_level=None, timeout=PATIENCE, check_same_thread=False)
    connection.text_factory = _lenient
    try:
        connection.execute("BEGIN IMMEDIATE")
    except Error as error:
        failure = translate(error, path)
        if not isinstance(failure, Damaged):
            connection.close()
            raise failure from error
    connection.execute("PRAGMA query_only = ON")
    return connection


def connect_for_building(path: Path) -> Connection:
    """A connection to a new file that counts for nothing until its maker has synced and renamed it."""
    connection: Connection = pysqlite3.connect(path, isolation_level=None)
    connection.text_factory = _lenient
    _shape(connection)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def _shape(connection: Connection) -> None:
    """What can be chosen only while the file is new. Asking again would write to it."""
    if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != 2:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")


class Identity(NamedTuple):
    """What a file says about itself."""

    application_id: int
    version: int
    is_empty: bool  # no table, no index, no view

    @property
    def is_foreign(self) -> bool:
        """Whether the file belongs to another program."""
        return self.application_id != APPLICATION_ID and not (self.application_id == 0 and self.is_empty)


def identify(path: Path) -> Identity:
    """Look at the file without changing a byte of it, or leaving one beside it. Raises Damaged for no database."""
    if _has_log(path):
        return _identify_with_log(path)
    with path.open("rb") as file:
        header = file.read(108)
    if len(header) < 108 or not header.startswith(b"SQLite format 3\0"):
        raise Damaged(f"{path} is damaged, or no database at all: the agent salvages it when it starts.")
    # sqlite.org/fileformat2.html, 1.3 and 1.6: a first page without cells names no table.
    application_id, version, cells = (
        int.from_bytes(header[at:to], "big") for at, to in ((68, 72), (60, 64), (103, 105))
    )
    return Identity(application_id, version, cells == 0)


def _identify_with_log(path: Path) -> Identity:
    connection = _open_readonly(path)
    try:
        connection.execute("BEGIN")  # one moment: another process may just be creating the tables
        application_id = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    except Error as error:
        raise translate(error, path) from error
    finally:
        connection.close()
    return Identity(application_id, version, tables == 0)


def connect_readonly(path: Path) -> Connection:
    """A connection for looking only; works beside a running daemon. Raises BadInput when there is no outbox."""
    try:
        present = path.exists()
    except OSError as error:
        raise BadInput(f"Cannot look at {path} ({error.strerror}): run this as the agent's user or as root.") from error
    if not present:
        raise BadInput(f"There is no outbox at {path}: check --config, or start the agent once.")
    connection = _open_readonly(path)
    try:
        found = connection.execute("PRAGMA application_id").fetchone()[0]
    except Error as error:
        connection.close()
        raise translate(error, path) from error
    if found != APPLICATION_ID:
        connection.close()
        raise BadInput(f"{path} is not an outbox of mra: check --config.")
    return connection


def _open_readonly(path: Path) -> Connection:
    try:
        connection: Connection = pysqlite3.connect(
            f"file:{quote(str(path))}?mode=ro{'&immutable=1' if _cannot_change(path) else ''}",
            uri=True,
            isolation_level=None,
            timeout=PATIENCE,
            check_same_thread=False,
        )
    except Error as error:
        raise translate(error, path) from error
    connection.text_factory = _lenient
    connection.execute("PRAGMA query_only = ON")
    return connection


def _cannot_change(path: Path) -> bool:
    """Whether it lies on a read-only file system with nothing in its log: readers could not share memory there."""
    try:
        return bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY) and not _has_log(path)
    except OSError:
        return False


def _has_log(path: Path) -> bool:
    try:
        return path.with_name(path.name + "-wal").stat().st_size > 0
    except OSError:
        return False
