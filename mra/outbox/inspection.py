"""Questions about the outbox: pure reading, for the status, the command line and the checks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mra.clock import NANOSECONDS
from mra.outbox import lanes
from mra.outbox.elapsed import Elapsed
from mra.outbox.record import Lane, Row, is_intact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mra.clock import Stamp
    from mra.outbox.sqlite import Connection

_SLICE = 2000


def lane_reports(connection: Connection, stamp: Stamp) -> list[dict[str, Any]]:
    """One report per lane: counters, and the age in seconds (host uptime) of the oldest row that waits."""
    connection.execute("BEGIN")
    try:
        clock = Elapsed(connection, stamp)
        return [_lane_report(connection, lane, clock) for lane in Lane]
    finally:
        connection.execute("COMMIT")


def _lane_report(connection: Connection, lane: Lane, clock: Elapsed) -> dict[str, Any]:
    state = lanes.load(connection, lane)
    oldest = connection.execute(
        f"SELECT boot, mono FROM {state.table} WHERE seq > ? ORDER BY seq LIMIT 1", (state.settled_through,)
    ).fetchone()
    return {
        "lane": lane.value,
        "accepted": state.accepted,
        "delivered": state.delivered,
        "waiting": state.waiting,
        "waiting_bytes": state.waiting_bytes,
        "parked": state.parked,
        "shed": state.shed,
        "oldest_age": round(clock.age(*oldest) / NANOSECONDS, 1) if oldest and state.waiting else None,
        "held": state.held,
        "epoch": state.epoch,
        "settled_through": state.settled_through,
        "last_seq": state.next_seq - 1,
    }


def file_report(connection: Connection, path: Path) -> dict[str, Any]:
    """Sizes of the file, its log and its disk, in bytes."""
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    log = path.with_name(path.name + "-wal")
    room = os.statvfs(path.parent)
    return {
        "path": str(path),
        "file_bytes": pages * size,
        "used_bytes": (pages - free) * size,
        "log_bytes": log.stat().st_size if log.exists() else 0,
        "disk_free": room.f_bavail * room.f_frsize,
    }


@dataclass
class Finding:
    """Something that `verify` found wrong."""

    lane: str
    problem: str


def verify(connection: Connection, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Finding]:
    """Recount every lane against its counters and check every row's checksum; an empty list means all is well.

    One read transaction sees one moment of a live database. `progress(done, total)` is called now and then.
    """
    findings = [
        Finding("", f"SQLite: {row[0]}") for row in connection.execute("PRAGMA quick_check(10)") if row[0] != "ok"
    ]
    connection.execute("BEGIN")
    try:
        total = sum(lanes.load(connection, lane).next_seq - 1 for lane in Lane)
        done = 0
        for lane in Lane:
            state = lanes.load(connection, lane)
            waiting = waiting_bytes = 0
            for row, size in _rows(connection, lane):
                done += 1
                if done % _SLICE == 0:
                    progress(done, total)
                if not is_intact(row):
                    findings.append(Finding(lane, f"row {row.seq} does not match its checksum"))
                if row.seq > state.settled_through:
                    waiting += 1
                    waiting_bytes += size
            findings += _compare(connection, state, waiting, waiting_bytes)
    finally:
        connection.execute("COMMIT")
    return findings


def _compare(connection: Connection, state: lanes.LaneState, waiting: int, waiting_bytes: int) -> Iterator[Finding]:
    parked = connection.execute("SELECT count(*) FROM parked WHERE lane = ?", (state.name.value,)).fetchone()[0]
    for what, counted, kept in (
        ("waiting rows", waiting, state.waiting),
        ("waiting bytes", waiting_bytes, state.waiting_bytes),
        ("parked rows", parked, state.parked),
        ("accepted rows", state.delivered + waiting + parked + state.shed, state.accepted),
    ):
        if counted != kept:
            yield Finding(state.name, f"{what}: {counted} counted, {kept} on the books")


def _rows(connection: Connection, lane: Lane) -> Iterator[tuple[Row, int]]:
    cursor = connection.execute(
        f"SELECT seq, id, subject, headers, body, sum, wall, size FROM {lanes.table_of(lane)} ORDER BY seq"
    )
    for found in cursor:
        yield Row(*found[:7]), found[7]


def backlog(connection: Connection, lane: Lane, *, after: int = 0, limit: int = 20) -> list[dict[str, Any]]:
    """Rows that wait, oldest first, without their bodies."""
    state = lanes.load(connection, lane)
    found = connection.execute(
        f"SELECT seq, id, subject, size, wall FROM {state.table} WHERE seq > ? ORDER BY seq LIMIT ?",
        (max(after, state.settled_through), limit),
    )
    return [
        {
            "lane": lane.value,
            "seq": seq,
            "id": id_,
            "subject": subject,
            "size": size,
            "wall": wall,
            "in_flight": seq <= state.claimed_through,
        }
        for seq, id_, subject, size, wall in found
    ]


def newest(connection: Connection, lane: Lane, *, after: int, limit: int) -> list[dict[str, Any]]:
    """Accepted rows behind `after`, whatever became of them, oldest first; the last `limit` when `after` is 0."""
    table = lanes.table_of(lane)
    if after:
        sql, values = (
            f"SELECT seq, id, subject, size, wall FROM {table} WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, limit),
        )
    else:
        sql, values = (
            (
                "SELECT * FROM (SELECT seq, id, subject, size, wall"
                f" FROM {table} WHERE seq > ? ORDER BY seq DESC LIMIT ?) ORDER BY seq"
            ),
            (0, limit),
        )
    return [
        {"lane": lane.value, "seq": seq, "id": id_, "subject": subject, "size": size, "wall": wall}
        for seq, id_, subject, size, wall in connection.execute(sql, values)
    ]


def row(connection: Connection, lane: Lane, seq: int) -> dict[str, Any] | None:
    """One row whole, with where it stands; None when it is neither kept nor parked."""
    state = lanes.load(connection, lane)
    columns = "seq, id, subject, key, headers, body, size, sum, wall, expires"
    found = connection.execute(f"SELECT {columns} FROM {state.table} WHERE seq = ?", (seq,)).fetchone()
    standing = (
        "delivered" if seq <= state.settled_through else "in flight" if seq <= state.claimed_through else "waiting"
    )
    if found is None:
        found = connection.execute(
            f"SELECT {columns} FROM parked WHERE lane = ? AND seq = ?", (lane.value, seq)
        ).fetchone()
        standing = "parked"
    if found is None:
        return None
    names = columns.split(", ")
    document = dict(zip(names, found, strict=True))
    intact = is_intact(
        Row(seq, document["id"], document["subject"], document["headers"], document["body"], document["sum"], 0)
    )
    return {"lane": lane.value, "standing": standing, "intact": intact, **document}


def parked(connection: Connection, lane: Lane | None = None) -> list[dict[str, Any]]:
    """Dead letters, oldest first, without their bodies."""
    found = connection.execute(
        "SELECT no, lane, seq, id, subject, size, wall, parked_wall, reason FROM parked"
        " WHERE ?1 IS NULL OR lane = ?1 ORDER BY no",
        (lane.value if lane else None,),
    )
    names = ("no", "lane", "seq", "id", "subject", "size", "wall", "parked_wall", "reason")
    return [dict(zip(names, values, strict=True)) for values in found]


def losses(connection: Connection) -> list[dict[str, Any]]:
    """The loss ledger, oldest first."""
    names = ("no", "lane", "reason", "count", "bytes", "first_seq", "last_seq", "wall", "reported", "detail")
    found = connection.execute(f"SELECT {', '.join(names)} FROM loss ORDER BY no")
    return [dict(zip(names, values, strict=True)) for values in found]


def export(connection: Connection, lane: Lane, *, everything: bool) -> Iterator[dict[str, Any]]:
    """Rows that wait (or all that are kept) with headers and body, oldest first, as of one moment."""
    state = lanes.load(connection, lane)
    cursor = connection.execute(
        f"SELECT seq, id, subject, key, headers, body, wall FROM {state.table} WHERE seq > ? ORDER BY seq",
        (0 if everything else state.settled_through,),
    )
    for seq, id_, subject, key, headers, body, wall in cursor:
        yield {
            "lane": lane.value, "seq": seq, "id": id_, "subject": subject, "key": key, "headers": headers,
            "body": body, "wall": wall,
        }  # fmt: skip
