"""Taking rows out undelivered, by policy: always only rows that no batch can hold, always with a loss entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mra.outbox.ledger import record_loss

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mra.outbox.lanes import LaneState
    from mra.outbox.sqlite import Connection

_SLICE = 512
_THIN_SLICE = 4096
_THIN_SLICES = 64  # in one transaction


def shed(connection: Connection, lane: LaneState, rows: Sequence[tuple[int, int]], reason: str, wall: int) -> None:
    """Delete (seq, size) `rows` of the lane and account for them; the caller saves `lane`."""
    if not rows:
        return
    connection.executemany(f"DELETE FROM {lane.table} WHERE seq = ?", [(seq,) for seq, _ in rows])
    size = sum(size for _, size in rows)
    lane.waiting -= len(rows)
    lane.shed += len(rows)
    lane.waiting_bytes -= size
    record_loss(
        connection, lane.name, reason,
        first_seq=rows[0][0], last_seq=rows[-1][0], count=len(rows), size=size, wall=wall,
    )  # fmt: skip


def drop_oldest(connection: Connection, lane: LaneState, needed: int, wall: int) -> int:
    """Shed unclaimed rows from the old end until `needed` bytes are free; return the bytes freed."""
    freed = 0
    while freed < needed:
        found = connection.execute(
            f"SELECT seq, size FROM {lane.table} WHERE seq > ? ORDER BY seq LIMIT ?", (lane.kept_through, _SLICE)
        ).fetchall()
        chosen = list(_enough(found, needed - freed))
        if not chosen:
            break
        shed(connection, lane, chosen, "bytes", wall)
        freed += sum(size for _, size in chosen)
    return freed


def _enough(rows: Iterable[tuple[int, int]], needed: int) -> Iterable[tuple[int, int]]:
    for seq, size in rows:
        if needed <= 0:
            return
        needed -= size
        yield seq, size


def thin(connection: Connection, lane: LaneState, needed: int, wall: int) -> int:
    """Shed every second row of the older half until `needed` bytes are free; return the bytes freed.

    A sweep walks from the oldest unclaimed row to what was the middle of the backlog when it began (`thinned_through`,
    `thin_until`), over as many calls as it takes; then the next one begins. So each sweep halves the resolution of the
    older half, and the oldest row of all stays: a trend of any length remains visible, the coarser the older.
    """
    freed = 0
    for _ in range(_THIN_SLICES):
        if freed >= needed:
            break
        begins = not lane.kept_through <= lane.thinned_through < lane.thin_until
        if begins:
            lane.thinned_through, lane.thin_until = lane.kept_through, _middle(connection, lane)
        found = connection.execute(
            f"SELECT seq, size FROM {lane.table} WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
            (lane.thinned_through, lane.thin_until, _THIN_SLICE),
        ).fetchall()
        if len(found) < 2:
            if begins:
                break  # too few rows to thin; the caller drops some
            lane.thin_until = 0
            continue
        chosen = found[1::2]
        shed(connection, lane, chosen, "thinned", wall)
        lane.thinned_through = found[-1][0]
        freed += sum(size for _, size in chosen)
    return freed


def _middle(connection: Connection, lane: LaneState) -> int:
    """Number of the row in the middle of those that wait."""
    row = connection.execute(
        f"SELECT seq FROM {lane.table} WHERE seq > ? ORDER BY seq LIMIT 1 OFFSET ?",
        (lane.kept_through, max(0, lane.waiting // 2 - 1)),
    ).fetchone()
    return int(row[0]) if row else 0


def supersede(connection: Connection, lane: LaneState, newest: dict[str, int], wall: int) -> None:
    """Shed unclaimed rows older than the newest row (`key -> seq`) of their key."""
    for key, seq in newest.items():
        older = connection.execute(
            f"SELECT seq, size FROM {lane.table} WHERE key = ? AND seq > ? AND seq < ? ORDER BY seq",
            (key, lane.kept_through, seq),
        ).fetchall()
        shed(connection, lane, older, "superseded", wall)
