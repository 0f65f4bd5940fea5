"""What a person may change by hand. Each change leaves an audit row in its own transaction."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mra.clock import now
from mra.errors import BadInput
from mra.outbox import exports, lanes, shedding
from mra.outbox.ledger import record_audit, record_loss
from mra.outbox.record import Lane, checksum
from mra.outbox.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mra.outbox.sqlite import Connection

_COLUMNS = "size, wall, mono, boot, expires, id, subject, key, headers, body"
_VACUUM_PAGES = 1000


def requeue(connection: Connection, numbers: Sequence[int], *, actor: str) -> int:
    """Put dead letters back at the end of their lanes, under new sequence numbers; return how many.

    Raises BadInput, and changes nothing, for a number that is not parked or a row whose bytes are damaged.
    """
    chosen = list(dict.fromkeys(numbers))
    with transaction(connection):
        per_lane: dict[Lane, int] = {}
        for no in chosen:
            lane = _requeue(connection, no)
            per_lane[lane] = per_lane.get(lane, 0) + 1
        for lane, count in per_lane.items():
            record_audit(connection, wall=now().wall, actor=actor, action="requeue", lane=lane, count=count)
    return len(chosen)


def _requeue(connection: Connection, no: int) -> Lane:
    found = connection.execute(f"SELECT lane, seq, sum, {_COLUMNS} FROM parked WHERE no = ?", (no,)).fetchone()
    if found is None:
        raise BadInput(f"There is no parked row {no}: see `mra outbox parked`.")
    name, old_seq, sum_, size, wall, mono, boot, expires, id_, subject, key, headers, body = found
    if checksum(old_seq, id_, subject, headers, body) != sum_:
        raise BadInput(f"Parked row {no} is damaged and cannot be sent: look at it, then drop it.")
    state = lanes.load(connection, Lane(name))
    seq = state.next_seq
    # Deleted first, so that the row takes the pages that the dead letter leaves: this works in a full file, too.
    connection.execute("DELETE FROM parked WHERE no = ?", (no,))
    connection.execute(
        f"INSERT INTO {state.table} (seq, sum, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            seq, checksum(seq, id_, subject, headers, body),
            size, wall, mono, boot, expires, id_, subject, key, headers, body,
        ),
    )  # fmt: skip
    state.next_seq += 1
    state.parked -= 1
    state.waiting += 1
    state.waiting_bytes += size
    state.save(connection)
    return state.name


def drop_parked(connection: Connection, numbers: Sequence[int], *, actor: str) -> int:
    """Give dead letters up for good; return how many. Raises BadInput, and changes nothing, for a wrong number."""
    chosen = list(dict.fromkeys(numbers))
    with transaction(connection):
        for no in chosen:
            found = connection.execute("SELECT lane, seq, size FROM parked WHERE no = ?", (no,)).fetchone()
            if found is None:
                raise BadInput(f"There is no parked row {no}: see `mra outbox parked`.")
            name, seq, size = found
            state = lanes.load(connection, Lane(name))
            connection.execute("DELETE FROM parked WHERE no = ?", (no,))
            state.parked -= 1
            state.shed += 1
            state.save(connection)
            wall = now().wall
            record_loss(
                connection, state.name, "dropped",
                first_seq=seq, last_seq=seq, count=1, size=size, wall=wall, detail=f"by {actor}",
            )  # fmt: skip
            record_audit(
                connection, wall=wall, actor=actor, action="drop parked", lane=state.name, count=1, detail=f"row {seq}"
            )
    return len(chosen)


def drop_waiting(connection: Connection, lane: Lane, seqs: Sequence[int], *, actor: str) -> int:
    """Give waiting rows up for good; rows that may be in flight are refused. Returns how many."""
    with transaction(connection):
        state = lanes.load(connection, lane)
        chosen = []
        for seq in sorted(set(seqs)):
            found = connection.execute(f"SELECT seq, size FROM {state.table} WHERE seq = ?", (seq,)).fetchone()
            if found is None or seq <= state.settled_through:
                raise BadInput(f"Row {seq} of lane {lane} does not wait: see `mra outbox ls {lane}`.")
            if seq <= state.kept_through:
                raise BadInput(f"Row {seq} of lane {lane} may be on its way to the SaaS: it cannot be dropped now.")
            chosen.append((seq, found[1]))
        shedding.shed(connection, state, chosen, "dropped", now().wall)
        state.save(connection)
        record_audit(
            connection, wall=now().wall, actor=actor, action="drop", lane=lane, count=len(chosen),
            detail="rows " + ", ".join(str(seq) for seq, _ in chosen),
        )  # fmt: skip
    return len(chosen)


def adopt(connection: Connection, lane: Lane, *, actor: str) -> bool:
    """Let a fenced lane start anew behind whatever the SaaS holds; return whether it was held.

    A fresh epoch that never wrote is what the uplink recognises as a new installation.
    """
    with transaction(connection):
        state = lanes.load(connection, lane)
        if state.held is None:
            return False
        detail = f"epoch {state.epoch} ends at row {state.settled_through}"
        state.epoch = os.urandom(8).hex()
        state.epoch_total = state.checkpoint_seq = 0
        state.claimed_through = state.settled_through
        state.held = None
        exports.forget_lane(connection, state)
        state.save(connection)
        record_audit(
            connection, wall=now().wall, actor=actor, action="adopt", lane=lane, count=state.waiting, detail=detail
        )
    return True


def vacuum(connection: Connection) -> tuple[int, int]:
    """Give every free page back to the disk and empty the log; return the file's pages before and after.

    In slices, each a transaction of its own: a running daemon gets its turn in between, and the log stays short.
    """
    before = free = _pragma(connection, "page_count")
    while 0 < (left := _pragma(connection, "freelist_count")) < free:
        free = left
        connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return before, _pragma(connection, "page_count")


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
