"""Rows that left in a sealed file: which ones, since when, and for how long no policy may shed them.

A file is a batch whose answer may take weeks or never come. So that its rows are still here when the SaaS has them, no
policy sheds them, but not for ever: once the oldest unanswered file of a lane is older than `outbox.export_hold`, the
lane's policies apply to all of its rows again, however often it was exported since. What a file said is remembered all
the same: if it arrives after all, its checkpoint is recognised although rows of it may have gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mra.clock import NANOSECONDS
from mra.errors import Refused
from mra.outbox import lanes
from mra.outbox.elapsed import Elapsed, boot_of
from mra.outbox.ledger import record_audit
from mra.outbox.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mra.clock import Stamp
    from mra.outbox.lanes import LaneState
    from mra.outbox.record import Lane
    from mra.outbox.sqlite import Connection

_REMEMBERED = 1000  # answered files of each lane


class Extent(NamedTuple):
    """The rows of one lane that go into a file: those behind `after` and up to `through_seq`."""

    lane: Lane
    epoch: str
    after: int
    through_seq: int
    total_before: int  # rows of the epoch that were delivered before
    checkpoint_seq: int  # stream sequence of the newest checkpoint that is known here
    rows: int


def begin(
    connection: Connection,
    file: str,
    chosen: Sequence[Lane],
    *,
    hold: float,
    stamp: Stamp,
    actor: str,
    everything: bool = False,
) -> list[Extent]:
    """Keep the waiting rows of lanes for a file; lanes in which none wait are left out.

    With `everything` delivered rows of the lane's epoch that are still here go along, for a SaaS that has lost them.
    `hold` is in seconds of host uptime. Raises Refused for a lane with rows that were published one by one: some may
    be at the SaaS although no checkpoint says so, and a file would store them twice. So would a file of a follower's,
    whose leader has its rows or is about to.
    """
    with transaction(connection):
        if leader := connection.execute("SELECT leader FROM site_stint").fetchone():
            raise Refused(f"This node hands its rows to {leader[0]}, the leader of its site: export them there.")
        found = [extent for lane in chosen if (extent := _begin(connection, file, lane, stamp, everything))]
        note_overdue(connection, Elapsed(connection, stamp), hold)
        for extent in found:
            record_audit(
                connection, wall=stamp.wall, actor=actor, action="export", lane=extent.lane, count=extent.rows,
                detail=f"sealed file {file}, rows {extent.after + 1} to {extent.through_seq}",
            )  # fmt: skip
    return found


def _begin(connection: Connection, file: str, lane: Lane, stamp: Stamp, everything: bool) -> Extent | None:
    here = lanes.load(connection, lane)
    extent = _extent(connection, here, everything)
    if not extent.rows:
        return None
    if here.singly_through > here.settled_through:
        raise Refused(
            f"Lane {lane} has rows up to {here.singly_through} that were published one by one, and some may be stored:"
            " let the agent deliver them over its link first."
        )
    if not here.waiting:
        return extent  # nothing that could be settled by an answer
    connection.execute(
        "INSERT INTO export (file, lane, epoch, first_seq, through_seq, wall, mono, boot)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            file, lane.value, here.epoch, here.settled_through + 1, extent.through_seq, stamp.wall, stamp.mono,
            boot_of(connection, stamp).no,
        ),
    )  # fmt: skip
    here.exported_through = extent.through_seq
    here.save(connection)
    connection.execute(
        "DELETE FROM export WHERE lane = ?1 AND answered = 1 AND through_seq < (SELECT through_seq FROM export"
        " WHERE lane = ?1 AND answered = 1 ORDER BY through_seq DESC LIMIT 1 OFFSET ?2)",
        (lane.value, _REMEMBERED),
    )
    return extent


def _extent(connection: Connection, here: LaneState, everything: bool) -> Extent:
    found = Extent(
        here.name, here.epoch, here.settled_through, here.next_seq - 1, here.epoch_total, here.checkpoint_seq,
        here.waiting,
    )  # fmt: skip
    if not everything:
        return found
    first, kept = connection.execute(
        "SELECT min(first_seq), coalesce(sum(count), 0) FROM checkpoint WHERE lane = ? AND epoch = ?",
        (here.name.value, here.epoch),
    ).fetchone()
    if not kept:
        return found
    return found._replace(after=first - 1, total_before=max(0, here.epoch_total - kept), rows=here.waiting + kept)


def finish(connection: Connection, file: str, lane: Lane, *, last_seq: int, last_wall: int) -> None:
    """Remember the file's last row of a lane, by which its checkpoint will be recognised."""
    with transaction(connection):
        connection.execute(
            "UPDATE export SET last_seq = ?, last_wall = ? WHERE file = ? AND lane = ?",
            (last_seq, last_wall, file, lane.value),
        )


def withdraw(connection: Connection, file: str) -> None:
    """The file was never finished: nobody has it, and no rows are kept for it any more."""
    with transaction(connection):
        names = connection.execute("DELETE FROM export WHERE file = ? RETURNING lane", (file,)).fetchall()
        _keep_for_the_others(connection, names)


def answer(connection: Connection, file: str) -> None:
    """The file was answered: no rows are kept for it any more, and no second answer counts."""
    with transaction(connection):
        names = connection.execute(
            "UPDATE export SET answered = 1 WHERE file = ? AND answered = 0 RETURNING lane", (file,)
        ).fetchall()
        _keep_for_the_others(connection, names)


def _keep_for_the_others(connection: Connection, names: Sequence[tuple[str]]) -> None:
    for (name,) in names:
        connection.execute(
            "UPDATE lane SET exported_through = (SELECT coalesce(max(through_seq), 0) FROM export"
            " WHERE lane = ?1 AND answered = 0) WHERE name = ?1",
            (name,),
        )


def note_overdue(connection: Connection, clock: Elapsed, hold: float) -> None:
    """Let the policies have rows of a lane whose oldest unanswered file is older than `hold` seconds.

    Runs in the caller's transaction.
    """
    oldest: dict[str, int] = {}
    for lane, boot, mono in connection.execute("SELECT lane, boot, mono FROM export WHERE answered = 0"):
        oldest[lane] = max(oldest.get(lane, 0), clock.age(boot, mono))
    for lane, age in oldest.items():
        connection.execute(
            "UPDATE lane SET exported_overdue = ?1 WHERE name = ?2 AND exported_overdue <> ?1",
            (int(age > hold * NANOSECONDS), lane),
        )


def settle(connection: Connection, here: LaneState) -> None:
    """Files whose rows are all settled need no answer any more. The caller saves `here`."""
    if here.exported_through == 0:
        return
    connection.execute(
        "UPDATE export SET answered = 1 WHERE lane = ? AND through_seq <= ? AND answered = 0",
        (here.name.value, here.settled_through),
    )
    if here.exported_through <= here.settled_through:
        here.exported_through = here.exported_overdue = 0


def forget_lane(connection: Connection, here: LaneState) -> None:
    """No answer to a file of the lane may count any more: its epoch or its marks went another way.

    The caller saves `here`.
    """
    connection.execute("UPDATE export SET answered = 1 WHERE lane = ? AND answered = 0", (here.name.value,))
    here.exported_through = here.exported_overdue = 0


def wrote(connection: Connection, lane: Lane, *, epoch: str, last_seq: int, last_wall: int) -> bool:
    """Whether a file ends with just this row.

    A copy of this database numbers its rows alike, but accepts none in the same nanosecond.
    """
    found = connection.execute(
        "SELECT 1 FROM export WHERE lane = ? AND epoch = ? AND last_seq = ? AND last_wall = ? AND last_seq > 0",
        (lane.value, epoch, last_seq, last_wall),
    ).fetchone()
    return found is not None


def lanes_of(connection: Connection, file: str) -> list[str]:
    """Names of the lanes for which the file still waits for an answer."""
    return [
        name
        for (name,) in connection.execute(
            "SELECT lane FROM export WHERE file = ? AND answered = 0 ORDER BY lane", (file,)
        )
    ]
