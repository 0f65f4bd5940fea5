"""What people change by hand: only what they may, whole or not at all, and never without a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mra.errors import BadInput
from mra.outbox import drain, inspection, ledger, operator, parking
from mra.outbox.record import Lane
from mra.outbox.transaction import transaction
from tests.outbox.desk import Desk, settings

if TYPE_CHECKING:
    from pathlib import Path

LANE = Lane.EVENTS


def audit(desk: Desk) -> list[tuple[str, str, str, int]]:
    return desk.connection.execute("SELECT actor, action, lane, count FROM audit ORDER BY no").fetchall()


def parked(desk: Desk) -> list[int]:
    return [row["no"] for row in inspection.parked(desk.connection)]


def test_dropping_rows_that_wait_leaves_a_loss_and_an_audit_row(desk: Desk) -> None:
    desk.accept(LANE, b"1", b"2", b"3")
    assert operator.drop_waiting(desk.connection, LANE, [3, 1, 3], actor="olivia") == 2
    assert desk.waiting(LANE) == [b"2"]
    assert desk.losses() == [("events", "dropped", 2)]
    assert audit(desk) == [("olivia", "drop", "events", 2)]


@pytest.mark.parametrize(
    ("seq", "why"), [(1, "does not wait"), (2, "may be on its way"), (9, "does not wait"), (1 << 62, "does not wait")]
)
def test_rows_in_flight_delivered_or_unknown_are_not_dropped_nor_any_beside_them(
    desk: Desk, seq: int, why: str
) -> None:
    desk.accept(LANE, b"1", b"2", b"3")
    desk.deliver(LANE, 1)
    desk.claim(LANE, 2)
    with pytest.raises(BadInput, match=why):
        operator.drop_waiting(desk.connection, LANE, [3, seq], actor="olivia")
    assert desk.waiting(LANE) == [b"2", b"3"]
    assert audit(desk) == []


@pytest.mark.parametrize("act", [operator.requeue, operator.drop_parked])
def test_an_unknown_number_changes_nothing(desk: Desk, act: object) -> None:
    desk.accept(LANE, b"1")
    parking.park(desk.connection, LANE, [1], "refused")
    with pytest.raises(BadInput, match="no parked row 99"):
        act(desk.connection, [*parked(desk), 99], actor="olivia")  # type: ignore[operator]
    assert len(parked(desk)) == 1
    assert audit(desk) == []


@pytest.mark.parametrize("act", [operator.requeue, operator.drop_parked])
def test_a_number_given_twice_is_meant_once(desk: Desk, act: object) -> None:
    desk.accept(LANE, b"1")
    parking.park(desk.connection, LANE, [1], "refused")
    assert act(desk.connection, parked(desk) * 2, actor="olivia") == 1  # type: ignore[operator]


def test_a_lane_is_adopted_only_when_it_is_held(desk: Desk) -> None:
    epoch = desk.state(LANE).epoch
    assert not operator.adopt(desk.connection, LANE, actor="olivia")
    drain.hold(desk.connection, LANE, "fenced")
    assert operator.adopt(desk.connection, LANE, actor="olivia")
    state = desk.state(LANE)
    assert (state.held, state.epoch_total) == (None, 0)
    assert state.epoch != epoch
    assert audit(desk) == [("olivia", "adopt", "events", 0)]


def test_vacuum_gives_free_pages_back_while_another_process_looks_on(path: Path) -> None:
    with Desk.open(path) as desk:
        for _ in range(5):
            desk.accept(LANE, *(bytes(4000) for _ in range(500)))
        desk.deliver(LANE)
        desk.sleep(90_000)
        desk.prune()
        size = path.stat().st_size
        before, after = operator.vacuum(desk.connection)
        assert after < before / 10
        assert path.stat().st_size < size / 10
        assert operator.vacuum(desk.connection) == (after, after)


# -- the ledger of losses --------------------------------------------------------------------------------------------


def lose(desk: Desk, lane: Lane = LANE) -> None:
    [receipt] = desk.accept(lane, b"x")
    operator.drop_waiting(desk.connection, lane, [receipt.seq], actor="test")


def test_neighbouring_losses_of_one_reason_share_an_entry(desk: Desk) -> None:
    lose(desk)
    lose(desk)
    lose(desk, Lane.METRICS)
    lose(desk)
    assert desk.losses() == [("events", "dropped", 3), ("metrics", "dropped", 1)]


def test_a_loss_that_is_being_reported_takes_up_no_later_one(desk: Desk) -> None:
    """Between the report's text and its commit more rows may go: they are told about in the next report."""
    lose(desk)
    [first] = ledger.close_unreported(desk.connection)
    lose(desk)
    with transaction(desk.connection):
        ledger.mark_reported(desk.connection, [first.no])
    [second] = ledger.close_unreported(desk.connection)
    assert (first.rows, second.rows) == (1, 1)
    assert first.no != second.no


def test_a_closed_loss_is_reported_in_the_next_round_when_the_first_report_failed(desk: Desk) -> None:
    lose(desk)
    assert ledger.close_unreported(desk.connection) == ledger.close_unreported(desk.connection)


def test_old_entries_fold_and_the_sum_stays(desk: Desk) -> None:
    for index in range(60):
        lose(desk, Lane.EVENTS if index % 2 else Lane.METRICS)
        losses = ledger.close_unreported(desk.connection)
        with transaction(desk.connection):
            ledger.mark_reported(desk.connection, [loss.no for loss in losses])
    with transaction(desk.connection):
        ledger.fold(desk.connection, keep=10, slack=10)
    assert len(desk.losses()) == 12
    assert sum(count for *_, count in desk.losses()) == 60
    assert desk.problems() == []


def test_entries_that_were_not_reported_do_not_fold(desk: Desk) -> None:
    for index in range(30):
        lose(desk, Lane.EVENTS if index % 2 else Lane.METRICS)
        ledger.close_unreported(desk.connection)
    with transaction(desk.connection):
        ledger.fold(desk.connection, keep=0, slack=0)
    assert len(desk.losses()) == 30


# -- looking ---------------------------------------------------------------------------------------------------------


def test_verify_names_the_lane_that_does_not_add_up(path: Path) -> None:
    with Desk.open(path) as desk:
        desk.accept(LANE, b"1", b"2", b"3")
        desk.connection.execute("DELETE FROM row_events WHERE seq = 2")
        problems = desk.problems()
        assert all(problem.startswith("events: ") for problem in problems)
        assert any("waiting rows: 2 counted, 3 on the books" in problem for problem in problems)


def test_a_long_look_does_not_hold_up_the_log(path: Path) -> None:
    """An export into a pager may stand still for hours; meanwhile the log is still cut back."""
    with Desk.open(path) as desk, Desk.open(path) as other:
        other.accept(LANE, *(bytes(2000) for _ in range(2000)))
        rows = inspection.export(desk.connection, LANE, everything=False)
        next(rows)
        other.accept(LANE, b"later")
        busy, in_log, moved = other.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert (busy, in_log, moved) == (0, 0, 0)
        assert sum(1 for _ in rows) == 1999


def test_an_export_goes_as_far_as_what_was_there_at_its_start(desk: Desk) -> None:
    desk.accept(LANE, *(b"%d" % n for n in range(1200)))
    desk.deliver(LANE, 100)
    rows = inspection.export(desk.connection, LANE, everything=False)
    first = next(rows)
    desk.accept(LANE, b"later")
    assert first["body"] == b"100"
    assert [row["body"] for row in rows] == [b"%d" % n for n in range(101, 1200)]
    assert sum(1 for _ in inspection.export(desk.connection, LANE, everything=True)) == 1201


def test_the_tail_shows_the_newest_rows_and_then_what_follows(path: Path) -> None:
    with Desk.open(path, settings()) as desk:
        desk.accept(LANE, *(b"%d" % n for n in range(10)))
        newest = inspection.newest(desk.connection, LANE, after=0, limit=3)
        assert [row["seq"] for row in newest] == [8, 9, 10]
        desk.accept(LANE, b"x")
        assert [row["seq"] for row in inspection.newest(desk.connection, LANE, after=10, limit=5)] == [11]
