"""What left undelivered, and what people did by hand: both are written where they happen, in the same transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mra.outbox.transaction import transaction

if TYPE_CHECKING:
    from mra.outbox.record import Lane
    from mra.outbox.sqlite import Connection

# A superseded node report is the policy at work, not a loss that somebody should read about.
_SILENT = frozenset({"superseded"})


class Loss(NamedTuple):
    """Rows that left one lane for one reason."""

    no: int
    lane: str
    reason: str
    first_seq: int
    last_seq: int
    rows: int
    bytes: int
    detail: str | None
    wall: int


def record_loss(
    connection: Connection,
    lane: Lane,
    reason: str,
    *,
    first_seq: int,
    last_seq: int,
    count: int,
    size: int,
    wall: int,
    detail: str | None = None,
) -> None:
    """Note a loss; it joins the lane's newest entry when that has the same reason and is not closed yet."""
    if count == 0:
        return
    reported = int(reason in _SILENT)
    joined = connection.execute(
        "UPDATE loss SET last_seq = max(last_seq, ?), first_seq = min(first_seq, ?), count = count + ?,"
        " bytes = bytes + ?, wall = ? WHERE no = (SELECT max(no) FROM loss WHERE lane = ?)"
        " AND reason = ? AND reported = ? AND closed = 0 AND detail IS ?",
        (last_seq, first_seq, count, size, wall, lane.value, reason, reported, detail),
    ).rowcount
    if not joined:
        connection.execute(
            "INSERT INTO loss (lane, reason, first_seq, last_seq, count, bytes, detail, wall, reported)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (lane.value, reason, first_seq, last_seq, count, size, detail, wall, reported),
        )


def close_unreported(connection: Connection, limit: int = 100) -> list[Loss]:
    """Losses that no event has told the SaaS about. Each is closed: what comes later goes into another entry."""
    with transaction(connection):
        connection.execute("UPDATE loss SET closed = 1 WHERE reported = 0 AND closed = 0")
        rows = connection.execute(
            "SELECT no, lane, reason, first_seq, last_seq, count, bytes, detail, wall FROM loss"
            " WHERE reported = 0 ORDER BY no LIMIT ?",
            (limit,),
        ).fetchall()
    return [Loss(*row) for row in rows]


def has_unreported(connection: Connection) -> bool:
    """Whether there is a loss to report."""
    return connection.execute("SELECT 1 FROM loss WHERE reported = 0 LIMIT 1").fetchone() is not None


def mark_reported(connection: Connection, numbers: list[int]) -> None:
    """Remember that these losses were reported; called in the transaction that accepts the report."""
    connection.executemany("UPDATE loss SET reported = 1 WHERE no = ?", [(no,) for no in numbers])


def fold(connection: Connection, keep: int = 1000, slack: int = 1000) -> None:
    """Fold reported entries behind the newest `keep` into one per lane and reason.

    An outbox that sheds for months stays small, and the counts still add up. `slack` entries may pile up before that is
    worth a write. Runs in the caller's transaction.
    """
    behind = connection.execute(
        "SELECT no FROM loss WHERE reported = 1 ORDER BY no DESC LIMIT 1 OFFSET ?", (keep + slack,)
    ).fetchone()
    if behind is None:
        return
    last = connection.execute(
        "SELECT no FROM loss WHERE reported = 1 ORDER BY no DESC LIMIT 1 OFFSET ?", (keep,)
    ).fetchone()[0]
    folded = connection.execute(
        "SELECT lane, reason, min(no), min(first_seq), max(last_seq), sum(count), sum(bytes), max(wall)"
        " FROM loss WHERE reported = 1 AND no <= ? GROUP BY lane, reason",
        (last,),
    ).fetchall()
    connection.execute("DELETE FROM loss WHERE reported = 1 AND no <= ?", (last,))
    connection.executemany(
        "INSERT INTO loss (lane, reason, no, first_seq, last_seq, count, bytes, wall, detail, closed, reported)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'earlier entries, folded', 1, 1)",
        folded,
    )


def record_audit(
    connection: Connection,
    *,
    wall: int,
    actor: str,
    action: str,
    lane: Lane | None,
    count: int,
    detail: str | None = None,
) -> None:
    """Note what a person (or a rare automatic decision) changed."""
    connection.execute(
        "INSERT INTO audit (wall, actor, action, lane, count, detail) VALUES (?, ?, ?, ?, ?, ?)",
        (wall, actor, action, lane.value if lane else None, count, detail),
    )
