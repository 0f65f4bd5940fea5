"""Rows that left in a sealed file: kept while an answer may come, and not for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mra.clock import NANOSECONDS
from mra.errors import BadInput, Refused
from mra.outbox import exports, operator
from mra.outbox.policy import Overflow
from mra.outbox.record import Lane
from tests.outbox.desk import Desk, policy, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86400.0
BOUNDS = settings({Lane.METRICS: policy(Overflow.DROP_OLDEST, max_age=DAY)}, export_hold=7 * DAY)
METRICS = Lane.METRICS


@pytest.fixture
def desk(path: Path) -> Iterator[Desk]:
    with Desk.open(path, BOUNDS) as desk:
        yield desk
        assert desk.problems() == []


def export(desk: Desk, file: str, *lanes: Lane) -> list[exports.Extent]:
    hold = desk.settings.export_hold
    return exports.begin(desk.connection, file, lanes or (METRICS,), hold=hold, stamp=desk.stamp, actor="test")


def test_an_export_takes_what_waits_and_leaves_out_lanes_without_rows(desk: Desk) -> None:
    desk.accept(METRICS, b"1", b"2", b"3")
    desk.deliver(METRICS, 1)
    (extent,) = export(desk, "f1", *Lane)
    assert (extent.lane, extent.after, extent.through_seq, extent.total_before, extent.rows) == (METRICS, 1, 3, 1, 2)


def test_exported_rows_outlive_their_age_while_an_answer_may_come(desk: Desk) -> None:
    desk.accept(METRICS, b"in the file")
    export(desk, "f1")
    desk.accept(METRICS, b"not in it")
    desk.sleep(3 * DAY)
    assert desk.shed_aged() == 1
    assert desk.waiting(METRICS) == [b"in the file"]


def test_a_file_that_is_never_answered_does_not_keep_its_rows_for_ever(desk: Desk) -> None:
    desk.accept(METRICS, b"in the file")
    export(desk, "f1")
    desk.sleep(8 * DAY)
    assert desk.shed_aged() == 1
    assert desk.losses() == [(METRICS, "age", 1)]


def test_exporting_again_and_again_does_not_extend_the_hold(desk: Desk) -> None:
    desk.accept(METRICS, b"old")
    for day in range(9):
        export(desk, f"f{day}")
        desk.sleep(DAY)
    desk.shed_aged()
    assert desk.waiting(METRICS) == []


def test_an_answer_to_the_oldest_file_renews_the_hold_of_the_others(desk: Desk) -> None:
    desk.accept(METRICS, b"first")
    export(desk, "f1")
    desk.sleep(6 * DAY)
    desk.accept(METRICS, b"second")
    export(desk, "f2")
    desk.sleep(2 * DAY)
    desk.shed_aged()
    assert desk.waiting(METRICS) == []  # overdue
    desk.accept(METRICS, b"third")
    export(desk, "f3")
    desk.deliver(METRICS, 1)
    desk.sleep(3 * DAY)
    desk.shed_aged()
    assert desk.waiting(METRICS) == [b"third"]


def test_rows_in_a_file_do_not_give_way_to_new_ones(path: Path) -> None:
    bounds = settings({METRICS: policy(Overflow.DROP_OLDEST, max_bytes=8_000)})
    with Desk.open(path, bounds) as desk:
        desk.accept(METRICS, *[b"x" * 900] * 3)
        export(desk, "f1")
        for _ in range(20):
            desk.accept(METRICS, b"y" * 900)
        assert desk.kept(METRICS)[:3] == [1, 2, 3]
        assert desk.losses()[0][1] == "bytes"


def test_a_row_in_a_file_is_not_dropped_by_hand(desk: Desk) -> None:
    desk.accept(METRICS, b"1")
    export(desk, "f1")
    with pytest.raises(BadInput, match="on its way"):
        operator.drop_waiting(desk.connection, METRICS, [1], actor="test")


def test_a_file_that_was_never_finished_keeps_nothing(desk: Desk) -> None:
    desk.accept(METRICS, b"1")
    export(desk, "f1")
    desk.accept(METRICS, b"2")
    export(desk, "f2")
    exports.withdraw(desk.connection, "f2")
    assert desk.state(METRICS).exported_through == 1
    exports.withdraw(desk.connection, "f1")
    assert desk.state(METRICS).exported_through == 0


def test_a_settlement_answers_every_file_that_it_covers(desk: Desk) -> None:
    desk.accept(METRICS, b"1", b"2")
    export(desk, "f1")
    desk.accept(METRICS, b"3")
    export(desk, "f2")
    desk.deliver(METRICS, 2)
    assert exports.lanes_of(desk.connection, "f1") == []
    assert exports.lanes_of(desk.connection, "f2") == [METRICS]
    desk.deliver(METRICS, 3)
    assert desk.state(METRICS).exported_through == 0


def test_a_new_epoch_forgets_the_files_of_the_old_one(desk: Desk) -> None:
    desk.accept(METRICS, b"1")
    export(desk, "f1")
    desk.connection.execute("UPDATE lane SET held = 'fenced'")
    operator.adopt(desk.connection, METRICS, actor="test")
    assert exports.lanes_of(desk.connection, "f1") == []
    assert desk.state(METRICS).exported_through == 0


def test_a_file_is_recognised_by_its_last_row_alone(desk: Desk) -> None:
    desk.accept(METRICS, b"1", b"2")
    (extent,) = export(desk, "f1")
    none = {"epoch": extent.epoch, "last_seq": 0, "last_wall": 0}
    assert not exports.wrote(desk.connection, METRICS, **none)  # it is still being written
    exports.finish(desk.connection, "f1", METRICS, last_seq=2, last_wall=77)
    last = {"epoch": extent.epoch, "last_seq": 2, "last_wall": 77}
    assert exports.wrote(desk.connection, METRICS, **last)
    for other in ({"epoch": "x"}, {"last_seq": 1}, {"last_wall": 76}):
        assert not exports.wrote(desk.connection, METRICS, **(last | other))


def test_a_file_is_recognised_after_its_answer_too(desk: Desk) -> None:
    desk.accept(METRICS, b"1")
    (extent,) = export(desk, "f1")
    exports.finish(desk.connection, "f1", METRICS, last_seq=1, last_wall=77)
    desk.deliver(METRICS)
    assert exports.lanes_of(desk.connection, "f1") == []
    assert exports.wrote(desk.connection, METRICS, epoch=extent.epoch, last_seq=1, last_wall=77)


def test_answered_files_do_not_pile_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "_REMEMBERED", 3)
    for number in range(9):
        desk.accept(METRICS, b"1")
        export(desk, f"f{number}")
        desk.deliver(METRICS)
    assert desk.connection.execute("SELECT count(*) FROM export").fetchone()[0] == 4 + 1


def test_rows_published_one_by_one_may_not_go_into_a_file(desk: Desk) -> None:
    desk.accept(METRICS, b"1")
    desk.connection.execute("UPDATE lane SET singly_through = 1")
    with pytest.raises(Refused, match="one by one"):
        export(desk, "f1")


def test_the_view_shows_unanswered_files_and_whether_their_rows_are_kept(desk: Desk) -> None:
    desk.accept(METRICS, b"1")
    export(desk, "f1")
    look = "SELECT file, lane, first_seq, through_seq, kept FROM v_exports"
    assert desk.connection.execute(look).fetchall() == [("f1", METRICS, 1, 1, 1)]
    desk.stamp = desk.stamp._replace(mono=desk.stamp.mono + int(8 * DAY) * NANOSECONDS)
    desk.shed_aged()
    assert desk.connection.execute(look).fetchall() == [("f1", METRICS, 1, 1, 0)]
