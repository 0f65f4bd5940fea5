"""A damaged database becomes a new one, row by row; the damaged file is kept beside it, untouched.

Every row that still reads and still matches its checksum is carried over under its old number. What is missing goes
to the loss ledger as `corrupt`. When even the lanes' own marks cannot be read, they are rebuilt on the safe side from
the rows: everything readable waits again under the old epoch if that is known, and the uplink learns from its
checkpoint at the SaaS what is stored already.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from mra.clock import now
from mra.errors import StoreBroken
from mra.outbox import lanes, schema, sqlite
from mra.outbox.elapsed import touch
from mra.outbox.ledger import record_audit, record_loss
from mra.outbox.record import Lane, Row, is_intact
from mra.outbox.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mra.outbox.sqlite import Connection

_COLUMNS = "seq, size, sum, wall, mono, boot, expires, id, subject, key, headers, body"
_CHUNK = 256
_PLAIN_TABLES = ("boot", "checkpoint", "parked", "loss", "audit", "meta")


@dataclass
class Report:
    """What a salvage found."""

    kept_file: str
    rows: int = 0
    lost: int = 0
    notes: list[str] = field(default_factory=list)

    def fields(self) -> dict[str, Any]:
        """For the log."""
        return asdict(self)


def salvage(path: Path) -> Report:
    """Move the damaged `path` aside and build a new database from what is readable. Blocking; run in a thread.

    Nothing else may have the file open. A kill in between leaves the damaged file under one of the two names, and the
    next start salvages again.
    """
    fresh = path.with_name(path.name + ".salvaging")
    for leftover in (fresh, fresh.with_name(fresh.name + "-wal"), fresh.with_name(fresh.name + "-shm")):
        leftover.unlink(missing_ok=True)
    kept = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}")
    report = Report(str(kept))
    schema.secure(fresh)
    target = sqlite.connect(fresh)
    try:
        schema.migrate(target, fresh)
        _copy(path, target, report)
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        target.close()
    _swap(path, fresh, kept)
    return report


def _swap(path: Path, fresh: Path, kept: Path) -> None:
    for suffix in ("-wal", "-shm", ""):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(kept.with_name(kept.name + suffix))
    fresh.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _copy(path: Path, target: Connection, report: Report) -> None:
    try:
        source = sqlite.connect_for_salvage(path)
    except sqlite.Error as error:
        raise StoreBroken(f"{path} cannot be opened for salvage ({error}).") from error
    try:
        with transaction(target):
            for table in _PLAIN_TABLES:
                _copy_plain(source, target, table, report)
            touch(target, now())
            for lane in Lane:
                _copy_lane(source, target, lane, report)
            record_audit(
                target, wall=now().wall, actor="salvage", action="salvage", lane=None, count=report.rows,
                detail=f"{report.lost} rows unreadable; damaged file kept as {report.kept_file}",
            )  # fmt: skip
    finally:
        source.close()


def _copy_plain(source: Connection, target: Connection, table: str, report: Report) -> None:
    try:
        rows = source.execute(f"SELECT * FROM {table}").fetchall()
    except sqlite.Error as error:
        report.notes.append(f"{table}: {error}")
        return
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        target.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)


def _copy_lane(source: Connection, target: Connection, lane: Lane, report: Report) -> None:
    state = lanes.load(target, lane)
    known = _marks(source, lane, report)
    if known:
        state = known
    insert = f"INSERT INTO {state.table} ({_COLUMNS}) VALUES ({', '.join('?' * 12)})"
    waiting = waiting_bytes = last = 0
    for row in _readable(source, lane, known, report):
        target.execute(insert, row)
        report.rows += 1
        last = row[0]
        if row[0] > state.settled_through:
            waiting += 1
            waiting_bytes += row[1]
    lost = max(0, state.waiting - waiting) if known else 0
    parked = target.execute("SELECT count(*) FROM parked WHERE lane = ?", (lane.value,)).fetchone()[0]
    if not known:
        state.next_seq = last + 1
        state.claimed_through = state.settled_through
        state.delivered = state.shed = 0
    state.shed += lost + (state.parked - parked if known else 0)
    state.waiting, state.waiting_bytes, state.parked = waiting, waiting_bytes, parked
    state.accepted = state.delivered + state.waiting + state.parked + state.shed
    state.save(target)
    report.lost += lost
    record_loss(
        target, lane, "corrupt",
        first_seq=state.settled_through + 1, last_seq=state.next_seq - 1, count=lost, size=0, wall=now().wall,
        detail=f"unreadable in {report.kept_file}",
    )  # fmt: skip


def _marks(source: Connection, lane: Lane, report: Report) -> lanes.LaneState | None:
    try:
        return lanes.load(source, lane)
    except (sqlite.Error, TypeError) as error:
        report.notes.append(f"lane {lane}: {error}")
        return None


def _readable(
    source: Connection, lane: Lane, known: lanes.LaneState | None, report: Report
) -> Iterator[tuple[Any, ...]]:
    """Every row that reads and matches its checksum, oldest first; chunks that fail are read row by row."""
    table = lanes.table_of(lane)
    after = 0
    end = known.next_seq - 1 if known else _last_seq(source, table)
    while after < end:
        try:
            chunk = source.execute(
                f"SELECT {_COLUMNS} FROM {table} WHERE seq > ? ORDER BY seq LIMIT ?", (after, _CHUNK)
            ).fetchall()
        except sqlite.Error as error:
            report.notes.append(f"{table} behind {after}: {error}")
            chunk = list(_one_by_one(source, table, after, min(after + _CHUNK, end)))
            following = min(after + _CHUNK, end)
        else:
            if not chunk:
                return
            following = chunk[-1][0]
        yield from (row for row in chunk if _matches(row))
        after = following


def _one_by_one(source: Connection, table: str, after: int, end: int) -> Iterator[tuple[Any, ...]]:
    for seq in range(after + 1, end + 1):
        try:
            row = source.execute(f"SELECT {_COLUMNS} FROM {table} WHERE seq = ?", (seq,)).fetchone()
        except sqlite.Error:
            continue
        if row:
            yield row


def _last_seq(source: Connection, table: str) -> int:
    try:
        row = source.execute(f"SELECT max(seq) FROM {table}").fetchone()
    except sqlite.Error:
        return 0
    return int(row[0] or 0)


def _matches(row: tuple[Any, ...]) -> bool:
    seq, _, sum_, wall, _, _, _, id_, subject, _, headers, body = row
    try:
        return is_intact(Row(seq, id_, subject, headers, body, sum_, wall))
    except (TypeError, AttributeError):
        return False
