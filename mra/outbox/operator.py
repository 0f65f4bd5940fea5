"""What a person may change by hand. Each change leaves an audit row in its own transaction."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mra.clock import now
from mra.errors import BadInput
from mra.outbox import lanes, shedding
from mra.outbox.ledger import record_audit, record_loss
from mra.outbox.record import Lane, checksum
from mra.outbox.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mra.outbox.sqlite import Connection

_COLUMNS = "size, wall, mono, boot, expires, id, subject, key, headers, body"


def requeue(connection: Connection, numbers: Sequence[int], *, actor: str) -> int:
    """Put dead letters back at the end of their lanes, under new sequence numbers; return how many."""
    with transaction(connection):
        per_lane: dict[Lane, int] = {}
        for no in numbers:
            found = connection.execute(f"SELECT lane, {_COLUMNS} FROM parked WHERE no = ?", (no,)).fetchone()
            if found is None:
                raise BadInput(f"There is no parked row {no}: see `mra outbox parked`.")
            state = lanes.load(connection, Lane(found[0]))
            size, wall, mono, boot, expires, id_, subject, key, headers, body = found[1:]
            seq = state.next_seq
            connection.execute(
                f"INSERT INTO {state.table} (seq, sum, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    seq, checksum(seq, id_, subject, headers, body),
                    size, wall, mono, boot, expires, id_, subject, key, headers, body,
                ),
            )  # fmt: skip
            connection.execute("DELETE FROM parked WHERE no = ?", (no,))
            state.next_seq += 1
            state.parked -= 1
            state.waiting += 1
            state.waiting_bytes += size
            state.save(connection)
            per_lane[state.name] = per_lane.get(state.name, 0) + 1
        for lane, count in per_lane.items():
            record_audit(connection, wall=now().wall, actor=actor, action="requeue", lane=lane, count=count)
    return sum(per_lane.values())


def drop_parked(connection: Connection, numbers: Sequence[int], *, actor: str) -> int:
    """Give dead letters up for good; return how many."""
    with transaction(connection):
        for no in numbers:
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
    return len(numbers)


def drop_waiting(connection: Connection, lane: Lane, seqs: Sequence[int], *, actor: str) -> int:
    """Give waiting rows up for good; rows that may be in flight are refused. Returns how many."""
    with transaction(connection):
        state = lanes.load(connection, lane)
        chosen = []
        for seq in sorted(seqs):
            found = connection.execute(f"SELECT seq, size FROM {state.table} WHERE seq = ?", (seq,)).fetchone()
            if found is None or seq <= state.settled_through:
                raise BadInput(f"Row {seq} of lane {lane} does not wait: see `mra outbox ls {lane}`.")
            if seq <= state.claimed_through:
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
        state.save(connection)
        record_audit(
            connection, wall=now().wall, actor=actor, action="adopt", lane=lane, count=state.waiting, detail=detail
        )
    return True


def vacuum(connection: Connection) -> tuple[int, int]:
    """Give every free page back to the disk and empty the log; return the file's pages before and after."""
    before = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute("PRAGMA incremental_vacuum").fetchall()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    after = connection.execute("PRAGMA page_count").fetchone()[0]
    return int(before), int(after)
