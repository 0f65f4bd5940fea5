from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.machines.doubles import Alone, machine


@pytest.fixture
def start(journal, tmp_path, nursery):
    def start(watchers, **others):
        pump = machine(watchers, journal, tmp_path, **others)
        nursery.start_soon(pump.run)
        return pump, *pump.watchers

    return start


def times(watcher):
    return [round(moment, 3) for moment in watcher.looked]


async def test_the_first_look_comes_after_one_interval(start, autojump_clock):
    _, watcher = start("{name: w, type: script, interval: 10s}")
    await trio.sleep(35)
    assert times(watcher) == [10, 20, 30]


async def test_an_eager_watcher_looks_at_once(start, autojump_clock):
    _, watcher = start("{name: w, type: eager, interval: 10s}")
    await trio.sleep(25)
    assert times(watcher) == [0, 10, 20]


async def test_a_fixed_ticker_keeps_one_tick_while_busy_and_drops_the_rest(start, autojump_clock):
    _, watcher = start("{name: w, type: script, interval: 10s}")
    busy = trio.Event()
    watcher.script.append(busy)
    await trio.sleep(38)
    busy.set()
    await trio.sleep(20)
    assert times(watcher) == [10, 38, 40, 50]


async def test_a_resting_ticker_counts_from_the_end_of_each_look(start, autojump_clock):
    _, watcher = start("{name: w, type: resting, interval: 10s}")
    busy = trio.Event()
    watcher.script.append(busy)
    await trio.sleep(38)
    busy.set()
    await trio.sleep(22)
    assert times(watcher) == [10, 48, 58]


async def test_a_change_of_state_leads_to_a_look_and_restarts_only_a_resting_ticker(start, autojump_clock):
    pump, fixed, resting = start(
        "{name: f, type: script, interval: 10s}\n{name: r, type: resting, interval: 10s}",
    )
    await trio.sleep(15)
    await pump.fire("start")
    await trio.sleep(13)
    assert times(fixed) == [10, 15, 20]
    assert times(resting) == [10, 15, 25]


async def test_changes_while_busy_coalesce_into_one(start, autojump_clock):
    pump, watcher = start("{name: w, type: script}")
    busy = trio.Event()
    watcher.script.append(busy)
    await trio.sleep(1)
    for event in ("start", "stop", "start"):
        await pump.fire(event)
    busy.set()
    await trio.sleep(5)
    assert len(watcher.looked) == 2


async def test_ticks_are_skipped_in_other_states_without_an_event(start, journal, autojump_clock):
    pump, watcher = start('{name: w, type: script, interval: 10s, state_match: ["on", fault]}')
    await trio.sleep(25)
    assert (watcher.looked, watcher.outcome, journal.story) == ([], "skipped", [])
    await pump.fire("start")
    await trio.sleep(10)
    assert times(watcher) == [25, 30]


async def test_leaving_the_state_ends_what_was_begun_in_it(start, journal, autojump_clock):
    pump, watcher = start('{name: w, type: script, interval: 10s, state_match: ["on"], success_transition: stop}')
    await trio.sleep(1)
    watcher.script.append(trio.Event())
    await pump.fire("start")
    await trio.sleep(1)
    await pump.fire("trip")
    await trio.sleep(1)
    assert (watcher.abandoned, watcher.outcome) == (1, "skipped")
    assert journal.story == ["off -> on", "on -> fault"]


async def test_a_change_between_two_matching_states_lets_the_look_go_on(start, journal, autojump_clock):
    pump, watcher = start('{name: w, type: script, interval: 10s, state_match: ["on", fault]}')
    await trio.sleep(1)
    busy = trio.Event()
    watcher.script.append(busy)
    await pump.fire("start")
    await trio.sleep(1)
    await pump.fire("trip")
    busy.set()
    await trio.sleep(1)
    assert watcher.abandoned == 0
    assert "w: late" in journal.story


async def test_all_foreign_states_have_to_fit_and_their_changes_do_not_wake(start, autojump_clock):
    neighbours = Alone()
    requirement = "[{machine_name: tank, state: full}, {machine_name: valve, state: open}]"
    _, watcher = start(
        f"{{name: w, type: script, interval: 10s, foreign_state_required: {requirement}}}", neighbours=neighbours
    )
    await trio.sleep(15)
    neighbours.states["tank"] = "full"
    await trio.sleep(10)
    assert watcher.looked == []
    neighbours.states["valve"] = "open"
    await trio.sleep(10)
    assert times(watcher) == [30]
    neighbours.states["tank"] = "empty"
    await trio.sleep(10)
    assert times(watcher) == [30]


@pytest.mark.parametrize("entry", ["{machine_name: tank}", "{state: full}", "{}"])
async def test_a_foreign_entry_that_lacks_a_key_never_fits(start, autojump_clock, entry):
    neighbours = Alone()
    neighbours.states.update({"tank": "full", "": ""})
    _, watcher = start(
        f"{{name: w, type: script, interval: 10s, foreign_state_required: [{entry}]}}", neighbours=neighbours
    )
    await trio.sleep(15)
    assert watcher.looked == []


async def test_cancelling_the_machine_ends_every_look_and_publishes_nothing(journal, tmp_path, autojump_clock):
    pump = machine("{name: w, type: script, interval: 10s}", journal, tmp_path)
    pump.watchers[0].script.append(trio.Event())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.run)
        await trio.sleep(11)
        nursery.cancel_scope.cancel()
    await wait_all_tasks_blocked()
    assert pump.watchers[0].abandoned == 1
    assert journal.story == []
