from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trio

from mra.errors import BadInput
from tests.machines.doubles import Alone, machine

HOURLY = (
    '{name: s, type: schedule, state_match: ["on"], success_transition: again, fail_transition: stop,'
    ' properties: {schedules: ["0 * * * *"], duration: 10m%s}}'
)
NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)


def pump_at_noon(line, journal, tmp_path, nursery, **others):
    """A running pump whose wall clock reads 12:00:00 now and goes with Trio's."""
    pump = machine(line, journal, tmp_path, **others)
    began = trio.current_time()
    pump.watchers[0].wall = lambda: NOON + timedelta(seconds=trio.current_time() - began)
    nursery.start_soon(pump.run)
    return pump


ALWAYS = "{name: s, type: schedule, success_transition: start, fail_transition: stop, properties: {schedules: [%s]%s}}"


async def test_it_fires_at_the_beginning_and_the_end_of_each_period(journal, tmp_path, autojump_clock, nursery):
    pump_at_noon(ALWAYS % ('"0 * * * *"', ", duration: 10m"), journal, tmp_path, nursery)
    await trio.sleep(3599)
    assert journal.story == []
    await trio.sleep(2)
    assert journal.story == ["s: on", "off -> on"]
    await trio.sleep(598)
    assert len(journal.story) == 2
    await trio.sleep(2)
    assert journal.story == ["s: on", "off -> on", "s: off", "on -> off"]


async def test_without_a_duration_a_period_lasts_the_documented_minute(journal, tmp_path, autojump_clock, nursery):
    pump_at_noon(ALWAYS % ('"5 12 * * *"', ""), journal, tmp_path, nursery)
    await trio.sleep(359)
    assert journal.story == ["s: on", "off -> on"]
    await trio.sleep(2)
    assert journal.story[2:] == ["s: off", "on -> off"]


async def test_overlapping_schedules_are_one_period(journal, tmp_path, autojump_clock, nursery):
    pump_at_noon(ALWAYS % ('"1 12 * * *", "2 12 * * *"', ", duration: 90s"), journal, tmp_path, nursery)
    await trio.sleep(600)
    assert journal.story == ["s: on", "off -> on", "s: off", "on -> off"]


async def test_entering_its_state_before_any_period_fires_fail(journal, tmp_path, autojump_clock, nursery):
    pump = pump_at_noon(HOURLY % "", journal, tmp_path, nursery)
    await trio.sleep(10)
    assert journal.story == []
    await pump.fire("start")
    await trio.sleep(10)
    assert journal.story == ["off -> on", "s: unknown", "on -> off"]


@pytest.mark.parametrize(("option", "again"), [("", 2), (", skip_trigger_on_reenter: true", 1)])
async def test_entering_its_state_within_a_period_fires_success_again(
    journal, tmp_path, autojump_clock, nursery, option, again
):
    line = HOURLY.replace('state_match: ["on"]', 'state_match: ["on", fault]') % option
    pump = pump_at_noon(line, journal, tmp_path, nursery)
    await trio.sleep(3590)
    await pump.fire("start")
    await trio.sleep(5)
    assert journal.story == ["off -> on", "s: unknown", "on -> off"]
    await trio.sleep(60)
    await pump.fire("start")
    await trio.sleep(5)
    await pump.fire("stop")
    await trio.sleep(5)
    await pump.fire("start")
    await trio.sleep(5)
    assert journal.story[3:].count("s: on") == again


async def test_a_schedule_that_fires_while_inactive_acts_when_its_state_is_entered(
    journal, tmp_path, autojump_clock, nursery
):
    pump = pump_at_noon(HOURLY % "", journal, tmp_path, nursery)
    await trio.sleep(3700)
    assert journal.story == []
    await pump.fire("start")
    await trio.sleep(1)
    assert journal.story == ["off -> on", "s: on"]


async def test_foreign_states_are_noticed_within_half_a_minute(journal, tmp_path, autojump_clock, nursery):
    neighbours = Alone()
    line = (ALWAYS % ('"0 * * * *"', ", duration: 10m")).replace(
        "type: schedule,", "type: schedule, foreign_state_required: [{machine_name: mains, state: live}],"
    )
    pump_at_noon(line, journal, tmp_path, nursery, neighbours=neighbours)
    await trio.sleep(3700)
    assert journal.story == []
    neighbours.states["mains"] = "live"
    await trio.sleep(31)
    assert journal.story == ["s: on", "off -> on"]


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ("{}", "it is required"),
        ('{schedules: ["* * *"]}', "five fields"),
        ('{schedules: ["@every 1h"]}', "five fields"),
        ('{schedules: ["* * * * *"], duration: 0s}', "needs some time"),
        ('{schedules: ["* * * * *"], duration: 1m, start_splay: 31s}', "half of duration"),
        ('{schedules: ["* * * * *"], duration: 1m, start_splay: -1s}', "half of duration"),
    ],
)
def test_what_cannot_be_a_schedule(journal, tmp_path, properties, reason):
    with pytest.raises(BadInput, match=reason):
        machine(f"{{name: s, type: schedule, properties: {properties}}}", journal, tmp_path)
