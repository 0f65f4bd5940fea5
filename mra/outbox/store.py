"""Accepting records: the rules and the rows of one group in one transaction.

Plain functions of a connection: the daemon runs them in its database thread, `mra submit` runs them directly.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from mra.clock import NANOSECONDS
from mra.errors import MraError, OutboxFull
from mra.outbox import lanes, shedding
from mra.outbox.elapsed import boot_number
from mra.outbox.policy import Overflow
from mra.outbox.record import ROW_OVERHEAD, Draft, Lane, Receipt, checksum, wire_headers
from mra.outbox.sqlite import PAGE_SIZE
from mra.outbox.transaction import savepoint, transaction
from mra.outbox.upkeep import prune_replay

if TYPE_CHECKING:
    from pathlib import Path

    from mra.clock import Stamp
    from mra.outbox.lanes import LaneState
    from mra.outbox.policy import LanePolicy, OutboxSettings
    from mra.outbox.sqlite import Connection

_INSERT = (
    "INSERT INTO {table} (seq, size, sum, wall, mono, boot, ttl, id, subject, key, headers, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_RESERVE = 0.05  # share of the file kept for settling and pruning, so that a full outbox can still drain

Unit = Callable[["Connection"], object]


class Request(NamedTuple):
    """What one producer wants accepted, all or nothing; `also` runs in the same transaction, before the rows."""

    drafts: Sequence[Draft]
    also: Unit | None = None


Outcome = list[Receipt] | MraError
_Sized = tuple[Draft, str | None, int]  # a draft, its headers for the wire, the bytes it will count


def accept(
    connection: Connection, path: Path, requests: Sequence[Request], settings: OutboxSettings, stamp: Stamp
) -> list[Outcome]:
    """Accept every request that the bounds allow, in order, and commit once.

    The outcome of a request is its receipts or the error that refuses it alone. Raises pysqlite3.Error when the
    transaction as a whole failed; then nothing was accepted, or (a failed COMMIT) the outcome is unknown.
    """
    if full := _host_is_full(path, settings):
        return [full] * len(requests)
    with transaction(connection):
        group = _Group(connection, settings, stamp)
        outcomes = [group.place(request) for request in requests]
        group.flush()
    return outcomes


def _host_is_full(path: Path, settings: OutboxSettings) -> OutboxFull | None:
    room = os.statvfs(path.parent)
    free = room.f_bavail * room.f_frsize
    if free >= settings.min_free:
        return None
    return OutboxFull(
        f"The disk of {path.parent} has {free >> 20} MiB left and outbox.min_free keeps {settings.min_free >> 20} MiB"
        " for the host: free disk space."
    )


@dataclass(slots=True)
class _Pending:
    """One lane's part of the group: where the lane stands, and rows not yet in the table."""

    state: LaneState
    policy: LanePolicy
    rows: list[tuple[Any, ...]]
    newest: dict[str, int]


class _Group:
    """One transaction's worth of requests."""

    def __init__(self, connection: Connection, settings: OutboxSettings, stamp: Stamp) -> None:
        self._connection = connection
        self._settings = settings
        self._stamp = stamp
        self._boot = boot_number(connection, stamp)
        self._lanes: dict[Lane, _Pending] = {}
        self._room = self._room_in_file()

    def place(self, request: Request) -> Outcome:
        """Receipts for the request, or why it is refused; a refused request leaves nothing behind."""
        try:
            if request.also is None:
                return self._place(request.drafts)
            return self._place_with(request.drafts, request.also)
        except MraError as refusal:
            return refusal

    def flush(self) -> None:
        """Write the rows and counters gathered so far."""
        for pending in self._lanes.values():
            self._flush(pending)

    def _place_with(self, drafts: Sequence[Draft], also: Unit) -> Outcome:
        self.flush()
        before = {lane: replace(pending.state) for lane, pending in self._lanes.items()}
        try:
            with savepoint(self._connection):
                also(self._connection)
                receipts = self._place(drafts)
                self.flush()
        except BaseException:
            self._lanes = {lane: _Pending(state, self._settings.lanes[lane], [], {}) for lane, state in before.items()}
            raise
        return receipts

    def _place(self, drafts: Sequence[Draft]) -> list[Receipt]:
        sized: list[_Sized] = []
        total: dict[Lane, int] = {}
        for draft in drafts:
            headers = wire_headers(draft.headers) if draft.headers else None
            size = len(draft.body) + len(draft.subject) + (len(headers) if headers else 0) + ROW_OVERHEAD
            sized.append((draft, headers, size))
            total[draft.lane] = total.get(draft.lane, 0) + size
        for lane, size in total.items():
            self._make_room(self._pending(lane), size)
        # One draw from the kernel for the whole request; each row takes its 128 bits.
        ids = os.urandom(16 * len(sized)).hex()
        return [self._add(one, ids[32 * index : 32 * index + 32]) for index, one in enumerate(sized)]

    def _pending(self, lane: Lane) -> _Pending:
        pending = self._lanes.get(lane)
        if pending is None:
            state = lanes.load(self._connection, lane)
            pending = self._lanes[lane] = _Pending(state, self._settings.lanes[lane], [], {})
        return pending

    def _add(self, sized: _Sized, fresh_id: str) -> Receipt:
        draft, headers, size = sized
        lane, subject, body, _, key, id_, ttl = draft
        pending = self._pending(lane)
        state = pending.state
        if id_ is None:
            id_ = fresh_id
        elif lane is Lane.SUBMISSIONS and (earlier := self._earlier(pending, id_)):
            return Receipt(lane, earlier, id_, repeated=True)
        seq = state.next_seq
        state.next_seq = seq + 1
        stamp = self._stamp
        lifetime = None if ttl is None else int(ttl * NANOSECONDS)
        sum_ = checksum(seq, id_, subject, headers, body)
        pending.rows.append(
            (seq, size, sum_, stamp.wall, stamp.mono, self._boot, lifetime, id_, subject, key, headers, body)
        )
        state.accepted_bytes += size
        state.waiting_bytes += size
        self._room -= size
        if key is not None:
            pending.newest[key] = seq
        return Receipt(lane, seq, id_)

    def _earlier(self, pending: _Pending, id_: str) -> int | None:
        self._flush(pending)
        row = self._connection.execute(
            "SELECT seq FROM row_submissions WHERE id = ?1 UNION ALL"
            " SELECT seq FROM parked WHERE id = ?1 AND lane = 'submissions'",
            (id_,),
        ).fetchone()
        return int(row[0]) if row else None

    def _make_room(self, pending: _Pending, size: int) -> None:
        """Let the lane's policy free what is missing, or refuse."""
        if self._room < size:
            self._reclaim(size)
        missing = max(pending.state.waiting_bytes + size - pending.policy.max_bytes, size - self._room)
        if missing <= 0:
            return
        if size > pending.policy.max_bytes:
            raise OutboxFull(f"{size} bytes at once do not fit lane {pending.state.name} (lanes.max_bytes): send less.")
        self._flush(pending)
        if pending.policy.overflow is Overflow.THIN:
            missing -= shedding.thin(self._connection, pending.state, missing, self._stamp.wall)
        if missing > 0 and pending.policy.overflow is not Overflow.REJECT:
            # A little more than needed, so that a lane at its bound does not shed row by row.
            slack = min(64 * 1024, pending.policy.max_bytes // 64)
            missing -= shedding.drop_oldest(self._connection, pending.state, missing + slack, self._stamp.wall)
        pending.state.save(self._connection)
        if missing > 0:
            raise OutboxFull(
                f"Lane {pending.state.name} is full ({pending.state.waiting_bytes >> 10} KiB wait): wait until it"
                " drains, or raise lanes.max_bytes or outbox.max_bytes."
            )
        self._room = max(self._room, self._room_in_file())

    def _reclaim(self, size: int) -> None:
        """Give up the replay window, down to its shortest, before any waiting row is touched."""
        self.flush()
        prune_replay(self._connection, self._settings, self._stamp, needed=size)
        self._lanes.clear()
        self._room = self._room_in_file()

    def _room_in_file(self) -> int:
        """Bytes that rows may still take, by the real size of the file."""
        pages: int = self._connection.execute("PRAGMA page_count").fetchone()[0]
        free: int = self._connection.execute("PRAGMA freelist_count").fetchone()[0]
        return int(self._settings.max_bytes * (1 - _RESERVE)) - (pages - free) * PAGE_SIZE

    def _flush(self, pending: _Pending) -> None:
        if not pending.rows:
            return
        state = pending.state
        self._connection.executemany(_INSERT.format(table=state.table), pending.rows)
        state.accepted += len(pending.rows)
        state.waiting += len(pending.rows)
        pending.rows = []
        if pending.newest:
            if pending.policy.overflow is Overflow.NEWEST_PER_KEY:
                shedding.supersede(self._connection, state, pending.newest, self._stamp.wall)
            pending.newest = {}
        state.save(self._connection)
