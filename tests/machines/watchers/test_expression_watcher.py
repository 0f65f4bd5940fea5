"""A machine watches its tank with conditions on data and facts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mra.errors import Unavailable
from mra.machines.context import Context, Services
from mra.machines.data import MachineData
from mra.machines.events import Origin
from mra.machines.manifest import read_manifest
from mra.machines.watchers.expression import ExpressionWatcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from trio.testing import MockClock

    from mra.outbox.record import Draft

MANIFEST = """\
name: tank
version: 1.0.0
initial_state: FILL
transitions:
  - {name: full, from: [FILL], destination: DRAIN}
  - {name: low, from: [FILL, DRAIN], destination: FILL}
  - {name: rest, from: [FILL], destination: REST}
watchers:
  - name: level
    type: expression
    state_match: [FILL, DRAIN]
    success_transition: full
    fail_transition: low
    properties:
      success_when: data.level > get_fact("limits.high")
      fail_when: data.level < facts.limits.low and identity == "edge-07"
"""


class Tank:
    """The machine around the watcher: its state, its facts, and all that the watcher made of them."""

    def __init__(self, directory: Path, manifest: str = MANIFEST) -> None:
        self.state = "FILL"
        self.limits: dict[str, Any] = {"high": 80, "low": 20}
        self.facts_are_broken = False
        self.fired: list[str] = []
        self.published: list[str] = []
        self.data = MachineData(directory / "machine_data.json", {"level": 50})
        reading = read_manifest(manifest, "machine.yaml", {"expression": ExpressionWatcher})
        assert reading.manifest is not None, reading.problems
        origin = Origin("edge-07", "tank", "1.0.0", "0" * 32)
        services = Services("edge-07", self.record, facts=self.facts)
        context = Context(origin, directory, self.data, services, lambda: self.state, self.fire, lambda _name: None)
        self.watcher = ExpressionWatcher(reading.manifest.watchers[0], context)

    def facts(self) -> dict[str, Any]:
        if self.facts_are_broken:
            raise Unavailable("the facts cannot be read")
        return {"limits": self.limits}

    async def record(self, _row: object, drafts: Sequence[Draft]) -> None:
        for draft in drafts:
            assert draft.subject == "machine.watcher.expression.state"
            self.published.append(json.loads(draft.body)["data"]["previous_outcome"])

    async def fire(self, transition: str, *, at_once: bool = False) -> None:
        self.fired.append(transition)

    async def at_level(self, *levels: object) -> None:
        """Let the watcher see each level once."""
        for level in levels:
            self.data._values["level"] = level
            await trio.sleep(10)
            await wait_all_tasks_blocked()


@pytest.fixture
async def tank(tmp_path: Path) -> AsyncIterator[Tank]:
    tank = Tank(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tank.watcher.run)
        await trio.sleep(1)
        yield tank
        nursery.cancel_scope.cancel()


async def test_a_condition_fires_when_it_comes_to_hold_and_is_published_while_it_does(
    tank: Tank, autojump_clock: MockClock
) -> None:
    await tank.at_level(50, 90, 91, 92)
    assert tank.fired == ["full"]
    assert tank.published == ["success_when"] * 3


async def test_going_from_one_condition_to_the_other_fires_at_once(tank: Tank, autojump_clock: MockClock) -> None:
    await tank.at_level(90, 10, 90)
    assert tank.fired == ["full", "low", "full"]
    assert tank.published == ["success_when", "failed_when", "success_when"]


async def test_no_match_is_silent_and_lets_the_same_condition_fire_again(tank: Tank, autojump_clock: MockClock) -> None:
    await tank.at_level(90, 50, 90)
    assert tank.fired == ["full", "full"]
    assert tank.published == ["success_when", "success_when"]


async def test_an_error_is_published_fires_nothing_and_is_explained(tank: Tank, autojump_clock: MockClock) -> None:
    await tank.at_level(90, None)
    assert tank.fired == ["full"]
    assert tank.published == ["success_when", "error"]
    assert "nil > float" in tank.watcher.trouble
    await tank.at_level(90)
    assert tank.fired == ["full", "full"]
    assert tank.watcher.trouble == ""


async def test_facts_that_cannot_be_read_are_an_error(tank: Tank, autojump_clock: MockClock) -> None:
    tank.facts_are_broken = True
    await tank.at_level(90)
    assert (tank.fired, tank.published) == ([], ["error"])
    assert tank.watcher.trouble == "the facts cannot be read"


async def test_the_facts_of_the_moment_count(tank: Tank, autojump_clock: MockClock) -> None:
    await tank.at_level(50)
    tank.limits["high"] = 40
    await tank.at_level(50)
    assert tank.fired == ["full"]


async def test_while_inactive_nothing_is_judged_and_what_was_is_forgotten(
    tank: Tank, autojump_clock: MockClock
) -> None:
    await tank.at_level(90)
    tank.state = "REST"
    await tank.at_level(90)
    assert tank.watcher.report() == {"previous_outcome": "skipped"}
    tank.state = "FILL"
    await tank.at_level(90)
    assert tank.fired == ["full", "full"]


async def test_a_change_of_state_leads_to_a_look_without_waiting(tank: Tank, autojump_clock: MockClock) -> None:
    tank.data._values["level"] = 90
    tank.watcher.state_changed("DRAIN")
    await wait_all_tasks_blocked()
    assert tank.fired == ["full"]


@pytest.mark.parametrize(
    ("properties", "key", "reason"),
    [
        ("{}", "success_when", "needs success_when or fail_when"),
        ("{success_when: 'data.level >'}", "success_when", "column 13: the expression is not complete"),
        ("{success_when: 'true', fail_when: 'level > 1'}", "fail_when", "column 1: there is no 'level'"),
        ("{fail_when: 'now() > 1'}", "fail_when", "'now' is not supported"),
    ],
)
def test_conditions_that_cannot_be_read_are_problems_of_the_manifest(properties: str, key: str, reason: str) -> None:
    manifest = MANIFEST[: MANIFEST.index("    properties:")] + f"    properties: {properties}\n"
    reading = read_manifest(manifest, "machine.yaml", {"expression": ExpressionWatcher})
    assert reading.manifest is None
    assert [(problem.key, reason in problem.reason) for problem in reading.problems] == [
        (f"watchers[0].properties.{key}", True)
    ]


@pytest.mark.parametrize(("interval", "fits"), [("500ms", True), ("400ms", False), ("1h", True)])
def test_half_a_second_is_the_shortest_interval(interval: str, fits: bool) -> None:
    manifest = MANIFEST.replace("    type: expression", f"    type: expression\n    interval: {interval}")
    reading = read_manifest(manifest, "machine.yaml", {"expression": ExpressionWatcher})
    assert (reading.manifest is not None) is fits
