"""Seats on a mock clock: when they are won, kept and lost, and that two leaders never meet whatever the links do."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from mra.governors.governors import Governors
from mra.governors.holding import EVICTED, NOT_RENEWED
from tests.governors.memory import Table, Way

LEASE = 60


@pytest.fixture
def table():
    return Table(LEASE)


@asynccontextmanager
async def agent(way):
    """The governors of one agent; left abruptly, it returns nothing."""
    governors = Governors(dice=random.Random(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(governors.serve_with, way)
        yield governors
        nursery.cancel_scope.cancel()


def ignore(_reason):
    pass


async def test_a_seat_is_kept_for_as_long_as_there_are_answers(table, autojump_clock):
    async with agent(Way(table)) as governors, governors.seat("PUMP", "a", ignore) as seat:
        with trio.move_on_after(100 * LEASE) as limit:
            await seat.wait_lost()
        assert limit.cancelled_caught
        assert table.holder() == "a"


@pytest.mark.parametrize("silent", ["mute", "deaf"])
async def test_a_seat_is_lost_a_fifth_of_the_lease_before_its_end_when_nothing_answers(table, autojump_clock, silent):
    way = Way(table)
    async with agent(way) as governors, governors.seat("PUMP", "a", ignore) as seat:
        await trio.sleep(LEASE / 3 + 1)
        renewed_at = LEASE / 3
        setattr(way, silent, True)
        assert await seat.wait_lost() == NOT_RENEWED
        assert trio.current_time() == pytest.approx(renewed_at + LEASE * 0.8)
        assert table.holder() == "a", "nobody else can have it yet"


async def test_a_seat_is_lost_in_time_though_the_session_is_gone(table, autojump_clock):
    async with AsyncExitStack() as stack:
        governors = await stack.enter_async_context(agent(Way(table)))
        async with governors.seat("PUMP", "a", ignore) as seat:
            await stack.aclose()
            assert await seat.wait_lost() == NOT_RENEWED
            assert trio.current_time() == pytest.approx(LEASE * 0.8)


async def test_the_bound_counts_from_the_question_though_the_answer_was_long_on_its_way(table, autojump_clock):
    way = Way(table)
    way.dice.uniform = lambda low, high: high
    way.slowest = 4
    async with agent(way) as governors, governors.seat("PUMP", "a", ignore) as seat:
        assert trio.current_time() == 3 * 8, "capacity, look and change, eight seconds each"
        way.cut()
        await seat.wait_lost()
        assert trio.current_time() == pytest.approx(2 * 8 + LEASE * 0.8)


async def test_a_renewal_that_finds_the_seat_evicted_loses_it_at_once_and_the_next_leader_waits_for_the_lease(
    table, autojump_clock
):
    async with agent(Way(table)) as first, agent(Way(table)) as second, trio.open_nursery() as nursery:
        story = []

        async def follow():
            async with second.seat("PUMP", "b", ignore):
                story.append(("b wins", trio.current_time()))

        async with first.seat("PUMP", "a", ignore) as seat:
            nursery.start_soon(follow)
            await trio.sleep(1)
            table.evict()
            assert await seat.wait_lost() == EVICTED
            story.append(("a has lost", trio.current_time()))
    assert [line for line, _ in story] == ["a has lost", "b wins"]
    assert story[0][1] == pytest.approx(LEASE / 3, abs=1)


async def test_a_seat_whose_lease_ended_is_not_taken_again_by_a_renewal(table, autojump_clock):
    async with agent(Way(table)) as governors, governors.seat("PUMP", "a", ignore) as seat:
        table.kept.clear()
        assert await seat.wait_lost() == EVICTED
        assert table.holder() == ""


async def test_a_seat_taken_by_an_attempt_without_an_answer_counts_from_the_attempt_that_was_answered(
    table, autojump_clock
):
    way = Way(table)
    put = way.put

    async def put_unheard(*args, **kwargs):
        way.deaf, way.put = True, put
        try:
            return await put(*args, **kwargs)
        finally:
            way.deaf = False

    way.put = put_unheard
    async with agent(way) as governors, governors.seat("PUMP", "a", ignore) as seat:
        assert way.changes == 2
        won_at = trio.current_time()
        way.cut()
        await seat.wait_lost()
        assert trio.current_time() == pytest.approx(won_at + LEASE * 0.8)


async def test_who_campaigns_is_told_who_leads_and_that_nobody_answers(table, autojump_clock):
    heard, way = [], Way(table)
    async with agent(Way(table)) as first, first.seat("PUMP", "the pump at n1", ignore), trio.open_nursery() as nursery:
        async with agent(way) as second:

            async def campaign():
                async with second.seat("PUMP", "b", heard.append):
                    raise AssertionError

            nursery.start_soon(campaign)
            await trio.sleep(LEASE * 10)
            assert heard[-1] == "all are held, the one by the pump at n1"
            way.cut()
            await trio.sleep(LEASE)
            assert heard[-1] == "No answer from the table"
        nursery.cancel_scope.cancel()


async def test_a_resignation_waits_for_no_network_and_frees_the_seat_once_there_is_one(table, autojump_clock):
    way = Way(table)
    async with agent(way) as governors:
        async with governors.seat("PUMP", "a", ignore):
            way.cut()
            left_at = trio.current_time()
        assert trio.current_time() == left_at
        assert table.holder() == "a"
        way.mend()
        await governors.wait_returned()
        assert table.holder() == ""
        assert not governors.held


async def test_the_seat_of_a_leader_that_vanished_is_won_when_its_lease_has_ended(table, autojump_clock):
    async with AsyncExitStack() as doomed:
        way = Way(table)
        governors = await doomed.enter_async_context(agent(way))
        seat = await doomed.enter_async_context(governors.seat("PUMP", "a", ignore))
        way.cut()  # what is not returned is not returned later either
        await doomed.aclose()
        assert seat.sequence == 1
    async with agent(Way(table)) as other, other.seat("PUMP", "b", ignore):
        assert LEASE <= trio.current_time() < LEASE + 10


# --- two leaders never meet -----------------------------------------------------------------------------------------

SHORT, PROMPT = 10, 0.2
FAULTS = st.tuples(
    st.floats(2, 1.5 * SHORT),
    st.sampled_from(["leader", "leader", "a", "b", "c"]),
    st.sampled_from(["cut", "mute", "deaf", "slow", "mend", "crash", "session", "evict"]),
)


def eager(dice):
    """Pauses so short that no end of a lease goes unnoticed."""
    while True:
        yield dice.uniform(0.1, 0.5)


class Candidate:
    """An agent that campaigns for ever, crashes when it is told to, and takes a while to stop leading."""

    def __init__(self, name, table, reigns, dice):
        self.name, self.table, self.reigns, self.dice = name, table, reigns, dice
        self.way = Way(table, dice, slowest=PROMPT)
        self.life = self.session = trio.CancelScope()

    async def run(self):
        while True:
            with trio.CancelScope() as self.life:
                governors = Governors(dice=self.dice, waits=eager)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._serve, governors)
                    await self._campaign(governors)

    async def _serve(self, governors):
        while True:
            with trio.CancelScope() as self.session:
                await governors.serve_with(self.way)

    async def _campaign(self, governors):
        while True:
            async with governors.seat("PUMP", self.name, ignore) as seat:
                reign = [self.name, trio.current_time(), float("inf")]
                self.reigns.append(reign)
                try:
                    await seat.wait_lost()
                    await trio.sleep(SHORT / 20)  # what it takes to stop
                finally:
                    reign[2] = trio.current_time()

    def suffer(self, fault):
        match fault:
            case "mute" | "deaf":
                setattr(self.way, fault, True)
            case "cut":
                self.way.cut()
            case "slow":
                self.way.slowest = SHORT
            case "mend":
                self.way.mend()
                self.way.slowest = PROMPT
            case "evict":
                self.way.table.evict()
            case "crash":
                self.life.cancel()
            case "session":
                self.session.cancel()


async def reign_through(faults, seed, haste, reigns):
    table, dice = Table(SHORT, haste=haste), random.Random(seed)
    candidates = {name: Candidate(name, table, reigns, dice) for name in "abc"}
    async with trio.open_nursery() as nursery:
        for candidate in candidates.values():
            nursery.start_soon(candidate.run)
        for pause, who, fault in faults:
            await trio.sleep(pause)
            candidates[reigns[-1][0] if who == "leader" else who].suffer(fault)
        await trio.sleep(2 * SHORT)
        for candidate in candidates.values():
            candidate.suffer("mend")
        await trio.sleep(5 * SHORT)
        assert table.holder() == reigns[-1][0], "in the end somebody leads"
        nursery.cancel_scope.cancel()


@settings(max_examples=60)
@given(st.lists(FAULTS, min_size=1, max_size=10), st.integers(0, 2**32), st.floats(0.9, 1.1))
def test_two_never_lead_at_once_whatever_links_and_agents_suffer(faults, seed, haste):
    reigns = []
    trio.run(reign_through, faults, seed, haste, reigns, clock=MockClock(autojump_threshold=0))
    for (one, _, end), (other, start, _) in pairwise(reigns):
        assert end <= start, f"{one} led until {end:.3f}, and {other} from {start:.3f} on"
