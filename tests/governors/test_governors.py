"""Slots on a real server, from inside a customer's account: many at once, killed holders, lost answers, no link."""

from __future__ import annotations

import itertools
import json
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from mra.aio.session import Access, open_session
from mra.errors import BadInput, LinkLost, Refused, Unavailable
from mra.governors import governors as module
from mra.governors.governors import Governors
from mra.governors.register import Register
from mra.governors.slots import STREAM, Capacity
from mra.machines.durations import parse_go
from mra.saas import governors as desk
from tests.harness.processes import open_child
from tests.harness.saas import EVENTS, Login, open_saas
from tests.harness.wire import WireError

ROOT = Path(__file__).parents[2]
GLOBEX = Login("globex", "globex-of-a-test")
SOON, LONG = parse_go("300ms"), parse_go("30s")
pytestmark = pytest.mark.lab


@pytest.fixture
async def saas(tmp_path):
    async with open_saas(tmp_path / "saas") as running:
        yield running


@pytest.fixture
async def backend(saas):
    async with open_session(Access((saas.url,), "saas-tool", saas.backend.user, saas.backend.password)) as session:
        yield session


def often(_):
    return itertools.repeat(0.02)


@asynccontextmanager
async def linked(saas, governors, name="edge-1", login=None):
    """A session for as long as the block lasts."""
    login = login or saas.site
    access = Access((saas.url,), name, login.user, login.password)
    async with open_session(access) as session, trio.open_nursery() as nursery:
        nursery.start_soon(governors.serve, session)
        yield
        nursery.cancel_scope.cancel()


async def until(look):
    """Look again until it finds something, and give that; nothing tells of what happens at a server."""
    with trio.fail_after(20):
        while not (found := await look()):  # noqa: ASYNC110 - see above
            await trio.sleep(0.02)
    return found


@asynccontextmanager
async def agent(saas, name="edge-1", login=None):
    """The governors of one agent, over a connection of its own."""
    governors = Governors(waits=often)
    async with linked(saas, governors, name, login):
        yield governors
        with trio.fail_after(10):
            await governors.wait_returned()


async def held(backend, customer="acme"):
    return [(slot.number, slot.holder) for each in await desk.ls(backend, customer) for slot in each.held]


async def lost(governors):
    await trio.lowlevel.checkpoint()
    return not governors.held


async def lost_to(story, rival):
    """Whether a candidate has heard who holds the seat."""
    return f"all are held, the one by {rival}" in story


async def reached(backend, sequence):
    """Whether the one slot that is held was changed that often."""
    return (await desk.ls(backend))[0].held[0].sequence >= sequence


async def test_however_many_reach_for_it_no_more_than_the_slots_are_inside_at_once(saas, backend):
    await desk.put(backend, "acme", "REFILL", Capacity(3, 60))
    inside, most, done, sequences = 0, 0, 0, set()

    async def act(governors, holder):
        nonlocal inside, most, done
        async with governors.slot("REFILL", holder, LONG) as sequence:
            inside += 1
            most = max(most, inside)
            sequences.add(sequence)
            for _ in range(3):
                await governors._register.capacity("REFILL")  # a while, as the others see it
            inside -= 1
            done += 1

    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(agent(saas, f"edge-{number}")) for number in range(4)]
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(32):
                    nursery.start_soon(act, agents[number % 4], f"task {number}")
    assert (most, done, len(sequences)) == (3, 32, 32)
    assert await held(backend) == []


async def test_a_slot_says_who_holds_it_and_is_free_right_after(saas, backend):
    await desk.put(backend, "acme", "REFILL", Capacity(1, 60))
    async with agent(saas) as governors:
        for _ in range(3):
            async with governors.slot("REFILL", "Auto Agent  pump#refill @ edge-1", LONG):
                assert await held(backend) == [(0, "Auto Agent  pump#refill @ edge-1")]
            await governors.wait_returned()
            assert await held(backend) == []


async def test_who_finds_all_slots_held_waits_and_then_gives_up(saas, backend):
    await desk.put(backend, "acme", "REFILL", Capacity(1, 60))
    async with agent(saas) as first, agent(saas, "edge-2") as second, first.slot("REFILL", "a", LONG):
        with pytest.raises(Unavailable, match=r"REFILL was to be had within 300ms: all are held, the one by a\.$"):
            async with second.slot("REFILL", "b", SOON):
                pass


async def test_who_waits_enters_when_the_holder_leaves(saas, backend):
    await desk.put(backend, "acme", "REFILL", Capacity(1, 60))
    story = []
    waits = trio.Event()

    def telling(_):
        waits.set()
        yield from often(_)

    async def follow(governors):
        governors._waits = telling
        async with governors.slot("REFILL", "b", LONG):
            story.append("b enters")

    async with agent(saas) as first, agent(saas, "edge-2") as second, trio.open_nursery() as nursery:
        holding = first.slot("REFILL", "a", LONG)
        async with holding:
            nursery.start_soon(follow, second)
            await waits.wait()
            assert [claim.holder for claim in first.held] == ["a"]
            assert [claim.holder for claim in second.waiting] == ["b"]
            story.append("a leaves")
    assert story == ["a leaves", "b enters"]
    assert not (*first.held, *second.held, *second.waiting)


HOLDER = """
import sys, trio
from mra.aio.session import Access, open_session
from mra.governors.governors import Governors
from mra.machines.durations import parse_go

async def main(url, user, password):
    governors = Governors()
    async with open_session(Access((url,), "doomed", user, password)) as session, trio.open_nursery() as nursery:
        nursery.start_soon(governors.serve, session)
        async with governors.slot("REFILL", "doomed", parse_go("20s")):
            await trio.sleep_forever()

trio.run(main, *sys.argv[1:])
"""


async def test_the_slot_of_a_killed_holder_is_free_when_its_lease_ends_and_not_before(saas, backend, tmp_path):
    await desk.put(backend, "acme", "REFILL", Capacity(1, 4))
    command = [sys.executable, "-c", HOLDER, saas.url, saas.site.user, saas.site.password]
    async with open_child(command, tmp_path / "holder.log", {"PYTHONPATH": str(ROOT)}) as child, agent(saas) as other:
        assert await until(partial(held, backend)) == [(0, "doomed")]
        child.signal(signal.SIGKILL)
        await child.wait()
        with pytest.raises(Unavailable, match="all are held"):
            async with other.slot("REFILL", "b", SOON):
                pass
        async with other.slot("REFILL", "b", LONG):
            assert await held(backend) == [(0, "b")]


async def test_a_slot_is_kept_beyond_its_lease_for_as_long_as_its_holder_lives(saas, backend):
    await desk.put(backend, "acme", "REFILL", Capacity(1, 2))
    async with agent(saas) as first, agent(saas, "edge-2") as second, first.slot("REFILL", "a", LONG) as sequence:
        await until(partial(reached, backend, sequence + 4))  # four thirds of a lease
        with pytest.raises(Unavailable, match="all are held"):
            async with second.slot("REFILL", "b", SOON):
                pass


async def wins_after(governors, story):
    """Campaign as "b"; the story tells why it still waits, and that it has won."""
    async with governors.seat("PUMP", "b", story.append):
        story.append("b wins")


async def test_a_leader_that_is_cut_off_knows_its_loss_before_the_next_one_leads(saas, backend):
    await desk.put(backend, "acme", "PUMP", Capacity(1, 3))
    story = []

    async with agent(saas, "edge-2") as second, trio.open_nursery() as nursery:
        first = Governors(waits=often)
        async with AsyncExitStack() as life:
            async with linked(saas, first):
                seat = await life.enter_async_context(first.seat("PUMP", "a", story.append))
                nursery.start_soon(wins_after, second, story)
                await until(lambda: lost_to(story, "a"))
            assert "could not be renewed" in await seat.wait_lost()
            assert "b wins" not in story
        with trio.fail_after(20):  # what it lets go of now is never returned: it has no session
            while "b wins" not in story:  # noqa: ASYNC110 - the server tells nobody when a lease ends
                await trio.sleep(0.02)


async def test_a_seat_that_was_freed_by_force_is_won_after_its_holder_has_learnt_of_it(saas, backend):
    await desk.put(backend, "acme", "PUMP", Capacity(1, 3))
    story = []

    async with (
        agent(saas, "edge-2") as second,
        trio.open_nursery() as nursery,
        agent(saas) as first,
        first.seat("PUMP", "a", story.append) as seat,
    ):
        nursery.start_soon(wins_after, second, story)
        await until(lambda: lost_to(story, "a"))
        assert [slot.holder for slot in await desk.evict(backend, "acme", "PUMP", None)] == ["a"]
        assert "taken away" in await seat.wait_lost()
        assert "b wins" not in story
    assert story[-1] == "b wins"


async def test_an_evicted_holder_goes_on_but_its_slot_is_free_and_the_eviction_reported(saas, backend):
    await desk.put(backend, "acme", "REFILL", Capacity(1, 3))
    async with agent(saas) as first, agent(saas, "edge-2") as second, first.slot("REFILL", "a", LONG) as sequence:
        assert [slot.holder for slot in await desk.evict(backend, "acme", "REFILL", None)] == ["a"]
        async with second.slot("REFILL", "b", LONG):
            await until(partial(lost, first))
            assert await held(backend) == [(0, "b")]
    async with saas.connect() as wire:
        (event,) = await wire.read_stream(EVENTS)
    assert event.subject == "machine_room.events.acme.lifecycle.event.governor.saas"
    data = json.loads(event.body)["data"]
    assert (data["governor"], data["sequence"], data["event_type"]) == ("REFILL", sequence, "eviction")


async def test_a_renewal_that_comes_between_does_not_save_a_slot_from_eviction(saas, backend, monkeypatch):
    await desk.put(backend, "acme", "REFILL", Capacity(2, 60))
    listed = desk.ls

    async def ls(*args):
        found = await listed(*args)
        for number, owner in ((0, "a"), (1, "c")):  # the first is renewed, the second taken by another
            headers = {"Mra-Holder": owner}
            async with saas.connect(saas.site) as wire:
                await wire.store(f"machine_room.governors.REFILL.slot.{number}", b"x", headers)
        return found

    async with saas.connect(saas.site) as wire:
        for number, owner in ((0, "a"), (1, "b")):
            await wire.store(f"machine_room.governors.REFILL.slot.{number}", b"x", {"Mra-Holder": owner})
    monkeypatch.setattr(desk, "ls", ls)
    assert [slot.number for slot in await desk.evict(backend, "acme", "REFILL", None)] == [0]
    assert [(slot.number, slot.owner) for each in await listed(backend) for slot in each.held] == [(1, "c")]


async def test_without_a_link_no_slot_is_given_and_the_reason_is_told():
    with pytest.raises(Unavailable, match=r"had within 300ms: the SaaS \(in a site, its leader\) is out of reach\.$"):
        async with Governors().slot("REFILL", "a", SOON):
            pass


async def test_who_waits_offline_enters_once_the_link_is_back(saas, backend):
    await desk.put(backend, "acme", "REFILL", Capacity(1, 60))
    governors = Governors(waits=often)
    entered = trio.Event()

    async def act():
        async with governors.slot("REFILL", "a", LONG):
            entered.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(act)
        await trio.testing.wait_all_tasks_blocked()
        async with linked(saas, governors):
            with trio.fail_after(20):
                await entered.wait()
                await governors.wait_returned()
    assert await held(backend) == []


async def test_a_slot_let_go_while_offline_is_returned_over_the_next_session(saas, backend):
    await desk.put(backend, "acme", "REFILL", Capacity(1, 60))
    governors = Governors(waits=often)
    async with AsyncExitStack() as stack:
        async with linked(saas, governors):
            await stack.enter_async_context(governors.slot("REFILL", "a", LONG))
        await stack.aclose()
        assert await held(backend) == [(0, "a")]
        async with linked(saas, governors):
            with trio.fail_after(20):
                await governors.wait_returned()
    assert await held(backend) == []


class Deaf(Register):
    """Hears no answer to the first changes of a slot, which the SaaS makes all the same."""

    unheard = 1

    async def put(self, *args, **kwargs):
        sequence = await super().put(*args, **kwargs)
        if Deaf.unheard:
            Deaf.unheard -= 1
            raise LinkLost("No answer from the SaaS.")
        return sequence


async def test_a_slot_taken_by_an_attempt_without_an_answer_is_recognised_and_no_second_one_taken(
    saas, backend, monkeypatch
):
    monkeypatch.setattr(module, "Register", Deaf)
    monkeypatch.setattr(Deaf, "unheard", 1)
    await desk.put(backend, "acme", "REFILL", Capacity(5, 60))
    async with agent(saas) as governors, governors.slot("REFILL", "a", LONG):
        assert Deaf.unheard == 0
        assert len(await held(backend)) == 1


async def test_who_gives_up_after_an_attempt_without_an_answer_leaves_no_slot_taken(saas, backend, monkeypatch):
    monkeypatch.setattr(module, "Register", Deaf)
    monkeypatch.setattr(Deaf, "unheard", 1)
    await desk.put(backend, "acme", "REFILL", Capacity(1, 60))
    async with agent(saas) as governors:
        governors._waits = lambda _: itertools.repeat(60)
        with pytest.raises(Unavailable, match="No answer"):
            async with governors.slot("REFILL", "a", SOON):
                pass
        with trio.fail_after(10):
            await governors.wait_returned()
        assert await held(backend) == []


async def test_a_renewal_without_an_answer_loses_nothing(saas, backend, monkeypatch):
    monkeypatch.setattr(module, "Register", Deaf)
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(Deaf, "unheard", 0)
    await desk.put(backend, "acme", "REFILL", Capacity(1, 2))
    async with agent(saas) as governors, governors.slot("REFILL", "a", LONG) as sequence:
        Deaf.unheard = 1
        await until(partial(reached, backend, sequence + 2))
        assert (Deaf.unheard, len(governors.held), await held(backend)) == (0, 1, [(0, "a")])


async def test_a_governor_that_does_not_exist_is_refused_at_once(saas):
    async with agent(saas) as governors:
        with pytest.raises(Refused, match="has no governor REFILL"):
            async with governors.slot("REFILL", "a", LONG):
                pass
        with pytest.raises(BadInput, match="no name of a governor"):
            async with governors.slot("a.>", "a", LONG):
                pass


async def test_a_governor_without_slots_lets_nobody_in_and_a_smaller_one_only_as_many(saas, backend):
    await desk.put(backend, "acme", "REFILL", Capacity(2, 60))
    async with agent(saas) as first, agent(saas, "edge-2") as second, first.slot("REFILL", "a", LONG):
        async with second.slot("REFILL", "b", LONG):
            await desk.put(backend, "acme", "REFILL", Capacity(0, 60))
        with pytest.raises(Unavailable, match="all are held"):
            async with second.slot("REFILL", "b", SOON):
                pass


async def test_a_removed_governor_is_gone_with_its_slots(saas, backend):
    await desk.put(backend, "acme", "REFILL", Capacity(1, 60))
    async with agent(saas) as governors, governors.slot("REFILL", "a", LONG):
        assert await desk.remove(backend, "acme", "REFILL")
        assert not await desk.remove(backend, "acme", "REFILL")
        assert await desk.ls(backend) == []
        with pytest.raises(Refused):
            await desk.evict(backend, "acme", "REFILL", None)


async def test_a_customer_sees_and_takes_its_own_slots_only(saas, backend):
    await desk.put(backend, "acme", "REFILL", Capacity(1, 60))
    async with agent(saas, login=GLOBEX) as stranger:
        with pytest.raises(Refused, match="has no governor"):
            async with stranger.slot("REFILL", "x", SOON):
                pass
        await desk.put(backend, "globex", "REFILL", Capacity(1, 60))
        async with stranger.slot("REFILL", "x", LONG), agent(saas) as own, own.slot("REFILL", "a", LONG):
            assert (await held(backend, "acme"), await held(backend, "globex")) == ([(0, "a")], [(0, "x")])


@pytest.mark.parametrize(
    "subject",
    [
        "machine_room.governors.REFILL.capacity",
        "machine_room.governors.acme.REFILL.slot.0",
        f"$JS.API.STREAM.MSG.DELETE.{STREAM}",
        f"$JS.API.STREAM.PURGE.{STREAM}",
        f"$JS.API.DIRECT.GET.{STREAM}",
    ],
)
async def test_a_customer_can_neither_set_capacities_nor_reach_the_stream(saas, backend, subject):
    await desk.put(backend, "acme", "REFILL", Capacity(1, 60))
    async with saas.connect(GLOBEX) as wire:
        await wire.publish(subject, b'{"slots": 9, "lease": 60}')
        with pytest.raises(WireError, match=r"(?i)permissions violation"):
            await wire.flush()
    (governor,) = await desk.ls(backend)
    assert governor.capacity == Capacity(1, 60)


async def test_a_customer_cannot_empty_the_governors_of_all(saas, backend):
    await desk.put(backend, "acme", "REFILL", Capacity(1, 60))
    async with saas.connect(GLOBEX) as wire:
        with pytest.raises(WireError, match="rollup"):
            await wire.store("machine_room.governors.X.slot.0", b"x", {"Nats-Rollup": "all"})
    assert len(await desk.ls(backend)) == 1
