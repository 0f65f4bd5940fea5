"""What time does to the outbox: rows grow too old, the replay window closes, free pages go back to the disk.

All work is in slices of bounded size, each one transaction, so that appends and settlements are never held up long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mra.clock import NANOSECONDS
from mra.outbox import elapsed, exports, lanes, ledger, shedding
from mra.outbox.policy import SHORTEST_REPLAY
from mra.outbox.record import Lane
from mra.outbox.transaction import transaction

if TYPE_CHECKING:
    from mra.clock import Stamp
    from mra.outbox.policy import OutboxSettings
    from mra.outbox.sqlite import Connection

SLICE = 1000  # rows
PRUNE_SLICE = 5  # stretches of each lane
STRETCH = 10 * NANOSECONDS  # batches settled within this time share a row in `checkpoint` while they are small
_VACUUM_PAGES = 512


def shed_aged(connection: Connection, settings: OutboxSettings, stamp: Stamp) -> int:
    """Shed one slice of rows older than their lane's max_age or their own ttl; return how many went."""
    gone = 0
    with transaction(connection):
        elapsed.touch(connection, stamp)
        clock = elapsed.Elapsed(connection, stamp)
        exports.note_overdue(connection, clock, settings.export_hold)
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
        (state.kept_through, SLICE),
    ):
        if clock.age(boot, mono) <= max_age:
            break
        old.append((seq, size))
    shedding.shed(connection, state, old, "age", wall)


def _shed_expired(connection: Connection, state: lanes.LaneState, clock: elapsed.Elapsed, wall: int) -> None:
    expired = connection.execute(
        f"SELECT seq, size FROM {state.table} WHERE expires <= ? AND seq > ? ORDER BY expires LIMIT ?",
        (clock.now, state.kept_through, SLICE),
    ).fetchall()
    shedding.shed(connection, state, sorted(expired), "ttl", wall)


def prune_replay(
    connection: Connection, settings: OutboxSettings, stamp: Stamp, *, needed: int = 0, limit: int = PRUNE_SLICE
) -> int:
    """Delete delivered rows that left the replay window; return the bytes freed. Runs in the caller's transaction.

    The window is bounded by age and by bytes, oldest rows first whatever their lane. With `needed` it shrinks until
    that many bytes are free. Rows delivered less than `SHORTEST_REPLAY` ago stay in any case. At most `limit`
    stretches of each lane go at once.
    """
    kept = connection.execute("SELECT coalesce(sum(bytes), 0) FROM checkpoint").fetchone()[0]
    last: dict[Lane, int] = {}
    freed = 0
    for age, lane, through_seq, size in _oldest_stretches(connection, elapsed.Elapsed(connection, stamp), limit):
        over = kept - freed > settings.replay_bytes or freed < needed
        if age <= SHORTEST_REPLAY * NANOSECONDS or not (over or age > settings.replay_window * NANOSECONDS):
            break
        last[lane] = through_seq
        freed += size
    for lane, through_seq in last.items():
        connection.execute(f"DELETE FROM {lanes.table_of(lane)} WHERE seq <= ?", (through_seq,))
        connection.execute("DELETE FROM checkpoint WHERE lane = ? AND through_seq <= ?", (lane.value, through_seq))
    return freed


def _oldest_stretches(connection: Connection, clock: elapsed.Elapsed, limit: int) -> list[tuple[int, Lane, int, int]]:
    """(age, lane, through_seq, bytes) of delivered stretches, oldest first, each lane's in order."""
    found = []
    for lane in Lane:
        youngest = None
        for through_seq, size, boot, mono in connection.execute(
            "SELECT through_seq, bytes, boot, mono FROM checkpoint WHERE lane = ? ORDER BY through_seq LIMIT ?",
            (lane.value, limit),
        ):
            # A stretch tells when its first batch was settled; its last one is younger by up to the stretch's length.
            age = max(0, clock.age(boot, mono) - STRETCH)
            # Ages fall along a lane; where damage says otherwise, rows in front of a young one are held to be as young.
            youngest = age if youngest is None else min(youngest, age)
            found.append((youngest, lane, through_seq, size))
    return sorted(found, key=lambda stretch: -stretch[0])


def prune(connection: Connection, settings: OutboxSettings, stamp: Stamp) -> int:
    """Close the replay window behind one slice of stretches, in a transaction of its own; return the bytes freed."""
    with transaction(connection):
        return prune_replay(connection, settings, stamp)


def fold_ledger(connection: Connection) -> None:
    """Keep the loss ledger short, in a transaction of its own."""
    with transaction(connection):
        ledger.fold(connection)


def give_back(connection: Connection) -> None:
    """Return some free pages to the file system, and cut the log back."""
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if free > _VACUUM_PAGES:
        connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
