"""Accepting records: the rules and the rows of one group in one transaction.

Plain functions of a connection: the daemon runs them in its database thread, `mra submit` runs them directly.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from mra.clock import NANOSECONDS
from mra.errors import OutboxFull, StoreBroken
from mra.outbox import lanes, shedding
from mra.outbox.bounds import Bounds, footprint
from mra.outbox.elapsed import boot_of
from mra.outbox.policy import Overflow
from mra.outbox.record import (
    ORIGIN,
    Draft,
    Lane,
    Receipt,
    check_draft,
    checksum,
    counted_size,
    origin_header,
    wire_headers,
)
from mra.outbox.sqlite import Error, blames_the_statement
from mra.outbox.transaction import savepoint, transaction

if TYPE_CHECKING:
    from pathlib import Path

    from mra.clock import Stamp
    from mra.outbox.lanes import LaneState
    from mra.outbox.policy import LanePolicy, OutboxSettings
    from mra.outbox.sqlite import Connection

_INSERT = (
    "INSERT INTO {table} (seq, size, sum, wall, mono, boot, expires, id, subject, key, headers, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_OWN = f"(headers IS NULL OR headers NOT LIKE '{ORIGIN}:%')"

Unit = Callable[["Connection"], object]


class Request(NamedTuple):
    """What one producer wants accepted, all or nothing; `also` runs in the same transaction, before the rows."""

    drafts: Sequence[Draft]
    also: Unit | None = None


Outcome = list[Receipt] | Exception


def accept(
    connection: Connection, path: Path, requests: Sequence[Request], settings: OutboxSettings, stamp: Stamp
) -> list[Outcome]:
    """Accept every request that the bounds allow, in order, and commit once.

    The outcome of a request is its receipts, or the error that refuses it alone: OutboxFull, BadInput, or whatever
    its `also` raised. Raises pysqlite3.Error when the transaction as a whole failed; then nothing was accepted, or (a
    failed COMMIT) the outcome is unknown.
    """
    if full := _host_is_full(path, settings):
        return [full] * len(requests)
    with transaction(connection):
        group = _Group(connection, settings, stamp)
        outcomes = [group.place(request) for request in requests]
        group.flush()
    return outcomes


def _host_is_full(path: Path, settings: OutboxSettings) -> OutboxFull | None:
    try:
        room = os.statvfs(path.parent)
    except OSError as error:
        raise StoreBroken(f"The directory of {path} is out of reach ({error.strerror}): bring it back.") from error
    free = room.f_bavail * room.f_frsize
    if free >= settings.min_free:
        return None
    return OutboxFull(
        f"The disk of {path.parent} has {free >> 20} MiB left and outbox.min_free keeps {settings.min_free >> 20} MiB"
        " for the host: free disk space."
    )


# A draft, its headers for the wire, the bytes that it counts, and its row if it had been accepted before.
_Sized = tuple[Draft, str | None, int, int | None]


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
        self._boot = boot_of(connection, stamp)
        self._bounds = Bounds(connection, settings, stamp)
        self._lanes: dict[Lane, _Pending] = {}
        self._ids: dict[str, int] = {}  # submissions of this group that are not in the table yet
        self._room = self._bounds.room()

    def place(self, request: Request) -> Outcome:
        """Receipts for the request, or why it is refused; a refused request leaves nothing behind."""
        try:
            sized = [self._measure(draft) for draft in request.drafts]
            if request.also is None and self._fits(sized):
                return self._add_all(sized)
            return self._place_apart(request, sized)
        except Exception as refusal:
            broken = isinstance(refusal, Error) and not blames_the_statement(refusal)
            if broken or not self._connection.in_transaction:
                raise
            return refusal

    def flush(self) -> None:
        """Write the rows and counters gathered so far."""
        for pending in self._lanes.values():
            self._flush(pending)
        self._ids.clear()

    def _measure(self, draft: Draft) -> _Sized:
        check_draft(draft)
        _, subject, body, pairs, key, id_, _, origin = draft
        headers = wire_headers(pairs) if pairs else None
        if origin is not None:
            headers = origin_header(origin) + (headers or "")
        elif id_ is not None and draft.lane is Lane.SUBMISSIONS and (earlier := self._earlier(id_)):
            return draft, headers, 0, earlier
        return draft, headers, counted_size(id_, subject, key, headers, body), None

    def _earlier(self, id_: str) -> int | None:
        if seq := self._ids.get(id_):
            return seq
        # Ids are unique within a node: what a follower has accepted under this id is another record.
        row = self._connection.execute(
            f"SELECT seq FROM row_submissions WHERE id = ?1 AND {_OWN} UNION ALL"
            f" SELECT seq FROM parked WHERE lane = 'submissions' AND id = ?1 AND {_OWN}",
            (id_,),
        ).fetchone()
        return int(row[0]) if row else None

    def _fits(self, sized: Sequence[_Sized]) -> bool:
        total = _per_lane(sized)
        if sum(map(footprint, total.values())) > self._room:
            return False
        lanes_ = ((self._pending(lane), size) for lane, size in total.items())
        return all(pending.state.waiting_bytes + size <= pending.policy.max_bytes for pending, size in lanes_)

    def _place_apart(self, request: Request, sized: Sequence[_Sized]) -> list[Receipt]:
        """Place a request that may fail half-way, in a part of the transaction that can be taken back."""
        self.flush()
        try:
            with savepoint(self._connection):
                if request.also is not None:
                    request.also(self._connection)
                    _assert_open(self._connection)
                self._make_room(sized)
                receipts = self._add_all(sized)
                self.flush()
        except BaseException:
            self._lanes.clear()
            self._ids.clear()
            raise
        self._room = self._bounds.room()
        return receipts

    def _pending(self, lane: Lane) -> _Pending:
        pending = self._lanes.get(lane)
        if pending is None:
            state = lanes.load(self._connection, lane)
            pending = self._lanes[lane] = _Pending(state, self._settings.lanes[lane], [], {})
        return pending

    def _add_all(self, sized: Sequence[_Sized]) -> list[Receipt]:
        # One draw from the kernel for the whole request; each row takes its 128 bits.
        ids = os.urandom(16 * len(sized)).hex()
        return [self._add(one, ids[32 * index : 32 * index + 32]) for index, one in enumerate(sized)]

    def _add(self, sized: _Sized, fresh_id: str) -> Receipt:
        draft, headers, size, earlier = sized
        lane, subject, body, _, key, id_, ttl, origin = draft
        if id_ is None:
            id_ = fresh_id
        elif origin is None and lane is Lane.SUBMISSIONS and (earlier := earlier or self._ids.get(id_)):
            return Receipt(lane, earlier, id_, repeated=True)
        pending = self._pending(lane)
        state = pending.state
        seq = state.next_seq
        state.next_seq = seq + 1
        stamp = self._stamp
        expires = None if ttl is None else self._boot.elapsed(stamp) + int(ttl * NANOSECONDS)
        sum_ = checksum(seq, id_, subject, headers, body)
        pending.rows.append(
            (seq, size, sum_, stamp.wall, stamp.mono, self._boot.no, expires, id_, subject, key, headers, body)
        )
        state.accepted_bytes += size
        state.waiting_bytes += size
        self._room -= footprint(size)
        if key is not None:
            pending.newest[key] = seq
        if draft.id is not None and origin is None and lane is Lane.SUBMISSIONS:
            self._ids[id_] = seq
        return Receipt(lane, seq, id_)

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

    def _make_room(self, sized: Sequence[_Sized]) -> None:
        """Let each lane's policy free what is missing, or refuse. Everything gathered before is in the tables."""
        needed = 0
        for lane, size in _per_lane(sized).items():
            needed += footprint(size)
            self._bounds.reclaim(needed)
            keys = {draft.key for draft, *_ in sized if draft.lane is lane and draft.key is not None}
            self._bounds.make_room(self._pending(lane).state, size, needed, keys)


def _per_lane(sized: Sequence[_Sized]) -> dict[Lane, int]:
    total: dict[Lane, int] = {}
    for draft, _, size, _ in sized:
        if size:
            total[draft.lane] = total.get(draft.lane, 0) + size
    return total


def _assert_open(connection: Connection) -> None:
    if not connection.in_transaction:
        raise RuntimeError("also() ended the transaction that it was called in")
