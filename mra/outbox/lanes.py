"""Where a lane stands: the `lane` row as a value, read and written inside the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mra.outbox.record import Lane
    from mra.outbox.sqlite import Connection

_COLUMNS = (
    "epoch, next_seq, claimed_through, settled_through, checkpoint_seq, epoch_total, thinned_through,"
    " thin_until, accepted, delivered, waiting, parked, shed, accepted_bytes, waiting_bytes, held, singly_through,"
    " exported_through, exported_overdue, based_at"
)
_UPDATE = (
    "UPDATE lane SET epoch=?, next_seq=?, claimed_through=?, settled_through=?, checkpoint_seq=?, epoch_total=?,"
    " thinned_through=?, thin_until=?, accepted=?, delivered=?, waiting=?, parked=?, shed=?, accepted_bytes=?,"
    " waiting_bytes=?, held=?, singly_through=?, exported_through=?, exported_overdue=?, based_at=? WHERE name=?"
)


@dataclass(slots=True)
class LaneState:
    """Marks and counters of one lane; see the migrations for what each means."""

    name: Lane
    epoch: str
    next_seq: int
    claimed_through: int
    settled_through: int
    checkpoint_seq: int
    epoch_total: int
    thinned_through: int
    thin_until: int
    accepted: int
    delivered: int
    waiting: int
    parked: int
    shed: int
    accepted_bytes: int
    waiting_bytes: int
    held: str | None
    singly_through: int
    exported_through: int = 0
    exported_overdue: int = 0
    based_at: int = 0

    @property
    def table(self) -> str:
        """Table that holds the lane's rows."""
        return table_of(self.name)

    @property
    def previous(self) -> int:
        """The row sent last in this epoch, 0 when none was: what the next row names as its predecessor."""
        return self.settled_through if self.epoch_total else 0

    @property
    def kept_through(self) -> int:
        """No policy sheds rows up to here: they may be at the SaaS or on their way there, by link or by file."""
        return self.claimed_through if self.exported_overdue else max(self.claimed_through, self.exported_through)

    def save(self, connection: Connection) -> None:
        """Write the row back."""
        connection.execute(
            _UPDATE,
            (
                self.epoch, self.next_seq, self.claimed_through, self.settled_through, self.checkpoint_seq,
                self.epoch_total, self.thinned_through, self.thin_until, self.accepted, self.delivered, self.waiting,
                self.parked, self.shed, self.accepted_bytes, self.waiting_bytes, self.held, self.singly_through,
                self.exported_through, self.exported_overdue, self.based_at, self.name.value,
            ),
        )  # fmt: skip


def table_of(lane: Lane) -> str:
    """Table that holds the rows of `lane`."""
    return f"row_{lane.value}"


def load(connection: Connection, lane: Lane) -> LaneState:
    """The lane as it stands in this transaction."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM lane WHERE name = ?", (lane.value,)).fetchone()
    return LaneState(lane, *row)
