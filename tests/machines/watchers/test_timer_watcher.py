from __future__ import annotations

import pytest
import trio

from mra.errors import BadInput
from tests.machines.doubles import machine

TIMER = '{name: t, type: timer, state_match: ["on", fault], fail_transition: stop, properties: {timer: 1m}}'


async def test_it_runs_in_its_state_and_fires_when_it_expires(journal, tmp_path, autojump_clock, nursery):
    pump = machine(TIMER, journal, tmp_path)
    nursery.start_soon(pump.run)
    await trio.sleep(100)
    assert journal.story == []
    await pump.fire("start")
    await trio.sleep(59)
    assert journal.story == ["off -> on", "t: running"]
    await trio.sleep(2)
    assert journal.story == ["off -> on", "t: running", "t: stopped", "on -> off"]
    assert journal.envelopes[1]["data"]["timer"] == 60_000_000_000
    await trio.sleep(100)
    assert len(journal.story) == 4


async def test_it_runs_from_the_start_when_the_initial_state_matches(journal, tmp_path, autojump_clock, nursery):
    pump = machine("{name: t, type: timer, fail_transition: start, properties: {timer: 5s}}", journal, tmp_path)
    nursery.start_soon(pump.run)
    await trio.sleep(6)
    assert journal.story[:3] == ["t: running", "t: stopped", "off -> on"]


async def test_leaving_its_states_stops_it_early(journal, tmp_path, autojump_clock, nursery):
    pump = machine(TIMER, journal, tmp_path)
    nursery.start_soon(pump.run)
    await trio.sleep(1)
    await pump.fire("start")
    await trio.sleep(30)
    await pump.fire("stop")
    await trio.sleep(100)
    assert journal.story == ["off -> on", "t: running", "on -> off", "t: stopped"]


async def test_a_change_between_two_matching_states_restarts_it(journal, tmp_path, autojump_clock, nursery):
    pump = machine(TIMER, journal, tmp_path)
    nursery.start_soon(pump.run)
    await trio.sleep(1)
    await pump.fire("start")
    await trio.sleep(30)
    await pump.fire("trip")
    await trio.sleep(59)
    assert journal.story == ["off -> on", "t: running", "on -> fault", "t: stopped", "t: running"]
    await trio.sleep(2)
    assert journal.story[-1] == "t: stopped"


async def test_after_expiry_it_rests_until_the_state_changes(journal, tmp_path, autojump_clock, nursery):
    pump = machine("{name: t, type: timer, properties: {timer: 5s}}", journal, tmp_path)
    nursery.start_soon(pump.run)
    await trio.sleep(100)
    assert journal.story == ["t: running", "t: stopped"]
    await pump.fire("start")
    await trio.sleep(1)
    assert journal.story[2:] == ["off -> on", "t: running"]


@pytest.mark.parametrize(
    ("properties", "seconds"), [("{timer: 10ms}", 1.0), ("{timer: 10m, splay: true}", 300.0), ("{timer: 90s}", 90.0)]
)
def test_how_long_it_runs(journal, tmp_path, properties, seconds):
    pump = machine(f"{{name: t, type: timer, properties: {properties}}}", journal, tmp_path)
    assert pump.watchers[0].time.seconds == seconds


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{name: t, type: timer, success_transition: stop, properties: {timer: 1m}}", "use that"),
        ("{name: t, type: timer, properties: {}}", "give it a time"),
        ("{name: t, type: timer, properties: {timer: -5s}}", "give it a time"),
    ],
)
def test_what_cannot_be_a_timer(journal, tmp_path, line, reason):
    with pytest.raises(BadInput, match=reason):
        machine(line, journal, tmp_path)
