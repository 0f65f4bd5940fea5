"""A machine is moved by what a plugin, or a check of the agent's own, finds."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mra.machines.context import Context, Services
from mra.machines.data import MachineData
from mra.machines.events import Origin
from mra.machines.manifest import read_manifest
from mra.machines.watchers.nagios import NagiosWatcher
from tests.machines.doubles import Middle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mra.outbox.record import Draft

MANIFEST = """\
name: check_tank
version: 1.0.0
initial_state: UNKNOWN
transitions:
  - {name: OK, from: [UNKNOWN, OK, WARNING, CRITICAL, FORCE_CHECK], destination: OK}
  - {name: WARNING, from: [UNKNOWN, OK, WARNING, CRITICAL, FORCE_CHECK], destination: WARNING}
  - {name: CRITICAL, from: [UNKNOWN, OK, WARNING, CRITICAL, FORCE_CHECK], destination: CRITICAL}
  - {name: UNKNOWN, from: [UNKNOWN, OK, WARNING, CRITICAL, FORCE_CHECK], destination: UNKNOWN}
  - {name: MAINTENANCE, from: [OK], destination: MAINTENANCE}
  - {name: FORCE_CHECK, from: [OK], destination: FORCE_CHECK}
watchers:
  - name: check
    type: nagios
    interval: 60s
    state_match: [UNKNOWN, OK, WARNING, CRITICAL]
    properties:
      annotations: {team: water}
"""


def definition(properties: str, manifest: str = MANIFEST):
    reading = read_manifest(f"{manifest}      {properties}\n", "machine.yaml", {"nagios": NagiosWatcher})
    assert reading.manifest is not None, reading.problems
    return reading.manifest.watchers[0]


class Tank:
    """The machine around the watcher; every transition leads to the state of its name."""

    def __init__(self, directory: Path, properties: str = "builtin: heartbeat", **services: Any) -> None:
        self.directory = directory
        self.state = "UNKNOWN"
        self.story: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.overrides: dict[str, Any] = {}
        self.status: dict[str, Any] = {}
        origin = Origin("edge-07", "check_tank", "1.0.0", "0" * 32)
        seams = Services(
            "edge-07", self.record, overrides=lambda: self.overrides, status=lambda: self.status, dice=Middle()
        )
        self.watcher = NagiosWatcher(
            definition(properties),
            Context(
                origin,
                directory,
                MachineData(directory / "machine_data.json"),
                replace(seams, **services),
                lambda: self.state,
                self.fire,
                lambda _name: None,
            ),
        )

    async def record(self, _row: object, drafts: Sequence[Draft]) -> None:
        for draft in drafts:
            self.events.append(json.loads(draft.body)["data"])
            self.story.append(f"event {self.events[-1]['status']}")

    async def fire(self, transition: str, *, at_once: bool = False) -> None:
        self.story.append(f"fire {transition}")
        self.enter(transition)

    def enter(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self.watcher.state_changed(state)

    def plugin(self, text: str) -> None:
        script = self.directory / "check"
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)

    async def check(self) -> dict[str, Any]:
        """Let an interval pass and a check run; its event."""
        self.watcher._checked_at = None
        before = len(self.events)
        await self.watcher.turn()
        return self.events[-1] if len(self.events) > before else {}


@pytest.mark.parametrize(
    ("code", "status"), [(0, "OK"), (1, "WARNING"), (2, "CRITICAL"), (3, "UNKNOWN"), (6, "UNKNOWN"), (127, "UNKNOWN")]
)
async def test_the_exit_code_is_reported_and_then_moves_the_machine(tmp_path: Path, code: int, status: str) -> None:
    tank = Tank(tmp_path, "plugin: ./check -w 20")
    tank.plugin(f'echo "level $2|level=18%;20"; exit {code}')
    event = await tank.check()
    assert tank.story == [f"event {status}", f"fire {status}"]
    assert (event["status"], event["output"], event["plugin"]) == (status, "level 20|level=18%;20", "./check -w 20")
    assert event["perfdata"] == [{"unit": "%", "label": "level", "value": 18}]
    assert event["annotations"] == {"team": "water"}
    assert event["history"][-1]["status"] == event["status_code"]


@pytest.mark.parametrize("code", [4, 5])
async def test_exit_codes_that_are_no_status_are_told_to_the_operator_only(tmp_path: Path, code: int) -> None:
    tank = Tank(tmp_path, "plugin: ./check")
    tank.plugin(f"exit {code}")
    assert await tank.check() == {}
    assert tank.story == []
    assert f"exit code {code}" in tank.watcher.trouble


async def test_a_plugin_that_takes_too_long_is_killed_and_unknown(tmp_path: Path) -> None:
    tank = Tank(tmp_path, "plugin: ./check\n      timeout: 200ms")
    tank.plugin("echo started; echo $$ > pid; exec sleep 60")
    event = await tank.check()
    assert (event["status"], event["output"]) == ("UNKNOWN", "started")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize(
    ("properties", "word"),
    [
        ("plugin: ./missing", "No such file"),
        ("plugin: no-such-program-anywhere", "no program"),
        ('plugin: "./check \'open"', "never closed"),
        ('plugin: "{{ o 1 2 3 }}"', "argument"),
        ("builtin: telepathy", "no builtin"),
    ],
)
async def test_what_cannot_be_checked_is_unknown_and_explained(tmp_path: Path, properties: str, word: str) -> None:
    tank = Tank(tmp_path, properties)
    assert (await tank.check())["status"] == "UNKNOWN"
    assert word in tank.watcher.trouble
    assert tank.story == ["event UNKNOWN", "fire UNKNOWN"]


async def test_a_plugin_finds_nothing_of_the_agent_in_its_environment(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    tank = Tank(tmp_path, "plugin: /usr/bin/env")
    output = (await tank.check())["output"]
    assert dict(line.split("=", 1) for line in output.splitlines()) == {
        "MACHINE_WATCHER_NAME": "check",
        "MACHINE_NAME": "check_tank",
        "PATH": f"{os.environ['PATH']}:{tmp_path}",
    }


async def test_overrides_change_the_command(tmp_path: Path) -> None:
    tank = Tank(tmp_path, "plugin: './check {{ o \"low\" 20 }}'")
    tank.plugin('echo "low is $1"')
    assert (await tank.check())["output"] == "low is 20"
    tank.overrides = {"check_tank": {"low": 15}}
    event = await tank.check()
    assert (event["output"], event["plugin"]) == ("low is 15", "./check 15")


async def test_a_result_of_a_check_that_was_cancelled_by_a_change_of_state_is_forgotten(tmp_path: Path) -> None:
    tank = Tank(tmp_path, "plugin: ./check\n      timeout: 1m")
    os.mkfifo(tmp_path / "started")
    tank.plugin("echo $$ > started; sleep 60 & wait")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tank.check)
        async with await trio.open_file(tmp_path / "started") as started:
            pid = int(await started.read())
        tank.enter("MAINTENANCE")
    assert tank.story == []
    assert tank.watcher.report()["history"] == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_the_first_check_comes_after_one_to_two_intervals_and_then_one_comes_each(
    tmp_path, autojump_clock
) -> None:
    tank = Tank(tmp_path)
    times: list[float] = []
    started = trio.current_time()

    async def note(_: object, __: object) -> None:
        times.append(trio.current_time() - started)

    tank.watcher.context = replace(tank.watcher.context, services=replace(tank.watcher.context.services, record=note))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tank.watcher.run)
        await trio.sleep(60 * 5)
        nursery.cancel_scope.cancel()
    assert 60 <= times[0] <= 120
    assert [round(later - earlier) for earlier, later in itertools.pairwise(times)] == [60] * (len(times) - 1)
    assert len(times) >= 3


async def test_in_a_state_that_does_not_match_nothing_is_checked_unless_forced(tmp_path, autojump_clock) -> None:
    tank = Tank(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tank.watcher.run)
        await wait_all_tasks_blocked()
        tank.enter("MAINTENANCE")
        await trio.sleep(600)
        assert tank.story == []
        tank.enter("FORCE_CHECK")
        await wait_all_tasks_blocked()
        assert tank.story == ["event OK", "fire OK"]
        assert tank.state == "OK"
        tank.enter("FORCE_CHECK")
        await wait_all_tasks_blocked()
        assert tank.story == ["event OK", "fire OK"] * 2, "forced again, although the last check has just been"
        nursery.cancel_scope.cancel()


async def test_a_tick_soon_after_a_forced_check_is_left_out(tmp_path, autojump_clock) -> None:
    tank = Tank(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tank.watcher.run)
        await trio.sleep(200)
        ticks = len(tank.events)
        tank.enter("FORCE_CHECK")
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert len(tank.events) == ticks + 1


async def test_a_change_to_another_state_checks_nothing(tmp_path, autojump_clock) -> None:
    tank = Tank(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tank.watcher.run)
        await wait_all_tasks_blocked()
        for state in ("OK", "WARNING", "CRITICAL"):
            tank.enter(state)
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert tank.events == []
    assert tank.watcher.report()["status"] == "CRITICAL"


async def test_a_heartbeat_tells_the_time(tmp_path: Path) -> None:
    event = await Tank(tmp_path).check()
    assert (event["status"], event["plugin"]) == ("OK", "heartbeat")
    assert abs(int(event["output"]) - event["check_time"]) <= 1


async def test_the_agents_own_status_is_judged(tmp_path: Path) -> None:
    tank = Tank(tmp_path, "builtin: choria_status\n      last_message: 1h")
    assert (await tank.check())["output"] == "Status file not configured"
    tank.status = {"uptime": 60.0, "link": {"state": "connected", "server": "nats://saas:4222", "for": 5.0}}
    event = await tank.check()
    assert event["status"] == "OK"
    assert {entry["label"] for entry in event["perfdata"]} >= {"uptime", "last_msg", "token_expire_seconds"}
    tank.status["link"] = {"state": "down", "server": None, "for": 5.0}
    assert (await tank.check())["status"] == "CRITICAL"


@pytest.fixture
def goss(tmp_path: Path, monkeypatch) -> Path:
    """A program named goss that prints what the test wrote into `report`, and how it was called into `called`."""
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "goss"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > called\ncat report\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


async def test_goss_runs_on_its_file_with_the_overrides_as_variables(goss: Path) -> None:
    tank = Tank(goss, "builtin: goss\n      gossfile: tests.yaml")
    tank.overrides = {"port": 80}
    summary = {"failed-count": 1, "summary-line": "Count: 2, Failed: 1", "test-count": 2, "total-duration": 6_000_000}
    (goss / "report").write_text(json.dumps({"results": [], "summary": summary}))
    event = await tank.check()
    assert (event["status"], event["plugin"]) == ("CRITICAL", "goss")
    assert event["output"].startswith("CRITICAL: Count: 2, Failed: 1|checks=2;;")
    assert [entry["label"] for entry in event["perfdata"]] == ["checks", "failed", "runtime"]
    called = (goss / "called").read_text().splitlines()
    assert called[:5] == ["--gossfile", "tests.yaml", "--vars-inline", '{"port": 80}', "validate"]


async def test_where_goss_is_not_installed_the_check_is_unknown_and_says_why(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    event = await Tank(tmp_path, "builtin: goss\n      gossfile: tests.yaml").check()
    assert event["status"] == "UNKNOWN"
    assert "goss cannot be run" in event["output"]


async def test_overrides_that_fit_no_command_line_are_named(goss: Path) -> None:
    tank = Tank(goss, "builtin: goss\n      gossfile: tests.yaml")
    tank.overrides = {"long": "x" * 200_000}
    event = await tank.check()
    assert (event["status"], event["output"]) == (
        "UNKNOWN",
        "UNKNOWN: the overrides are too long for goss; shorten them",
    )


async def test_the_status_is_shown_to_prometheus_until_the_machine_is_removed(tmp_path: Path) -> None:
    shown = tmp_path / "textfiles"
    shown.mkdir()
    tank = Tank(tmp_path, "plugin: ./check", text_file_directory=shown)
    tank.plugin("exit 1")
    file = shown / "choria_machine_nagios_watcher_status.prom"
    await tank.check()
    await tank.watcher._file.write()
    text = file.read_text()
    assert 'choria_machine_nagios_watcher_status{name="check_tank",status="WARNING"} 1' in text
    assert 'choria_machine_nagios_watcher_checks_count{name="check_tank"} 2' in text, "the change of state counts too"
    await tank.watcher.removed()
    series = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert [line.split()[0] for line in series] == ["choria_machine_nagios_start_time"]


@pytest.mark.parametrize(
    ("properties", "key"),
    [
        ("builtin: heartbeat\n      plugin: ./check", "plugin"),
        ("timeout: 5s", "plugin"),
        ("builtin: goss", "gossfile"),
        ("builtin: choria_status", "last_message"),
        ("plugin: ./check\n      timeout: -1s", "timeout"),
        ("plugin: '{{ if }}'", "plugin"),
        ("plugin: [./check, x]", "plugin"),
    ],
)
def test_properties_that_make_no_sense_are_named(properties: str, key: str) -> None:
    reading = read_manifest(f"{MANIFEST}      {properties}\n", "machine.yaml", {"nagios": NagiosWatcher})
    assert reading.manifest is None
    assert any(problem.key == f"watchers[0].properties.{key}" for problem in reading.problems)
