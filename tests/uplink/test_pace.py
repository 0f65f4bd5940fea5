"""How much to send at once, on links of every kind; the links are formulas."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.outbox.record import Lane
from mra.uplink.pace import FLOOR, MAX_BYTES, MAX_ROWS, TOTAL_SECONDS, Pace, Patience, Shares

SLICE = 0.25


def play(
    pace: Pace, *, rate: float, fixed: float, batches: int = 100, noise: float = 0.2, slice_: float = SLICE
) -> float:
    """Send full batches over a link of `rate` bytes a second where each takes `fixed` seconds more.

    Returns the mean size of the last half of them.
    """
    source = random.Random(7)
    sizes = []
    for _ in range(batches):
        sizes.append(pace.bytes)
        pace.observe(pace.bytes, (fixed + pace.bytes / rate) * source.uniform(1.0, 1.2), slice_)
    late = sizes[batches // 2 :]
    return sum(late) / len(late)


def ideal(rate: float, slice_: float = SLICE) -> float:
    return min(MAX_BYTES, max(FLOOR, rate * slice_))


@pytest.mark.parametrize("rate", [8e3, 1e5, 1e6, 1e7, 1e8])
@pytest.mark.parametrize("fixed", [0.001, 0.03, 0.6])
def test_a_batch_keeps_the_link_busy_for_about_its_slice(rate: float, fixed: float) -> None:
    """Whatever the link: modem, satellite, slow disk, loopback. A long way does not lead to tiny batches."""
    size = play(Pace(), rate=rate, fixed=fixed)
    assert ideal(rate) / 4 <= size <= ideal(rate) * 2


def test_a_way_of_four_seconds_does_not_lead_to_tiny_batches() -> None:
    assert play(Pace(), rate=1e6, fixed=4.0) > 1e6 * SLICE / 4


def test_a_light_lane_among_heavy_ones_is_not_starved_by_a_slow_disk() -> None:
    """Its slice is shorter than two syncs of the SaaS's disk take."""
    assert play(Pace(), rate=1e8, fixed=0.03, slice_=0.033) > 100 * FLOOR


def test_a_link_may_change_under_a_running_agent() -> None:
    pace = Pace()
    for rate, fixed in [(5e7, 0.005), (8e3, 0.05), (1e6, 0.6), (5e7, 0.005)]:
        size = play(pace, rate=rate, fixed=fixed, batches=80)
        assert ideal(rate) / 5 <= size <= ideal(rate) * 3, (rate, fixed)


def test_the_first_batch_of_all_gets_through_a_thin_link_before_patience_ends() -> None:
    assert Pace().bytes / 8e3 < 10


def test_a_batch_that_was_never_answered_is_followed_by_a_smaller_one() -> None:
    pace = Pace()
    for _ in range(12):
        pace.observe(pace.bytes, 0.001, SLICE)
    before = pace.bytes
    pace.lost()
    assert pace.bytes == before // 4
    for _ in range(20):
        pace.lost()
    assert pace.bytes == FLOOR


def test_small_batches_of_a_trickle_do_not_inflate_the_size() -> None:
    pace = Pace()
    first = pace.bytes
    for _ in range(100):
        pace.observe(300, 0.002, SLICE)
    assert pace.bytes == first


def test_a_search_by_halves_ends_at_one_row_and_recovers() -> None:
    pace = Pace()
    size = MAX_ROWS
    while size > 1:
        pace.split(size)
        size = pace.rows
    for _ in range(12):
        pace.observe(10, 0.01, SLICE)
    assert pace.rows == MAX_ROWS


def test_a_limit_of_the_saas_is_remembered() -> None:
    pace = Pace()
    pace.limit(999)
    for _ in range(12):
        pace.observe(10, 0.01, SLICE)
    assert pace.rows == 499


@given(st.lists(st.tuples(st.integers(1, 2**23), st.floats(0, 100)), max_size=60), st.floats(0.01, 0.5))
def test_whatever_is_observed_a_batch_stays_within_bounds(seen: list[tuple[int, float]], slice_: float) -> None:
    pace = Pace()
    for size, seconds in seen:
        pace.observe(size, seconds, slice_)
        assert FLOOR <= pace.bytes <= MAX_BYTES
        assert 1 <= pace.rows <= MAX_ROWS


@given(st.sets(st.sampled_from(list(Lane)), min_size=1))
def test_busy_lanes_share_one_slice_of_the_link(busy: set[Lane]) -> None:
    shares = Shares({lane: weight for weight, lane in enumerate(Lane, 1)})
    for lane in busy:
        shares.enter(lane)
    assert sum(shares.slice(lane) for lane in busy) == pytest.approx(TOTAL_SECONDS)
    for lane in list(busy)[1:]:
        shares.leave(lane)
    assert shares.slice(next(iter(busy))) == pytest.approx(TOTAL_SECONDS)


def test_patience_grows_with_silence_has_an_end_and_is_forgotten_with_an_answer() -> None:
    patience = Patience(10)
    for _ in range(3):
        patience.lost()
    assert patience.seconds == 80
    for _ in range(10):
        patience.lost()
    assert patience.seconds == 160
    patience.answered()
    assert patience.seconds == 10
