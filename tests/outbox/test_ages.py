"""Ages come from the host's uptime: rows expire when they should, and no step of any clock makes one look old."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mra.clock import NANOSECONDS, Stamp
from mra.outbox import inspection, upkeep
from mra.outbox.policy import SHORTEST_REPLAY, Overflow
from mra.outbox.record import Draft, Lane
from tests.outbox.desk import YEAR, Desk, policy, settings

if TYPE_CHECKING:
    from pathlib import Path

HOUR = 3600.0
AGED = settings({Lane.METRICS: policy(Overflow.THIN, max_age=24 * HOUR)})


def test_rows_older_than_their_lane_allows_go_and_are_counted(path: Path) -> None:
    with Desk.open(path, AGED) as desk:
        desk.accept(Lane.METRICS, b"old", b"old too")
        desk.sleep(23 * HOUR)
        desk.accept(Lane.METRICS, b"young")
        assert desk.shed_aged() == 0
        desk.sleep(2 * HOUR)
        assert desk.shed_aged() == 2
        assert desk.waiting(Lane.METRICS) == [b"young"]
        assert desk.losses() == [("metrics", "age", 2)]
        assert desk.problems() == []


def test_a_time_to_live_is_over_for_its_row_alone(desk: Desk) -> None:
    desk.accept(Lane.SUBMISSIONS, b"for ever")
    desk.accept(Lane.SUBMISSIONS, b"an hour", ttl=HOUR)
    desk.accept(Lane.SUBMISSIONS, b"a day", ttl=24 * HOUR)
    desk.sleep(2 * HOUR)
    assert desk.shed_aged() == 1
    assert desk.waiting(Lane.SUBMISSIONS) == [b"for ever", b"a day"]
    assert desk.losses() == [("submissions", "ttl", 1)]


def test_rows_in_flight_do_not_expire(desk: Desk) -> None:
    desk.accept(Lane.SUBMISSIONS, b"sent", b"not yet", ttl=HOUR)
    desk.claim(Lane.SUBMISSIONS, 1)
    desk.sleep(2 * HOUR)
    assert desk.shed_aged() == 1
    assert desk.waiting(Lane.SUBMISSIONS) == [b"sent"]


def test_thousands_expire_slice_by_slice(desk: Desk) -> None:
    rows = 2 * upkeep.SLICE + 10
    desk.accept(Lane.EVENTS, *(b"x" for _ in range(rows)), ttl=1)
    desk.sleep(2)
    assert upkeep.shed_aged(desk.connection, desk.settings, desk.stamp) == upkeep.SLICE
    assert desk.shed_aged() == rows - upkeep.SLICE


@pytest.mark.parametrize("years", [50, -50, 200, -100])
def test_a_step_of_the_wall_clock_expires_nothing_and_keeps_nothing_for_ever(path: Path, years: int) -> None:
    with Desk.open(path, AGED) as desk:
        desk.accept(Lane.METRICS, b"before", ttl=48 * HOUR)
        desk.deliver(Lane.METRICS, 0)
        desk.step_wall(years * YEAR)
        desk.accept(Lane.METRICS, b"after")
        desk.sleep(60)
        assert desk.shed_aged() == 0
        ages = {report["lane"]: report["oldest_age"] for report in inspection.lane_reports(desk.connection, desk.stamp)}
        assert ages["metrics"] == 60
        desk.step_wall(-years * YEAR)
        desk.sleep(25 * HOUR)
        assert desk.shed_aged() == 2
        assert desk.problems() == []


def test_time_that_the_host_was_off_ages_nothing(path: Path) -> None:
    with Desk.open(path, AGED) as desk:
        desk.accept(Lane.METRICS, b"row", ttl=30 * HOUR)
        desk.sleep(20 * HOUR)
        desk.shed_aged()
        desk.reboot(off=YEAR)
        assert desk.shed_aged() == 0
        desk.sleep(3 * HOUR)
        assert desk.shed_aged() == 0
        desk.sleep(2 * HOUR)
        assert desk.shed_aged() == 1
        assert desk.losses() == [("metrics", "age", 1)]


def test_uptime_adds_up_over_many_boots(desk: Desk) -> None:
    desk.accept(Lane.EVENTS, b"row", ttl=10 * HOUR)
    for _ in range(9):
        desk.sleep(HOUR)
        assert desk.shed_aged() == 0
        desk.reboot()
        desk.shed_aged()
    desk.sleep(2 * HOUR)
    assert desk.shed_aged() == 1


def test_uptime_before_the_outbox_first_saw_a_boot_ages_nothing(desk: Desk) -> None:
    """A database that is moved to a host which has been up for years does not find its rows to be years old."""
    desk.accept(Lane.EVENTS, b"row", ttl=10 * HOUR)
    desk.reboot()
    desk.sleep(3 * YEAR)
    assert desk.shed_aged() == 0


def test_a_boot_clock_that_runs_backwards_ages_nothing(desk: Desk) -> None:
    """Hosts without a boot id share one name for all boots; their clock starts again under it."""
    desk.accept(Lane.EVENTS, b"row", ttl=HOUR)
    desk.sleep(HOUR / 2)
    desk.shed_aged()
    desk.stamp = desk.stamp._replace(mono=5 * NANOSECONDS)
    assert desk.shed_aged() == 0
    desk.sleep(HOUR / 2)
    assert desk.shed_aged() == 0


def test_a_look_after_a_reboot_shows_the_age_that_was_seen_last(desk: Desk) -> None:
    desk.accept(Lane.EVENTS, b"row")
    desk.sleep(HOUR)
    desk.shed_aged()
    desk.reboot()
    [report] = [r for r in inspection.lane_reports(desk.connection, desk.stamp) if r["lane"] == "events"]
    assert report["oldest_age"] == HOUR


@pytest.mark.parametrize("wall", [-(1 << 62), 0, (1 << 63) - 1])
def test_any_wall_clock_can_be_stored_and_shown(path: Path, wall: int) -> None:
    with Desk.open(path, stamp=Stamp(wall, 0, "boot-1")) as desk:
        desk.accept(Lane.EVENTS, b"row")
        desk.deliver(Lane.EVENTS)
        assert desk.connection.execute("SELECT count(*) FROM v_backlog").fetchone() == (0,)
        assert desk.connection.execute("SELECT lane FROM v_checkpoints").fetchall() == [("events",)]
        assert desk.problems() == []


# -- the replay window -----------------------------------------------------------------------------------------------


def delivered(desk: Desk, lane: Lane, *bodies: bytes) -> None:
    desk.accept(lane, *bodies)
    desk.deliver(lane)


def test_delivered_rows_stay_for_the_replay_window_and_go_after_it(desk: Desk) -> None:
    delivered(desk, Lane.EVENTS, b"first")
    desk.sleep(20 * HOUR)
    delivered(desk, Lane.EVENTS, b"second")
    desk.prune()
    assert desk.kept(Lane.EVENTS) == [1, 2]
    desk.sleep(5 * HOUR)
    desk.prune()
    assert desk.kept(Lane.EVENTS) == [2]
    assert desk.state(Lane.EVENTS).delivered == 2


@pytest.mark.parametrize("years", [50, -50])
def test_a_step_of_the_wall_clock_does_not_close_the_replay_window(desk: Desk, years: int) -> None:
    delivered(desk, Lane.EVENTS, b"row")
    desk.step_wall(years * YEAR)
    desk.sleep(HOUR)
    assert desk.prune() == 0
    assert desk.kept(Lane.EVENTS) == [1]


def test_the_window_is_bounded_by_bytes_over_all_lanes_oldest_first(path: Path) -> None:
    with Desk.open(path, settings(replay_bytes=3000)) as desk:
        for lane in (Lane.METRICS, Lane.SUBMISSIONS, Lane.EVENTS, Lane.METRICS):
            delivered(desk, lane, b"x" * 900)
            desk.sleep(60)
        desk.sleep(SHORTEST_REPLAY + 60)
        desk.prune()
        assert {lane: desk.kept(lane) for lane in Lane} == {
            Lane.SUBMISSIONS: [],
            Lane.EVENTS: [1],
            Lane.NODES: [],
            Lane.METRICS: [2],
        }


def test_ten_minutes_are_kept_whatever_the_bytes(path: Path) -> None:
    with Desk.open(path, settings(replay_bytes=0)) as desk:
        for _ in range(5):
            delivered(desk, Lane.EVENTS, b"x" * 900)
            desk.sleep(120)
        desk.prune()
        assert desk.kept(Lane.EVENTS) == [1, 2, 3, 4, 5]
        desk.sleep(60)
        desk.prune()
        assert desk.kept(Lane.EVENTS) == [2, 3, 4, 5]


def test_a_trickle_shares_stretches_and_keeps_its_ten_minutes(path: Path) -> None:
    """A settlement a second does not cost a row a second, and no row goes early for it."""
    with Desk.open(path, settings(replay_bytes=0)) as desk:
        for _ in range(300):
            delivered(desk, Lane.EVENTS, b"x")
            desk.sleep(1)
        assert desk.connection.execute("SELECT count(*), sum(count) FROM checkpoint").fetchone() == (30, 300)
        desk.sleep(SHORTEST_REPLAY - 300 - 0.5)
        desk.prune()
        assert len(desk.kept(Lane.EVENTS)) == 300
        desk.sleep(100)
        desk.prune()
        youngest_that_went = 300 - len(desk.kept(Lane.EVENTS))
        assert 80 <= youngest_that_went <= 100


def test_large_batches_keep_rows_of_their_own(desk: Desk) -> None:
    for _ in range(3):
        delivered(desk, Lane.EVENTS, *(b"x" * 1000 for _ in range(300)))
    assert desk.connection.execute("SELECT count(*) FROM checkpoint").fetchone() == (3,)


def test_rows_that_wait_are_never_pruned(desk: Desk) -> None:
    delivered(desk, Lane.EVENTS, b"gone")
    desk.accept(Lane.EVENTS, b"waits")
    desk.sleep(YEAR)
    desk.prune()
    assert desk.waiting(Lane.EVENTS) == [b"waits"]
    assert desk.kept(Lane.EVENTS) == [2]


def test_an_expired_row_that_was_delivered_is_not_counted_as_lost(desk: Desk) -> None:
    desk.offer(Draft(Lane.EVENTS, "a.b", b"x", ttl=60))
    desk.deliver(Lane.EVENTS)
    desk.sleep(HOUR)
    assert desk.shed_aged() == 0
    assert desk.losses() == []
