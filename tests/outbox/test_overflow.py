"""What a full lane does: each policy gives way in its own manner, and never with rows that may be in flight."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import OutboxFull
from mra.outbox import inspection
from mra.outbox.policy import Overflow
from mra.outbox.record import Draft, Lane
from mra.outbox.store import Request
from tests.outbox.desk import Desk, policy, settings

if TYPE_CHECKING:
    from pathlib import Path

LANE = Lane.EVENTS
ROW = 200  # bytes that a row of these tests counts
BODY = ROW - 64 - 32 - len("some.subject")


def lane_of(rows: int, overflow: Overflow) -> dict[Lane, object]:
    """A lane that holds so many rows of these tests."""
    return {LANE: policy(overflow, rows * ROW)}


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d" % number + b" " * (BODY - len(str(number))) for number in range(first, last + 1)]


def numbers(bodies: list[bytes]) -> list[int]:
    return [int(body) for body in bodies]


def test_reject_tells_the_producer_and_keeps_everything(path: Path) -> None:
    with Desk.open(path, settings(lane_of(10, Overflow.REJECT))) as desk:
        desk.accept(LANE, *numbered(1, 10))
        outcome = desk.offer(Draft(LANE, "some.subject", b"x"))
        assert isinstance(outcome, OutboxFull)
        assert "lanes.events.max_bytes" in str(outcome)
        assert numbers(desk.waiting(LANE)) == list(range(1, 11))
        desk.deliver(LANE, 1)
        desk.accept(LANE, *numbered(11, 11))


def test_drop_oldest_lets_the_oldest_rows_go_and_counts_them(path: Path) -> None:
    with Desk.open(path, settings(lane_of(10, Overflow.DROP_OLDEST))) as desk:
        for number in range(1, 26):
            desk.accept(LANE, *numbered(number, number))
        left = numbers(desk.waiting(LANE))
        assert left == list(range(26 - len(left), 26))
        assert len(left) in (9, 10)  # a little more than needed goes, so that not every row costs a search
        gone = 25 - len(left)
        assert desk.losses() == [("events", "bytes", gone)]
        [loss] = inspection.losses(desk.connection)
        assert (loss["first_seq"], loss["last_seq"], loss["bytes"]) == (1, gone, gone * ROW)
        assert desk.problems() == []


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.THIN, Overflow.NEWEST_PER_KEY])
def test_no_policy_touches_rows_that_may_be_in_flight(path: Path, overflow: Overflow) -> None:
    with Desk.open(path, settings(lane_of(10, overflow))) as desk:
        for number in range(1, 9):
            desk.accept(LANE, *numbered(number, number), key="same" if number > 4 else f"k{number}")
        before = numbers(desk.waiting(LANE))
        claimed = before[4:][0]
        desk.claim(LANE, claimed)
        for number in range(9, 60):
            desk.accept(LANE, *numbered(number, number), key="same")
        assert numbers(desk.waiting(LANE))[:5] == before[:5]
        assert desk.problems() == []


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.THIN, Overflow.NEWEST_PER_KEY])
def test_a_lane_full_of_rows_in_flight_refuses(path: Path, overflow: Overflow) -> None:
    with Desk.open(path, settings(lane_of(10, overflow))) as desk:
        desk.accept(LANE, *numbered(1, 10))
        desk.claim(LANE, 10)
        assert isinstance(desk.offer(Draft(LANE, "some.subject", b"x")), OutboxFull)
        assert numbers(desk.waiting(LANE)) == list(range(1, 11))


def test_newest_per_key_replaces_what_waits_and_is_no_loss_to_report(path: Path) -> None:
    with Desk.open(path, settings(lane_of(100, Overflow.NEWEST_PER_KEY))) as desk:
        desk.accept(LANE, b"a1", key="a")
        desk.accept(LANE, b"b1", key="b")
        desk.accept(LANE, b"a2", key="a")
        assert desk.waiting(LANE) == [b"b1", b"a2"]
        [loss] = inspection.losses(desk.connection)
        assert (loss["reason"], loss["count"], loss["reported"]) == ("superseded", 1, 1)


def test_newest_per_key_holds_within_one_group_and_one_request(path: Path) -> None:
    with Desk.open(path, settings(lane_of(100, Overflow.NEWEST_PER_KEY))) as desk:
        first = Draft(LANE, "a.b", b"1", key="a")
        desk.offer_group(
            Request([first, first._replace(body=b"2")]),
            Request([first._replace(body=b"3"), Draft(LANE, "a.b", b"b", key="b")]),
            Request([first._replace(body=b"4")]),
        )
        assert desk.waiting(LANE) == [b"b", b"4"]
        assert desk.problems() == []


def test_rows_without_a_key_are_never_superseded(path: Path) -> None:
    with Desk.open(path, settings(lane_of(100, Overflow.NEWEST_PER_KEY))) as desk:
        desk.accept(LANE, b"1", b"2")
        assert desk.waiting(LANE) == [b"1", b"2"]


def test_a_newer_row_of_a_key_costs_no_other_key_its_row(path: Path) -> None:
    """A full lane of one row a node stays complete: the new report takes the place of the old one of its node."""
    with Desk.open(path, settings(lane_of(10, Overflow.NEWEST_PER_KEY))) as desk:
        for number in range(1, 10):
            desk.accept(LANE, *numbered(number, number), key=f"k{number}")
        for round_ in range(2, 6):
            for number in range(1, 10):
                desk.accept(LANE, *numbered(100 * round_ + number, 100 * round_ + number), key=f"k{number}")
        assert sorted(numbers(desk.waiting(LANE))) == [500 + number for number in range(1, 10)]
        assert {reason for _, reason, _ in desk.losses()} == {"superseded"}


def test_a_refused_newer_row_leaves_the_older_one(path: Path) -> None:
    with Desk.open(path, settings(lane_of(10, Overflow.NEWEST_PER_KEY))) as desk:
        desk.accept(LANE, *numbered(1, 8), key="in flight")
        [claimed] = desk.kept(LANE)
        desk.claim(LANE, claimed)
        for number in range(11, 19):
            desk.accept(LANE, *numbered(number, number), key=f"k{number}")
        large = Draft(LANE, "some.subject", b"x" * (BODY + 8 * ROW + 1), key="k11")
        before = desk.waiting(LANE)
        outcome = desk.offer(large)
        if isinstance(outcome, OutboxFull):
            assert desk.waiting(LANE) == before
        assert desk.problems() == []


def test_thin_halves_the_older_half_so_that_a_trend_stays_visible(path: Path) -> None:
    with Desk.open(path, settings(lane_of(100, Overflow.THIN))) as desk:
        for number in range(1, 1001):
            desk.accept(LANE, *numbered(number, number))
        left = numbers(desk.waiting(LANE))
        assert 70 <= len(left) <= 100
        assert left[0] == 1
        assert left[-25:] == list(range(976, 1001))
        gaps = [later - earlier for earlier, later in pairwise(left)]
        assert sum(gaps[:10]) > sum(gaps[20:30]) > sum(gaps[-10:])
        assert {reason for _, reason, _ in desk.losses()} == {"thinned"}
        assert desk.problems() == []


@given(
    overflow=st.sampled_from(Overflow),
    appends=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 400), st.sampled_from([None, "a", "b"])), max_size=40),
    claim_after=st.integers(0, 40),
)
def test_a_lane_stays_in_its_bound_and_adds_up_whatever_is_appended(
    tmp_path_factory: pytest.TempPathFactory,
    overflow: Overflow,
    appends: list[tuple[int, int, str | None]],
    claim_after: int,
) -> None:
    path = tmp_path_factory.mktemp("overflow") / "outbox.db"
    with Desk.open(path, settings({LANE: policy(overflow, 3000)})) as desk:
        claimed: list[bytes] = []
        for index, (count, size, key) in enumerate(appends):
            desk.offer(*(Draft(LANE, "a.b", b"x" * size, key=key) for _ in range(count)))
            if index == claim_after and (kept := desk.kept(LANE)):
                desk.claim(LANE, kept[len(kept) // 2])
                claimed = desk.waiting(LANE)[: len(kept) // 2 + 1]
            assert desk.state(LANE).waiting_bytes <= 3000
        assert desk.waiting(LANE)[: len(claimed)] == claimed
        assert desk.problems() == []
