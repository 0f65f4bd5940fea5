"""A damaged database becomes a new one, row by row; the damaged file is kept beside it, untouched.

SQLite reads each table from both ends until it meets damage; what lies between is looked for in the pages themselves
(pages.py). A row is carried over under its old number when its bytes match its checksum. What is missing goes to the
loss ledger as `corrupt`, and each lane's marks are made to agree with what is left (books.py).

    outbox.db.salvaging   the new file while it grows; worthless when its maker dies
    outbox.db.salvaged    the new file, complete; from here on the swap will be finished, whoever dies
    outbox.db.damaged-*   the old file with its log

The damaged file stays locked against other writers, as far as it can still be locked, until the new one is in place.
"""

from __future__ import annotations

import os
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mra.clock import now
from mra.durable import sync_directory
from mra.errors import BadInput, StoreBroken
from mra.outbox import lanes, schema, sqlite
from mra.outbox.books import Report, balance
from mra.outbox.elapsed import touch
from mra.outbox.ledger import record_audit
from mra.outbox.opening import salvaged_name
from mra.outbox.pages import Pages, Record, records
from mra.outbox.record import Lane, Row, counted_size, is_intact
from mra.outbox.transaction import transaction

if TYPE_CHECKING:
    from mra.outbox.sqlite import Connection

_LANE_TABLES = frozenset(lanes.table_of(lane) for lane in Lane)


def salvage(path: Path) -> Report:
    """Build a new database from what is readable of `path` and put it into its place. Blocking; run in a thread.

    Our own connections to the file are closed; other processes are locked out, or find the file replaced. Killed at
    any point, the next start finds the damaged file and begins anew, or finds `.salvaged` and finishes. Raises
    BadInput when nothing of the file can be recognised, StoreBroken when the new one cannot be written.
    """
    growing = path.with_name(path.name + ".salvaging")
    kept = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}")
    report = Report(str(kept))
    try:
        _discard(growing)
        # Closed last: SQLite leaves a file alone that was renamed under it, and would tidy up one that was not.
        with closing(sqlite.connect_for_salvage(path)) as source:
            _build(source, path, growing, report)
            growing.rename(salvaged_name(path))
            sync_directory(path.parent)
            finish(path)
    except sqlite.Error as error:
        raise sqlite.translate(error, path) from error
    except OSError as error:
        raise StoreBroken(f"{path} cannot be salvaged ({error.strerror}): free disk space.") from error
    finally:
        _discard(growing)
    return report


def _discard(growing: Path) -> None:
    for file in (growing, growing.with_name(growing.name + "-journal")):
        file.unlink(missing_ok=True)


def finish(path: Path) -> bool:
    """Put a complete salvage into the place of the damaged file; return whether there was one. Can be repeated.

    Raises StoreBroken when the files cannot be renamed.
    """
    if not salvaged_name(path).exists():
        return False
    with closing(sqlite.connect_readonly(salvaged_name(path))) as connection:
        kept = connection.execute("SELECT value FROM meta WHERE name = 'salvaged_from'").fetchone()[0]
    try:
        _swap(path, path.with_name(kept))
    except OSError as error:
        raise StoreBroken(
            f"{path} cannot be replaced by its salvage ({error.strerror}): check the directory."
        ) from error
    return True


def _swap(path: Path, kept: Path) -> None:
    for suffix in ("", "-wal"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(kept.with_name(kept.name + suffix))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)  # an index of the log, made anew when needed
    # The old log must be gone for certain before the new file takes the name that the log belongs to.
    sync_directory(path.parent)
    salvaged_name(path).rename(path)
    sync_directory(path.parent)


def _build(source: Connection, path: Path, growing: Path, report: Report) -> None:
    os.close(os.open(growing, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with closing(sqlite.connect_for_building(growing)) as target:
        schema.migrate(target, growing)
        fresh_epochs = {lane: lanes.load(target, lane).epoch for lane in Lane}
        with transaction(target):
            _copy(source, path, target, report)
            touch(target, now())
            for lane in Lane:
                balance(target, lane, fresh_epochs[lane], report)
            record_audit(
                target, wall=now().wall, actor="salvage", action="salvage", lane=None, count=report.rows,
                detail=f"{report.lost} rows unreadable; damaged file kept as {report.kept_file}",
            )  # fmt: skip
            target.execute("INSERT OR REPLACE INTO meta VALUES ('salvaged_from', ?)", (Path(report.kept_file).name,))
    descriptor = os.open(growing, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# -- copying -----------------------------------------------------------------------------------------------------------


class _Table(NamedTuple):
    """A table as the newest schema has it."""

    name: str
    columns: tuple[str, ...]
    rowid: int | None  # which column stands for the rowid, which a record does not repeat


def _tables(target: Connection) -> list[_Table]:
    """Every table, the rows of the lanes last: what they mean depends on the others."""
    names = target.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    found = []
    for (name,) in names:
        columns = target.execute(f"PRAGMA table_info({name})").fetchall()
        keys = [no for no, _, kind, _, _, key in columns if key and kind == "INTEGER"]
        alone = sum(bool(key) for *_, key in columns) == 1
        found.append(_Table(name, tuple(column[1] for column in columns), keys[0] if keys and alone else None))
    return sorted(found, key=lambda table: table.name in _LANE_TABLES)


def _copy(source: Connection, path: Path, target: Connection, report: Report) -> None:
    tables = {table.name: table for table in _tables(target)}
    target.execute("DELETE FROM lane")
    torn = {name for name, table in tables.items() if not _copy_by_sqlite(source, target, table, report)}
    if torn:
        report.note(f"read from the pages: {', '.join(sorted(torn))}")
        roots = {no: name for no, name in _roots(source, target).items() if name in torn}
        with Pages(path) as pages:
            for record in records(pages, roots):
                _insert(target, tables[record.table], _with_rowid(record, tables[record.table].rowid))
    report.rows = sum(target.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _LANE_TABLES)
    marks = target.execute("SELECT count(*) FROM lane").fetchone()[0]
    if not (report.rows or marks):
        raise BadInput(f"{path} is not an outbox of mra, or nothing of it is readable: move it away to start anew.")


def _with_rowid(record: Record, column: int | None) -> tuple[Any, ...]:
    if column is None or record.rowid is None:
        return record.values
    return (*record.values[:column], record.rowid, *record.values[column + 1 :])


def _roots(source: Connection, target: Connection) -> dict[int, str]:
    """Root page of each table; where the damaged file cannot tell, a new one made by the same migrations can."""
    query = "SELECT rootpage, name FROM sqlite_schema WHERE type = 'table'"
    try:
        return dict(source.execute(query).fetchall())
    except sqlite.Error:
        return dict(target.execute(query).fetchall())


def _copy_by_sqlite(source: Connection, target: Connection, table: _Table, report: Report) -> bool:
    """Copy the table from its beginning, and from its end if there is damage between; return whether there was none."""
    query = f"SELECT {', '.join(table.columns)} FROM {table.name} ORDER BY {table.columns[0]}"
    try:
        for values in source.execute(query):
            _insert(target, table, values)
    except sqlite.Error as error:
        report.note(f"{table.name}: {error}")
    else:
        return True
    with suppress(sqlite.Error):
        for values in source.execute(f"{query} DESC"):
            _insert(target, table, values)
    return False


def _insert(target: Connection, table: _Table, values: tuple[Any, ...]) -> None:
    """Take a record over unless it is there already, or cannot be right."""
    if len(values) != len(table.columns):
        return
    if table.name in _LANE_TABLES:
        row = dict(zip(table.columns, values, strict=True))
        if not _matches(row):
            return
        values = tuple(_sound(row).values())
    marks = ", ".join("?" * len(values))
    # A record that breaks a constraint is not one that this schema ever held.
    with suppress(sqlite.IntegrityError, OverflowError):
        target.execute(f"INSERT OR IGNORE INTO {table.name} ({', '.join(table.columns)}) VALUES ({marks})", values)


def _matches(row: dict[str, Any]) -> bool:
    try:
        return is_intact(
            Row(row["seq"], row["id"], row["subject"], row["headers"], row["body"], row["sum"], row["wall"])
        )
    except AttributeError:
        return False


def _sound(row: dict[str, Any]) -> dict[str, Any]:
    """The row with the columns that its checksum does not cover made usable: they may be damaged on their own."""
    stamp = now()
    for name, instead in (("wall", stamp.wall), ("mono", 0), ("boot", 0), ("expires", None), ("key", None)):
        if not isinstance(row[name], str if name == "key" else int):
            row[name] = instead
    row["size"] = counted_size(row["id"], row["subject"], row["key"], row["headers"], row["body"])
    return row
