"""Questions about the outbox: pure reading, for the status, the command line and the checks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mra.clock import NANOSECONDS
from mra.outbox import lanes
from mra.outbox.elapsed import Elapsed
from mra.outbox.record import Lane, Row, is_intact

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mra.clock import Stamp
    from mra.outbox.sqlite import Connection

SLICE = 500
_SLICE_BYTES = 4 * 1024 * 1024


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
    try:
        log_bytes = path.with_name(path.name + "-wal").stat().st_size
    except OSError:  # no connection has written since the last one closed
        log_bytes = 0
    room = os.statvfs(path.parent)
    return {
        "path": str(path),
        "file_bytes": pages * size,
        "used_bytes": (pages - free) * size,
        "log_bytes": log_bytes,
        "disk_free": room.f_bavail * room.f_frsize,
    }


def slices(connection: Connection, what: str, after: int, through: int = 2**63 - 1) -> Iterator[tuple[Any, ...]]:
    """Rows of `SELECT {what}` in order of `seq`, their first column; nothing stays open while the caller works."""
    while found := _slice(connection, what, after, through):
        yield from found
        after = found[-1][0]


def _slice(connection: Connection, what: str, after: int, through: int) -> list[tuple[Any, ...]]:
    cursor = connection.execute(
        f"SELECT {what} WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?", (after, through, SLICE)
    )
    found: list[tuple[Any, ...]] = []
    size = 0
    for values in cursor:
        found.append(values)
        size += sum(len(value) for value in values if isinstance(value, bytes))
        if size > _SLICE_BYTES:
            break
    cursor.close()
    return found


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
    """Dead letters, oldest first, without their bodies; `intact` is false for those that the disk has changed."""
    found = connection.execute(
        "SELECT no, lane, seq, id, subject, size, wall, parked_wall, reason, headers, body, sum FROM parked"
        " WHERE ?1 IS NULL OR lane = ?1 ORDER BY no",
        (lane.value if lane else None,),
    )
    names = ("no", "lane", "seq", "id", "subject", "size", "wall", "parked_wall", "reason")
    return [
        {
            **dict(zip(names, values, strict=False)),
            "intact": is_intact(Row(values[2], values[3], values[4], values[9], values[10], values[11], 0)),
        }
        for values in found
    ]


def losses(connection: Connection) -> list[dict[str, Any]]:
    """The loss ledger, oldest first."""
    names = ("no", "lane", "reason", "count", "bytes", "first_seq", "last_seq", "wall", "reported", "detail")
    found = connection.execute(f"SELECT {', '.join(names)} FROM loss ORDER BY no")
    return [dict(zip(names, values, strict=True)) for values in found]


def exports(connection: Connection) -> list[dict[str, Any]]:
    """Sealed files that no answer has come for, a line for each of their lanes, oldest first."""
    names = ("file", "lane", "first_seq", "through_seq", "wall", "kept")
    found = connection.execute(
        "SELECT file, lane, first_seq, through_seq, export.wall, exported_overdue = 0 FROM export"
        " JOIN lane ON lane.name = export.lane WHERE answered = 0 ORDER BY export.boot, export.mono, rank"
    )
    return [dict(zip(names, values, strict=True)) for values in found]


def export(connection: Connection, lane: Lane, *, everything: bool) -> Iterator[dict[str, Any]]:
    """Rows that wait (or all that are kept) with headers and body, oldest first, as far as they are here at the start.

    Read in slices: whoever is slow to take them does not keep the log from being cut back.
    """
    state = lanes.load(connection, lane)
    after = 0 if everything else state.settled_through
    names = ("seq", "id", "subject", "key", "headers", "body", "wall")
    for values in slices(connection, f"{', '.join(names)} FROM {state.table}", after, state.next_seq - 1):
        yield {"lane": lane.value, **dict(zip(names, values, strict=True))}
