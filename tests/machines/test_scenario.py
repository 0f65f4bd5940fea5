"""A site for some seconds, with real files and processes: every event it sends fits what consumers know."""

from __future__ import annotations

import os

import pytest
import trio

from mra.machines.fleet import Fleet
from mra.machines.watchers.registry import registry
from tests.machines.doubles import Buckets, services
from tests.machines.processes import children, wait_for
from tests.machines.schemas import assert_valid, needs_schemas

TANK = """\
name: tank
version: 2.0.1
initial_state: "OK"
transitions:
  - {name: "OK", from: [WARNING, CRITICAL, UNKNOWN, FORCE_CHECK], destination: "OK"}
  - {name: WARNING, from: ["OK", CRITICAL, UNKNOWN, FORCE_CHECK], destination: WARNING}
  - {name: FORCE_CHECK, from: ["OK", WARNING], destination: FORCE_CHECK}
watchers:
  - name: check
    type: nagios
    interval: 500ms
    announce_interval: 1m
    properties:
      plugin: ./check.sh -w 20
      timeout: 10s
      annotations: {team: water}
"""
PUMP = """\
name: pump_guard
version: 1.4.0
initial_state: idle
transitions:
  - name: low
    from: [idle]
    destination: filling
    subscribe: [{machine_name: tank, event: WARNING}]
  - {name: filled, from: [filling], destination: idle}
  - {name: failed, from: [filling], destination: fault}
  - {name: reset, from: [fault], destination: idle}
watchers:
  - name: fill
    type: exec
    state_match: [filling]
    success_transition: filled
    fail_transition: failed
    properties: {command: ./fill.sh, timeout: 10s, parse_as_data: true}
  - name: limits
    type: file
    interval: 500ms
    properties: {path: limits.json}
  - name: rest
    type: timer
    state_match: [fault]
    fail_transition: reset
    properties: {timer: 1s}
  - name: full
    type: expression
    interval: 500ms
    state_match: [fault]
    properties: {success_when: "data.level > 90"}
"""


def put(store, name, manifest, **scripts):
    directory = store / name
    directory.mkdir(parents=True)
    (directory / "machine.yaml").write_text(manifest)
    for script, text in scripts.items():
        (directory / f"{script}.sh").write_text(f"#!/bin/sh\n{text}\n")
        (directory / f"{script}.sh").chmod(0o700)
    return directory


@pytest.fixture
async def site(tmp_path, journal):
    store = tmp_path / "machines"
    put(store, "tank", TANK, check="echo 'WARNING: 18 percent|level=18%;20;10'; exit 1")
    pump = put(store, "pump", PUMP, fill="""echo '{"level": 95}'; [ -e jammed ] && exit 1; exit 0""")
    (pump / "limits.json").write_text("{}")
    async with trio.open_nursery() as nursery:
        fleet = Fleet(store, services(journal, desired=Buckets()), registry())
        await nursery.start(fleet.run)
        yield fleet
        nursery.cancel_scope.cancel()


async def test_machines_watch_move_and_follow_each_other(site, journal):
    pump = site.store / "pump"
    await wait_for(lambda: journal.story.count("filling -> idle") == 1)
    story = [line for line in journal.story if line.split(":")[0] not in ("limits", "check")]
    assert story == ["OK -> WARNING", "idle -> filling", "fill: success", "filling -> idle"]
    assert site.find("pump_guard").data.copy() == {"level": 95}

    (pump / "jammed").touch()
    await site.fire("pump_guard", "low")
    await wait_for(lambda: "fault -> idle" in journal.story)
    story = [line for line in journal.story[journal.story.index("fill: error") :] if line.split(":")[0] != "check"]
    assert story[:2] == ["fill: error", "filling -> fault"]
    assert {"rest: running", "full: success_when", "rest: stopped"} <= set(story)

    os.utime(pump / "limits.json")
    await wait_for(lambda: journal.story.count("limits: changed") == 2)


@needs_schemas
async def test_every_event_fits_its_published_schema(site, journal):
    await wait_for(lambda: "filling -> idle" in journal.story)
    for machine in ("tank", "pump_guard"):
        for watcher in site.find(machine).watchers:
            await watcher.context.publish(watcher.event())
    checked = [event["type"] for event in journal.envelopes if assert_valid(event)]
    assert {type_.split(".")[-3] for type_ in checked} == {"machine", "exec", "file", "nagios"}


async def test_nothing_is_left_when_the_site_stops(tmp_path, journal):
    store = tmp_path / "machines"
    put(store, "pump", PUMP, fill="sleep 300 & sleep 300")
    async with trio.open_nursery() as nursery:
        fleet = Fleet(store, services(journal), registry())
        await nursery.start(fleet.run)
        await wait_for(lambda: fleet.find("pump_guard").started_wall)
        await fleet.fire("pump_guard", "low")
        await wait_for(children)
        nursery.cancel_scope.cancel()
    assert children() == set()
