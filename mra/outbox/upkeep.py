"""What time does to the outbox: rows grow too old, the replay window closes, free pages go back to the disk.

All work is in slices of bounded size, each one transaction, so that appends and settlements are never held up long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mra.clock import NANOSECONDS
from mra.outbox import elapsed, lanes, shedding
from mra.outbox.policy import SHORTEST_REPLAY
from mra.outbox.record import Lane
from mra.outbox.transaction import transaction

if TYPE_CHECKING:
    from mra.clock import Stamp
    from mra.outbox.policy import OutboxSettings
    from mra.outbox.sqlite import Connection

SLICE = 1000
_VACUUM_PAGES = 512


def shed_aged(connection: Connection, settings: OutboxSettings, stamp: Stamp) -> int:
    """Shed one slice of rows older than their lane's max_age or their own ttl; return how many went."""
    gone = 0
    with transaction(connection):
        elapsed.touch(connection, stamp)
        clock = elapsed.Elapsed(connection, stamp)
        for lane in Lane:
            state = lanes.load(connection, lane)
            before = state.shed
            max_age = settings.lanes[lane].max_age
            if max_age is not None:
                _shed_oldest(connection, state, clock, int(max_age * NANOSECONDS), stamp.wall)
            _shed_expired(connection, state, clock, stamp.wall)
            if state.shed != before:
                state.save(connection)
                gone += state.shed - before
    return gone


def _shed_oldest(
    connection: Connection, state: lanes.LaneState, clock: elapsed.Elapsed, max_age: int, wall: int
) -> None:
    old = []
    for seq, size, boot, mono in connection.execute(
        f"SELECT seq, size, boot, mono FROM {state.table} WHERE seq > ? ORDER BY seq LIMIT ?",
        (state.claimed_through, SLICE),
    ):
        if clock.age(boot, mono) <= max_age:
            break
        old.append((seq, size))
    shedding.shed(connection, state, old, "age", wall)


def _shed_expired(connection: Connection, state: lanes.LaneState, clock: elapsed.Elapsed, wall: int) -> None:
    rows = connection.execute(
        f"SELECT seq, size, boot, mono, ttl FROM {state.table} WHERE ttl IS NOT NULL AND seq > ? ORDER BY seq",
        (state.claimed_through,),
    )
    expired = []
    for seq, size, boot, mono, ttl in rows:
        if clock.age(boot, mono) > ttl:
            expired.append((seq, size))
            if len(expired) == SLICE:
                break
    rows.close()
    shedding.shed(connection, state, expired, "ttl", wall)


def prune_replay(
    connection: Connection, settings: OutboxSettings, stamp: Stamp, *, needed: int = 0, limit: int = SLICE
) -> int:
    """Delete delivered rows that left the replay window; return the bytes freed. Runs in the caller's transaction.

    With `needed` the window shrinks as far as its shortest length until that many bytes are free.
    """
    clock = elapsed.Elapsed(connection, stamp)
    freed = 0
    for lane in Lane:
        kept = connection.execute(
            "SELECT coalesce(sum(bytes), 0) FROM checkpoint WHERE lane = ?", (lane.value,)
        ).fetchone()[0]
        batches = connection.execute(
            "SELECT through_seq, bytes, boot, mono FROM checkpoint WHERE lane = ? ORDER BY through_seq LIMIT ?",
            (lane.value, limit),
        ).fetchall()
        last = None
        for through_seq, size, boot, mono in batches:
            age = clock.age(boot, mono)
            over = kept > settings.replay_bytes or freed < needed
            if age <= SHORTEST_REPLAY * NANOSECONDS or not (over or age > settings.replay_window * NANOSECONDS):
                break
            last = through_seq
            kept -= size
            freed += size
        if last is not None:
            connection.execute(f"DELETE FROM {lanes.table_of(lane)} WHERE seq <= ?", (last,))
            connection.execute("DELETE FROM checkpoint WHERE lane = ? AND through_seq <= ?", (lane.value, last))
    return freed


def prune(connection: Connection, settings: OutboxSettings, stamp: Stamp) -> int:
    """Close the replay window behind one slice of batches, in a transaction of its own; return the bytes freed."""
    with transaction(connection):
        return prune_replay(connection, settings, stamp, limit=20)


def give_back(connection: Connection) -> None:
    """Return some free pages to the file system, and cut the log back."""
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if free > _VACUUM_PAGES:
        connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
