"""What the uplink does to rows: read the next batch, claim it, settle it, go back.

A *claim* says that rows up to a mark may be in flight: no policy sheds them until the uplink knows what became of
them. A *settlement* says that the SaaS provably holds everything up to a checkpoint.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from mra.clock import Stamp, now
from mra.errors import Fenced
from mra.outbox import exports, lanes
from mra.outbox.elapsed import boot_of
from mra.outbox.ledger import record_audit, record_loss
from mra.outbox.record import Lane, Row, is_intact
from mra.outbox.transaction import transaction
from mra.outbox.upkeep import STRETCH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mra.outbox.lanes import LaneState
    from mra.outbox.sqlite import Connection

_SMALL_STRETCH = 256 * 1024  # bytes; larger batches keep a row of their own
_ROWS = "SELECT seq, id, subject, headers, body, sum, wall FROM {table} WHERE seq > ? ORDER BY seq LIMIT ?"


class Rows(NamedTuple):
    """The next rows of a lane, intact ones only, and the numbers of rows found damaged among them."""

    rows: list[Row]
    damaged: list[int]
    more: bool = False  # rows were left behind these


class Settlement(NamedTuple):
    """What a checkpoint proves: the rows `first_seq..through_seq` of `epoch` are stored at `stream_seq`."""

    epoch: str
    through_seq: int
    total: int  # rows of this epoch that the SaaS has taken, this batch included
    stream_seq: int


def read(connection: Connection, lane: Lane, after: int, *, max_rows: int, max_bytes: int) -> Rows:
    """Rows behind `after`, at most `max_rows` and `max_bytes` of bodies, but at least one when there is one."""
    rows: list[Row] = []
    damaged: list[int] = []
    size = 0
    more = False
    cursor = connection.execute(_ROWS.format(table=lanes.table_of(lane)), (after, max_rows + 1))
    for found in cursor:
        row = Row(*found)
        if not is_intact(row):
            damaged.append(row.seq)
            continue
        size += len(row.body) + len(row.subject)
        if rows and (size > max_bytes or len(rows) == max_rows):
            more = True
            break
        rows.append(row)
    cursor.close()
    return Rows(rows, damaged, more)


def digest(rows: Iterable[Row]) -> str:
    """SHA-256 over number, id and body of the rows: what a checkpoint says about its batch.

    `mra saas verify` computes the same from the stored messages.
    """
    parts: list[bytes] = []
    for row in rows:
        parts.append(b"%d %s %d\n" % (row.seq, row.id.encode(), len(row.body)))
        parts.append(row.body)
    return sha256(b"".join(parts)).hexdigest()


def digest_between(connection: Connection, lane: Lane, first_seq: int, through_seq: int) -> str:
    """The digest of the stored rows `first_seq..through_seq`; that of no batch at all when one of them is damaged."""
    cursor = connection.execute(
        f"SELECT seq, id, subject, headers, body, sum, wall FROM {lanes.table_of(lane)}"
        " WHERE seq BETWEEN ? AND ? ORDER BY seq",
        (first_seq, through_seq),
    )
    rows = [Row(*found) for found in cursor]
    return digest(rows) if all(map(is_intact, rows)) else ""


def count_between(connection: Connection, lane: Lane, after: int, through_seq: int) -> int:
    """Rows that are kept of those behind `after` and up to `through_seq`, damaged ones included."""
    query = f"SELECT count(*) FROM {lanes.table_of(lane)} WHERE seq > ? AND seq <= ?"
    return int(connection.execute(query, (after, through_seq)).fetchone()[0])


def state(connection: Connection, lane: Lane) -> LaneState:
    """Where the lane stands."""
    return lanes.load(connection, lane)


class Claim(NamedTuple):
    """Rows that were read and are about to be sent: `rows` of them, behind `after` and up to `through_seq`."""

    after: int
    through_seq: int
    rows: int
    singly: bool = False  # published one by one, so that some may be stored although no checkpoint covers them


def advance(
    connection: Connection, lane: Lane, *, settled: Settlement | None = None, claim: Claim | None = None
) -> bool:
    """Settle a batch, claim another, or both, in one transaction; return whether the claim holds.

    It does not hold when one of its rows has left since it was read (superseded, shed, dropped, parked): read again
    then, for that row must not be sent.
    """
    holds = True
    with transaction(connection):
        here = lanes.load(connection, lane)
        if settled:
            _settle(connection, here, settled, now())
        if claim is not None:
            holds = count_between(connection, lane, claim.after, claim.through_seq) == claim.rows
        if claim is not None and holds:
            here.claimed_through = max(here.claimed_through, claim.through_seq)
            if claim.singly:
                here.singly_through = max(here.singly_through, claim.through_seq)
        here.save(connection)
    return holds


def _settle(connection: Connection, here: LaneState, settled: Settlement, stamp: Stamp) -> None:
    if settled.through_seq < here.settled_through:
        raise Fenced(
            f"Lane {here.name} is settled up to row {here.settled_through}, and the checkpoint at the SaaS ends at"
            f" {settled.through_seq}: somebody else writes there, or it was restored from a backup."
        )
    count, size, first = connection.execute(
        f"SELECT count(*), coalesce(sum(size), 0), min(seq) FROM {here.table} WHERE seq > ? AND seq <= ?",
        (here.settled_through, settled.through_seq),
    ).fetchone()
    if count and not _joins_stretch(connection, here, settled, count, size, stamp):
        connection.execute(
            "INSERT OR REPLACE INTO checkpoint (lane, through_seq, epoch, first_seq, count, bytes, stream_seq, wall,"
            " mono, boot) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                here.name.value, settled.through_seq, settled.epoch, first, count, size, settled.stream_seq,
                stamp.wall, stamp.mono, boot_of(connection, stamp).no,
            ),
        )  # fmt: skip
    here.waiting -= count
    here.delivered += count
    here.waiting_bytes -= size
    here.settled_through = settled.through_seq
    here.claimed_through = max(here.claimed_through, settled.through_seq)
    here.checkpoint_seq = settled.stream_seq
    here.epoch_total = settled.total
    exports.settle(connection, here)


def _joins_stretch(
    connection: Connection, here: LaneState, settled: Settlement, count: int, size: int, stamp: Stamp
) -> bool:
    """Let a small batch share the row of the one settled just before it: a trickle of events leaves few rows."""
    joined = connection.execute(
        "UPDATE checkpoint SET through_seq = ?, count = count + ?, bytes = bytes + ?, stream_seq = ?"
        " WHERE lane = ? AND through_seq = ? AND epoch = ? AND bytes + ? <= ? AND boot = ? AND mono > ?",
        (
            settled.through_seq, count, size, settled.stream_seq, here.name.value, here.settled_through, settled.epoch,
            size, _SMALL_STRETCH, boot_of(connection, stamp).no, stamp.mono - STRETCH,
        ),
    )  # fmt: skip
    return bool(joined.rowcount)


def release_claims(connection: Connection, lane: Lane, *, expected: int) -> None:
    """Nothing is in flight: the uplink has seen what the SaaS holds, and its newest checkpoint is at `expected`."""
    with transaction(connection):
        here = lanes.load(connection, lane)
        here.claimed_through = here.settled_through
        here.checkpoint_seq = expected
        here.held = None
        here.save(connection)


def rewind(connection: Connection, lane: Lane, *, through_seq: int, total: int, stream_seq: int) -> tuple[int, int]:
    """The SaaS lost its tail and now ends at `through_seq`: delivered rows behind it wait again.

    Returns (rows that will be sent again, rows that are gone because the replay window had closed behind them).
    """
    with transaction(connection):
        here = lanes.load(connection, lane)
        count, size, first = connection.execute(
            f"SELECT count(*), coalesce(sum(size), 0), min(seq) FROM {here.table} WHERE seq > ? AND seq <= ?",
            (through_seq, here.settled_through),
        ).fetchone()
        gone = min(max(0, here.epoch_total - total - count), here.delivered - count)
        record_loss(
            connection, lane, "saas-lost-tail",
            first_seq=through_seq + 1, last_seq=(first or here.settled_through + 1) - 1, count=gone, size=0,
            wall=now().wall, detail="delivered and acknowledged, then lost by the SaaS after the replay window",
        )  # fmt: skip
        record_audit(
            connection, wall=now().wall, actor="uplink", action="rewind", lane=lane, count=count,
            detail=f"the SaaS went back to row {through_seq}; {gone} rows are no longer kept here",
        )  # fmt: skip
        connection.execute("DELETE FROM checkpoint WHERE lane = ? AND through_seq > ?", (lane.value, through_seq))
        here.delivered -= count + gone
        here.waiting += count
        here.shed += gone
        here.waiting_bytes += size
        here.settled_through = here.claimed_through = through_seq
        here.checkpoint_seq = stream_seq
        here.epoch_total = total
        exports.forget_lane(connection, here)
        here.save(connection)
    return count, gone


def adopt(connection: Connection, lane: Lane, *, epoch: str, stream_seq: int, actor: str, detail: str) -> None:
    """Go on behind a checkpoint of another epoch, under a new one of our own; waiting rows keep waiting."""
    with transaction(connection):
        here = lanes.load(connection, lane)
        here.epoch = epoch
        here.epoch_total = 0
        here.checkpoint_seq = stream_seq
        here.claimed_through = here.settled_through
        here.held = None
        exports.forget_lane(connection, here)
        here.save(connection)
        record_audit(
            connection, wall=now().wall, actor=actor, action="adopt", lane=lane, count=here.waiting, detail=detail
        )


def hold(connection: Connection, lane: Lane, reason: str | None) -> None:
    """Say why the lane stands still, or that it may run again."""
    with transaction(connection):
        here = lanes.load(connection, lane)
        here.held = reason
        here.save(connection)
