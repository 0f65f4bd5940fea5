"""Elections between machines: the agents' own governors over slots in memory, on a mock clock."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mra.errors import BadInput
from mra.governors.governors import Governors
from mra.machines.context import NoGovernors
from mra.machines.picture import WatcherPicture
from tests.governors.memory import Table, Way
from tests.machines.doubles import Alone, Journal, machine

GUARD = """\
name: guard
version: 1.0.0
initial_state: FOLLOWING
transitions:
  - {name: lead, from: [FOLLOWING], destination: LEADING}
  - {name: follow, from: [LEADING, RESTING], destination: FOLLOWING}
  - {name: rest, from: [FOLLOWING, LEADING], destination: RESTING}
  - {name: flicker, from: [FOLLOWING, LEADING], destination: FOLLOWING}
watchers:
"""
ELECTION = """{name: e, type: election, state_match: [FOLLOWING, LEADING], success_transition: lead,
 fail_transition: follow, MOREproperties: {governor: GOVERNOR}}"""
WON = ["e: campaigning", "PUMP enter", "e: leading", "FOLLOWING -> LEADING"]


class Node:
    """An agent with its way to the slots, and the machine that campaigns there."""

    def __init__(self, table, directory, name, governor="PUMP", more="", **others):
        self.way, self.journal = Way(table), Journal()
        self.governors = Governors(dice=random.Random(1))
        line = ELECTION.replace("\n", "").replace("GOVERNOR", governor).replace("MORE", more)
        others = {"governors": self.governors, **others}
        self.machine = machine(line, self.journal, directory / name, manifest=GUARD, **others)
        self.watcher = self.machine.watchers[0]

    @property
    def story(self):
        return self.journal.story

    @property
    def said(self):
        return [event["data"] for event in self.journal.envelopes if event["data"].get("type") == "election"]

    async def run(self):
        with trio.CancelScope() as self.scope:
            await self.machine.run()


@pytest.fixture
def table():
    return Table(60)


@pytest.fixture
def node(table, tmp_path, nursery):
    """Nodes that run; the slots are served for as long as the test lasts."""

    def node(name="n1", governor="PUMP", more="", *, linked=True, **others):
        (tmp_path / name).mkdir()
        made = Node(table, tmp_path, name, governor, more, **others)
        if linked:
            nursery.start_soon(made.governors.serve_with, made.way)
        nursery.start_soon(made.run)
        return made

    return node


async def test_the_seat_is_won_reported_and_leads_to_the_state_of_a_leader(node, table, autojump_clock):
    first = node()
    await trio.sleep(1)
    assert first.story == WON
    assert first.machine.state == "LEADING"
    assert table.holder() == "Auto Agent  guard#e @ edge-07"
    won = first.said[-1]
    assert (won["state"], won["governor"], won["sequence"], won["reason"]) == ("leading", "PUMP", 1, "")
    assert won["since_wall"] > 0
    assert first.watcher.detail.startswith("PUMP, since 20")


async def test_it_is_kept_from_one_matching_state_to_the_next_and_for_many_leases(node, table, autojump_clock):
    first = node()
    await trio.sleep(1)
    await first.machine.fire("flicker")
    await trio.sleep(1000)
    assert first.story == [*WON, "LEADING -> FOLLOWING"]
    assert table.holder()
    assert first.watcher.outcome == "leading"


async def test_of_two_one_leads_and_the_other_says_who_does(node, autojump_clock):
    first = node()
    await trio.sleep(1)
    second = node("n2")
    await trio.sleep(500)
    assert (first.machine.state, second.machine.state) == ("LEADING", "FOLLOWING")
    assert second.story == ["e: campaigning"]
    assert second.watcher.trouble == ""
    shown = WatcherPicture.of(second.watcher, None)
    assert (shown.outcome, shown.detail) == (
        "campaigning",
        "PUMP: all are held, the one by Auto Agent  guard#e @ edge-07",
    )
    assert second.watcher.report()["reason"] == "all are held, the one by Auto Agent  guard#e @ edge-07"


async def test_a_leader_that_is_cut_off_follows_before_the_other_leads(node, autojump_clock):
    first = node()
    await trio.sleep(1)
    second = node("n2")
    first.way.cut()
    await trio.sleep(47.5)
    assert (first.machine.state, second.machine.state) == ("FOLLOWING", "FOLLOWING")
    assert first.story[len(WON) :] == ["e: campaigning", "LEADING -> FOLLOWING", "PUMP exit"]
    assert first.said[-1]["reason"] == "the seat was lost, as it could not be renewed in time"
    await trio.sleep(25)
    assert (first.machine.state, second.machine.state) == ("FOLLOWING", "LEADING")
    first.way.mend()
    await trio.sleep(500)
    assert (first.machine.state, second.machine.state) == ("FOLLOWING", "LEADING")


async def test_an_eviction_is_followed_by_a_new_election(node, table, autojump_clock):
    first = node()
    await trio.sleep(1)
    table.evict()
    await trio.sleep(25)
    assert first.story[len(WON) :] == ["e: campaigning", "LEADING -> FOLLOWING", "PUMP exit"]
    assert "taken away" in first.said[-1]["reason"]
    await trio.sleep(100)
    assert first.machine.state == "LEADING"


async def test_leaving_its_states_resigns_at_once_and_coming_back_campaigns_again(node, table, autojump_clock):
    first = node()
    await trio.sleep(1)
    await first.machine.fire("rest")
    await wait_all_tasks_blocked()
    assert first.story[len(WON) :] == ["LEADING -> RESTING", "PUMP exit", "e: resting"]
    await first.governors.wait_returned()
    assert table.holder() == ""
    assert first.watcher.detail == ""
    await trio.sleep(1000)
    assert first.watcher.outcome == "resting"
    await first.machine.fire("follow")
    await trio.sleep(10)
    assert first.machine.state == "LEADING"


async def test_who_loses_the_seat_while_leaving_its_states_stays_out(node, autojump_clock):
    first = node()
    await trio.sleep(1)
    stored = first.machine._store
    leaves, goes_on = trio.Event(), trio.Event()

    async def store_slowly(*args):
        leaves.set()
        await goes_on.wait()
        await stored(*args)

    first.machine._store = store_slowly
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.machine.fire, "rest")
        await leaves.wait()
        first.watcher._seat.give_up("it was evicted")
        await wait_all_tasks_blocked()
        goes_on.set()
    await trio.sleep(10)
    assert first.machine.state == "RESTING"


async def test_who_leaves_while_campaigning_never_leads(node, table, autojump_clock):
    first = node()
    first.way.slowest = 5
    await trio.sleep(0.1)
    await first.machine.fire("rest")
    await trio.sleep(100)
    assert first.story == ["e: campaigning", "FOLLOWING -> RESTING", "e: resting"]
    assert table.holder() == ""
    assert not first.governors.waiting


@pytest.mark.parametrize("linked", [True, False])
async def test_a_machine_that_is_stopped_leaves_no_seat_behind(node, table, autojump_clock, linked):
    first = node()
    await trio.sleep(1)
    if not linked:
        first.way.cut()
    stopped_at = trio.current_time()
    first.scope.cancel()
    await wait_all_tasks_blocked()
    assert trio.current_time() == stopped_at, "without waiting for the network"
    assert first.story[-1] == "PUMP exit"
    assert not first.governors.held
    first.way.mend()
    await first.governors.wait_returned()
    assert table.holder() == ""


async def test_a_machine_in_the_place_of_another_wins_after_it(node, autojump_clock):
    first = node()
    await trio.sleep(1)
    first.scope.cancel()
    second = node("n2")
    await trio.sleep(10)
    assert second.machine.state == "LEADING"


async def test_a_seat_that_is_lost_before_the_victory_was_told_leads_nowhere(node, table, autojump_clock):
    first = node()
    for _ in range(20):  # the pace is slow now, several seconds for a transition
        first.machine._pace = first.machine._next_pace()[1]
    await trio.sleep(1)
    assert (first.watcher.outcome, first.machine.state) == ("leading", "FOLLOWING")
    first.watcher._seat.give_up("it was evicted")
    await trio.sleep(1)
    assert first.machine.state == "FOLLOWING"
    assert "FOLLOWING -> LEADING" not in first.story


async def test_a_loss_waits_for_no_pace(node, autojump_clock):
    first = node()
    await trio.sleep(1)
    for _ in range(20):
        first.machine._pace = first.machine._next_pace()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.machine.fire, "flicker")  # waits for the pace
        await wait_all_tasks_blocked()
        lost_at = trio.current_time()
        first.watcher._seat.give_up("it was evicted")
        await wait_all_tasks_blocked()
        assert (trio.current_time(), first.machine.state) == (lost_at, "FOLLOWING")
        nursery.cancel_scope.cancel()


async def test_a_crash_of_a_leader_ends_its_leadership_before_the_seat_is_free(node, table, autojump_clock):
    told = []

    class Faulty(Alone):
        def tell(self, name, event):
            told.append((event, bool(table.holder())))
            if len(told) == 1:
                raise ZeroDivisionError

    first = node(neighbours=Faulty())
    await trio.sleep(60)
    assert told == [("lead", True), ("follow", True), ("lead", True)]
    assert first.machine.supervisor.services["e"].restarts == 1
    assert first.machine.state == "LEADING"


async def test_without_a_link_it_campaigns_on_and_wins_when_there_is_one(node, nursery, autojump_clock):
    first = node(linked=False)
    await trio.sleep(1000)
    assert first.story == ["e: campaigning"]
    assert first.watcher.detail == "PUMP: the SaaS (in a site, its leader) is out of reach"
    nursery.start_soon(first.governors.serve_with, first.way)
    await trio.sleep(10)
    assert first.machine.state == "LEADING"


@pytest.mark.parametrize(
    ("governor", "others", "trouble"),
    [
        ('\'{{ lookup "facts.none" "" }}\'', {}, "is empty once its templates are expanded"),
        ("a.b", {}, "no name of a governor"),
        ("PUMP", {"governors": NoGovernors()}, "this agent has no SaaS"),
    ],
)
async def test_what_cannot_be_asked_is_trouble_and_asked_again(node, autojump_clock, governor, others, trouble):
    first = node(governor=governor, **others)
    await trio.sleep(100)
    assert trouble in first.watcher.trouble
    assert trouble in first.watcher.report()["reason"]
    assert first.story == ["e: campaigning"]
    assert first.machine.supervisor.services["e"].restarts == 0


async def test_the_governor_may_be_named_by_a_fact(node, table, autojump_clock):
    first = node(governor='\'{{ lookup "facts.site" "x" }}\'', facts=lambda: {"site": "NORTH"})
    await trio.sleep(1)
    assert table.holder("NORTH")
    assert first.watcher.report()["governor"] == "NORTH"


async def test_a_foreign_state_that_is_required_is_noticed_within_a_second(node, table, autojump_clock):
    neighbours = Alone()
    first = node(more="foreign_state_required: [{machine_name: pump, state: on}], ", neighbours=neighbours)
    await trio.sleep(10)
    assert first.story == []
    neighbours.states["pump"] = "on"
    await trio.sleep(2)
    assert first.machine.state == "LEADING"
    neighbours.states["pump"] = "off"
    await trio.sleep(2)
    assert first.story[len(WON) :] == ["e: campaigning", "LEADING -> FOLLOWING", "PUMP exit", "e: resting"]
    assert (first.watcher.outcome, table.holder()) == ("resting", "")
    neighbours.states["pump"] = "on"
    await trio.sleep(10)
    assert first.machine.state == "LEADING"


async def test_it_tells_whether_it_leads_at_its_announcements(node, autojump_clock):
    first = node(more="announce_interval: 1m, ")
    await trio.sleep(125)
    assert [said["state"] for said in first.said] == ["campaigning", "leading", "leading", "leading"]


def test_a_victory_needs_a_transition_for_its_end(tmp_path):
    line = "{name: e, type: election, success_transition: lead, properties: {governor: PUMP}}"
    with pytest.raises(BadInput, match="fail_transition: it is required with success_transition"):
        machine(line, Journal(), tmp_path, manifest=GUARD)


def test_a_seat_is_kept_in_the_state_that_winning_leads_to(tmp_path):
    line = (
        "{name: e, type: election, state_match: [FOLLOWING], success_transition: lead, fail_transition: follow,"
        " properties: {governor: PUMP}}"
    )
    with pytest.raises(BadInput, match="state_match: winning leads to 'LEADING', where the seat would be given back"):
        machine(line, Journal(), tmp_path, manifest=GUARD)


def test_it_needs_a_governor(tmp_path):
    with pytest.raises(BadInput, match=r"properties\.governor: it is required"):
        machine("{name: e, type: election, properties: {}}", Journal(), tmp_path, manifest=GUARD)
