from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mra.machines.cron import parse
from mra.machines.schedule import LONGEST_WAIT_SECONDS, Schedule

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)


class Clocks:
    """A wall clock and a monotonic one that start together."""

    def __init__(self, schedule, wall=NOON):
        self.schedule, self.wall, self.monotonic = schedule, wall, 1000.0

    def after(self, seconds):
        """Let time pass; whether the schedule is on then."""
        self.wall += timedelta(seconds=seconds)
        self.monotonic += seconds
        return self.schedule.advance(self.wall, self.monotonic)

    def set(self, wall):
        """Set the wall clock; whether the schedule is on then."""
        self.wall = wall
        return self.schedule.advance(self.wall, self.monotonic)


def test_it_is_on_from_the_minute_for_its_duration():
    clocks = Clocks(Schedule([parse("5 * * * *")], 600))
    assert [clocks.after(seconds) for seconds in (0, 299, 1, 599, 1)] == [False, False, True, True, False]


def test_it_knows_when_to_be_asked_again():
    schedule = Schedule([parse("1 12 * * *")], 30)
    clocks = Clocks(schedule)
    clocks.after(20)
    assert schedule.wait_seconds() == 40
    clocks.after(40)
    assert schedule.wait_seconds() == 30
    clocks.after(30)
    assert schedule.wait_seconds() == LONGEST_WAIT_SECONDS


def test_periods_that_overlap_are_one():
    clocks = Clocks(Schedule([parse("1 * * * *"), parse("2 * * * *")], 90))
    assert [clocks.after(seconds) for seconds in (0, 60, 60, 30, 59, 1)] == [False, True, True, True, True, False]


def test_a_splay_delays_the_beginning_and_not_the_end():
    clocks = Clocks(Schedule([parse("1 * * * *")], 60, lambda: 20.0))
    assert [clocks.after(seconds) for seconds in (0, 60, 19, 1, 39, 1)] == [False, False, False, True, True, False]


def test_what_was_missed_before_the_start_is_not_made_up_for():
    assert Clocks(Schedule([parse("0 12 * * *")], 3600)).after(1) is False


def test_a_late_look_still_finds_the_period_it_is_in():
    clocks = Clocks(Schedule([parse("1 * * * *")], 600))
    clocks.after(0)
    assert clocks.after(100) is True


def test_a_clock_that_jumps_ahead_skips_what_lies_between_and_ends_nothing_early():
    clocks = Clocks(Schedule([parse("1 * * * *")], 600))
    clocks.after(0)
    assert clocks.after(60) is True
    assert clocks.set(NOON.replace(year=2076, minute=30)) is True  # ten minutes are not over
    assert clocks.after(600) is False
    assert clocks.after(21 * 60) is True


def test_a_clock_that_jumps_back_fires_at_the_times_that_come_then():
    clocks = Clocks(Schedule([parse("1 * * * *")], 60), NOON.replace(year=2076))
    clocks.after(0)
    clocks.set(NOON)
    assert clocks.after(60) is True


def test_small_corrections_of_the_clock_change_nothing():
    clocks = Clocks(Schedule([parse("1 * * * *")], 60))
    clocks.after(0)
    clocks.set(NOON + timedelta(seconds=1.5))
    assert clocks.after(58.5) is True


@given(
    st.lists(st.sampled_from(["*/3 * * * *", "5 * * * *", "*/7 12-13 * * *"]), min_size=1, max_size=3),
    st.integers(1, 400),
    st.lists(st.integers(1, 50), max_size=60),
)
def test_without_steps_it_is_on_exactly_within_its_periods(texts, duration, pauses):
    crons = [parse(text) for text in texts]
    clocks = Clocks(Schedule(crons, duration))
    clocks.after(0)
    for pause in pauses:
        is_on = clocks.after(pause)
        nominal = (clocks.wall - timedelta(seconds=back) for back in range(duration))
        within = any(m.second == 0 and m > NOON and any(cron.matches(m) for cron in crons) for m in nominal)
        assert is_on is within
