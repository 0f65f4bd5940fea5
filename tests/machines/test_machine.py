from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mra.errors import Unavailable
from mra.machines.states import Moved, Stayed, Undeclared
from tests.machines.doubles import PUMP, Alone, machine

WATCH_ON = (
    '{name: w, type: script, interval: 10s, state_match: ["on"], success_transition: stop, fail_transition: trip}'
)


async def test_a_change_of_state_is_stored_with_its_event_in_one_transaction(journal, tmp_path):
    pump = machine(WATCH_ON, journal, tmp_path)
    step = await pump.fire("start")
    assert isinstance(step, Moved)
    ((row, (event,)),) = journal.entries
    assert (row.name, row.version, row.state, row.directory) == ("pump", "1.2.3", "on", str(tmp_path))
    assert event["data"]["transition"] == "start"
    assert journal.story == ["off -> on"]
    assert pump.available == ("again", "stop", "trip")


async def test_nobody_learns_of_a_change_before_it_is_stored(journal, tmp_path, nursery):
    neighbours = Alone()
    pump = machine(WATCH_ON, journal, tmp_path, neighbours=neighbours)
    journal.hold()
    nursery.start_soon(pump.fire, "start")
    await wait_all_tasks_blocked()
    assert (pump.state, neighbours.told) == ("off", [])
    journal.stores.set()
    await wait_all_tasks_blocked()
    assert (pump.state, neighbours.told) == ("on", [("pump", "start")])


async def test_a_change_once_begun_is_completed_whoever_is_cancelled(journal, tmp_path):
    pump = machine(WATCH_ON, journal, tmp_path)
    journal.hold()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.fire, "start")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        nursery.start_soon(lambda: _open(journal))
    assert pump.state == "on"
    assert journal.story == ["off -> on"]


async def _open(journal):
    journal.stores.set()


async def test_an_event_that_cannot_be_stored_does_not_stop_the_machine(journal, tmp_path):
    pump = machine(WATCH_ON, journal, tmp_path)
    journal.refuses = True
    await pump.fire("start")
    assert pump.state == "on"
    assert journal.story == []


async def test_a_transition_at_the_wrong_time_is_no_event(journal, tmp_path):
    pump = machine(WATCH_ON, journal, tmp_path)
    assert await pump.fire("stop") == Undeclared("stop", "off")
    assert await pump.fire("") is None
    assert journal.entries == []


async def test_a_transition_to_the_same_state_is_invisible_but_slows_the_next(journal, tmp_path, autojump_clock):
    neighbours = Alone()
    pump = machine(WATCH_ON, journal, tmp_path, neighbours=neighbours)
    await pump.fire("again")
    before = trio.current_time()
    assert await pump.fire("again") == Stayed("again", "on")
    await pump.fire("stop")
    assert trio.current_time() - before == pytest.approx(0.0245 + 0.05)
    assert journal.story == ["off -> on", "on -> off"]
    assert len(neighbours.told) == 2


async def test_transitions_are_seen_through_one_at_a_time(journal, tmp_path, autojump_clock):
    pump = machine(WATCH_ON, journal, tmp_path)
    async with trio.open_nursery() as nursery:
        for event in ("start", "stop", "start", "trip", "start"):
            nursery.start_soon(pump.fire, event)
            await wait_all_tasks_blocked()
    assert journal.story == ["off -> on", "on -> off", "off -> on", "on -> fault", "fault -> on"]


async def test_a_cancelled_wait_for_the_pace_changes_nothing(journal, tmp_path, mock_clock):
    pump = machine(WATCH_ON, journal, tmp_path)
    await pump.fire("start")
    with trio.CancelScope() as scope:
        scope.cancel()
        await pump.fire("stop")
    assert pump.state == "on"
    assert journal.story == ["off -> on"]


async def test_outcome_event_and_transition_come_in_this_order(journal, tmp_path, autojump_clock, nursery):
    pump = machine(WATCH_ON, journal, tmp_path)
    (watcher,) = pump.watchers
    watcher.script.append(watcher.success("full"))
    nursery.start_soon(pump.run)
    await trio.sleep(1)
    await pump.fire("start")
    await trio.sleep(1)
    assert journal.story == ["off -> on", "w: full", "on -> off"]
    assert watcher.outcome == "skipped"  # by the signal that its own transition sent


async def test_the_initial_state_sends_no_signal_and_later_ones_do(journal, tmp_path, autojump_clock, nursery):
    pump = machine('{name: w, type: script, state_match: ["off", "on"]}', journal, tmp_path)
    (watcher,) = pump.watchers
    nursery.start_soon(pump.run)
    await trio.sleep(100)
    assert watcher.looked == []
    await pump.fire("start")
    await trio.sleep(1)
    assert watcher.looked == [100]


async def test_a_watcher_that_crashes_is_started_again_and_the_others_go_on(journal, tmp_path, autojump_clock, nursery):
    pump = machine(
        "{name: bad, type: script, interval: 10s}\n{name: good, type: script, interval: 10s}", journal, tmp_path
    )
    bad, good = pump.watchers
    bad.script.append(ZeroDivisionError("a bug"))
    nursery.start_soon(pump.run)
    await trio.sleep(95)
    assert len(good.looked) == 9
    assert len(bad.looked) >= 6
    service = pump.supervisor.services["bad"]
    assert (service.restarts, service.last_error) == (1, "a bug")


async def test_an_error_of_the_field_is_an_outcome_and_no_crash(journal, tmp_path, autojump_clock, nursery):
    pump = machine("{name: w, type: script, interval: 10s, fail_transition: start}", journal, tmp_path)
    (watcher,) = pump.watchers
    watcher.script.append(Unavailable("the sensor does not answer"))
    nursery.start_soon(pump.run)
    await trio.sleep(11)
    assert journal.story == ["w: error", "off -> on"]
    assert pump.supervisor.services["w"].restarts == 0


async def test_the_trouble_of_a_watcher_is_kept_for_the_operator(journal, tmp_path, autojump_clock, nursery):
    pump = machine("{name: w, type: script, interval: 10s}", journal, tmp_path)
    (watcher,) = pump.watchers
    watcher.script.append(FileNotFoundError(2, "No such file or directory", "/dev/level"))
    nursery.start_soon(pump.run)
    await trio.sleep(11)
    assert (watcher.outcome, watcher.trouble) == ("error", "/dev/level: no such file or directory")
    await trio.sleep(10)
    assert (watcher.outcome, watcher.trouble) == ("unchanged", "")


async def test_announcements_run_in_whatever_state(journal, tmp_path, autojump_clock, nursery):
    pump = machine(
        "{name: w, type: script, interval: 1h, announce_interval: 1m, state_match: [fault]}", journal, tmp_path
    )
    nursery.start_soon(pump.run)
    await trio.sleep(59)
    assert journal.story == []
    await trio.sleep(122)
    assert journal.story == ["w: unknown"] * 3


async def test_announcements_go_on_during_a_long_evaluation(journal, tmp_path, autojump_clock, nursery):
    pump = machine("{name: w, type: script, interval: 10s, announce_interval: 1m}", journal, tmp_path)
    pump.watchers[0].script.append(trio.Event())
    nursery.start_soon(pump.run)
    await trio.sleep(121)
    assert journal.story == ["w: unknown"] * 2


async def test_the_splay_is_drawn_once_and_the_machine_can_move_meanwhile(journal, tmp_path, autojump_clock, nursery):
    pump = machine(
        '{name: w, type: script, interval: 1h, state_match: ["on"]}',
        journal,
        tmp_path,
        manifest="splay_start: 100\n" + PUMP,
    )
    nursery.start_soon(pump.run)
    await trio.sleep(49)
    assert pump.started_wall is None
    await pump.fire("start")
    await trio.sleep(2)
    assert pump.started_wall is not None
    assert pump.watchers[0].looked == []  # the change came before there was a watcher to signal


async def test_a_watcher_that_fails_at_a_change_does_not_keep_it_from_the_others(
    journal, tmp_path, autojump_clock, nursery
):
    pump = machine("{name: bad, type: script}\n{name: good, type: script}", journal, tmp_path)

    def fail(state):
        raise ZeroDivisionError(state)

    pump.watchers[0].state_changed = fail
    nursery.start_soon(pump.run)
    await trio.sleep(1)
    await pump.fire("start")
    await trio.sleep(1)
    assert len(pump.watchers[1].looked) == 1


async def test_a_machine_that_has_ended_moves_no_more(journal, tmp_path):
    pump = machine(WATCH_ON, journal, tmp_path)
    pump.end()
    await pump.fire("start")
    assert (pump.state, journal.entries) == ("off", [])


async def test_a_failing_clean_up_does_not_keep_others_from_theirs(journal, tmp_path):
    pump = machine("{name: one, type: script}\n{name: two, type: script}", journal, tmp_path)

    async def fail():
        raise RuntimeError("a bug")

    pump.watchers[0].removed = fail
    await pump.removed()
    assert pump.watchers[1].cleaned


async def test_the_state_at_the_start_is_stored_without_an_event(journal, tmp_path, nursery):
    nursery.start_soon(machine(WATCH_ON, journal, tmp_path).run)
    await wait_all_tasks_blocked()
    ((row, events),) = journal.entries
    assert (row.state, events) == ("off", [])
