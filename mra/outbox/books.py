"""After a salvage: what it found, and each lane's marks and counters, which have to agree with it.

A lane whose own marks cannot be read gets new ones from the newest checkpoint and the rows: everything behind that
checkpoint waits again, under a new epoch, and the uplink learns from the SaaS what is stored.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from mra.clock import now
from mra.outbox import lanes
from mra.outbox.ledger import record_loss
from mra.outbox.record import Lane

if TYPE_CHECKING:
    from mra.outbox.sqlite import Connection

_MOST_NOTES = 20


@dataclass
class Report:
    """What a salvage found."""

    kept_file: str
    rows: int = 0
    lost: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Remember what an operator may want to know; a flood of notes helps nobody."""
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(text)

    def fields(self) -> dict[str, Any]:
        """For the log."""
        return asdict(self)


def balance(target: Connection, lane: Lane, fresh_epoch: str, report: Report) -> None:
    """Make the lane's marks and counters agree with what was carried over, and note what was not."""
    found = target.execute("SELECT 1 FROM lane WHERE name = ?", (lane.value,)).fetchone()
    if found is None:
        report.note(f"lane {lane}: its marks were unreadable and are rebuilt from the rows")
        _rebuild(target, lane, fresh_epoch)
    state = lanes.load(target, lane)
    waiting, size, last = target.execute(
        f"SELECT count(*), coalesce(sum(size), 0), max(seq) FROM {state.table} WHERE seq > ?", (state.settled_through,)
    ).fetchone()
    parked = target.execute("SELECT count(*) FROM parked WHERE lane = ?", (lane.value,)).fetchone()[0]
    lost = max(0, state.waiting - waiting) if found else 0
    parked_lost = max(0, state.parked - parked) if found else 0
    state.waiting, state.waiting_bytes, state.parked = waiting, size, parked
    state.shed += lost + parked_lost
    state.next_seq = max(state.next_seq, (last or 0) + 1)
    report.lost += lost + parked_lost
    for count, detail in ((lost, "rows that waited"), (parked_lost, "parked rows")):
        record_loss(
            target, lane, "corrupt",
            first_seq=state.settled_through + 1, last_seq=state.next_seq - 1, count=count, size=0, wall=now().wall,
            detail=f"{detail}, unreadable in {report.kept_file}",
        )  # fmt: skip
    _complete_ledger(target, state, report)
    state.accepted = state.delivered + state.waiting + state.parked + state.shed
    state.save(target)


def _rebuild(target: Connection, lane: Lane, fresh_epoch: str) -> None:
    """Marks for a lane that has lost its own: it starts behind the newest checkpoint that is known, in a new epoch."""
    name, table = lane.value, lanes.table_of(lane)
    settled, stream_seq = target.execute(
        "SELECT max(through_seq), stream_seq FROM checkpoint WHERE lane = ?", (name,)
    ).fetchone()
    last = target.execute(
        f"SELECT max(seq) FROM (SELECT 0 AS seq UNION ALL SELECT max(seq) FROM {table} UNION ALL"
        " SELECT max(seq) FROM parked WHERE lane = ?1 UNION ALL SELECT max(last_seq) FROM loss WHERE lane = ?1)",
        (name,),
    ).fetchone()[0]
    settled = settled or 0
    delivered = target.execute(f"SELECT count(*) FROM {table} WHERE seq <= ?", (settled,)).fetchone()[0]
    shed = target.execute("SELECT coalesce(sum(count), 0) FROM loss WHERE lane = ?", (name,)).fetchone()[0]
    target.execute(
        "INSERT INTO lane (name, rank, epoch, next_seq, claimed_through, settled_through, checkpoint_seq, accepted,"
        " delivered, shed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            name, list(Lane).index(lane) + 1, fresh_epoch, max(last, settled) + 1, settled, settled, stream_seq or 0,
            delivered + shed, delivered, shed,
        ),
    )  # fmt: skip


def _complete_ledger(target: Connection, state: lanes.LaneState, report: Report) -> None:
    """Where entries of the loss ledger were unreadable, say so in one that makes its sum right again."""
    noted = target.execute("SELECT coalesce(sum(count), 0) FROM loss WHERE lane = ?", (state.name.value,)).fetchone()[0]
    if noted > state.shed:
        state.shed = noted
    record_loss(
        target, state.name, "ledger-lost",
        first_seq=0, last_seq=0, count=state.shed - noted, size=0, wall=now().wall,
        detail=f"left earlier; why is unreadable in {report.kept_file}",
    )  # fmt: skip
