"""`mra machines ...`, beside a running agent and without one."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from mra.app import run_agent
from mra.cli.main import invoke
from mra.machines import spec
from mra.settings import read_settings

PUMP = """\
name: pump
version: 1.2.3
initial_state: "off"
transitions:
  - {name: start, from: ["off"], destination: "on"}
  - {name: stop, from: ["on"], destination: "off"}
watchers:
  - name: look
    type: exec
    state_match: ["on"]
    interval: 1h
    success_transition: stop
    properties: {command: /bin/true}
"""


MANAGER = """\
name: manager
version: 1.0.0
initial_state: MANAGE
transitions: [{name: rest, from: [MANAGE], destination: REST}]
watchers:
  - {name: manage_machines, type: plugins, interval: 1h, properties: {data_item: machines}}
"""


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "agent.toml"
    file.write_text(
        '[agent]\nname = "site1"\nstate = "state"\n[saas]\nurls = ["nats://127.0.0.1:1"]\n'
        '[outbox]\nmin_free = 0\nballast = 0\n[facts]\nenabled = false\n[machines]\ndeny = ["valve"]\n'
    )
    return file


@pytest.fixture
def put(tmp_path):
    def put(directory: str, text: str):
        place = tmp_path / "state" / "machines" / directory
        place.mkdir(parents=True)
        (place / "machine.yaml").write_text(text)
        return place

    return put


@pytest.fixture
def mra(config, capsys):
    """Run a command while the agent goes on; gives its exit code, output and complaints."""

    async def run(*arguments: str):
        line = ["machines", arguments[0], *arguments[1:]]
        if arguments[0] != "validate":
            line += ["--config", str(config)]
        code = await trio.to_thread.run_sync(partial(invoke, line))
        return (code, *capsys.readouterr())

    return run


@asynccontextmanager
async def agent(config):
    """An agent whose machines are loaded."""
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(run_agent, read_settings(config), stop)
        with trio.fail_after(20):
            yield
        stop.set()


async def until(look):
    """Look again until it gives something, within the caller's deadline: processes and threads are at work."""
    while not (found := await look()):  # noqa: ASYNC110 - no event tells of them
        await trio.sleep(0.02)
    return found


async def test_each_machine_is_listed_with_its_state_or_with_what_stops_it(config, put, mra):
    put("pump", PUMP)
    put("valve", PUMP.replace("name: pump", "name: valve"))
    put("broken", PUMP.replace("initial_state", "initial_stat"))

    async def listed():
        _, out, _ = await mra("ls", "--json")
        found = {each["name"]: each for each in json.loads(out)}
        return found if len(found) == 3 and found["pump"]["condition"] == "running" else None

    async with agent(config):
        found = await until(listed)
        code, table, _ = await mra("ls")
    assert {name: each["condition"] for name, each in found.items()} == {
        "pump": "running",
        "valve": "denied",
        "broken": "refused",
    }
    assert "initial_state" in found["broken"]["problem"]
    assert (code, [name in table for name in found]) == (0, [True] * 3)


async def test_a_plugin_that_may_not_run_here_is_told_of_beside_its_manager(config, put, mra):
    manager = put("manager", MANAGER)
    ordered = spec.sign([spec.Plugin("valve", "https://plugins.example/valve.tgz", "a" * 64, "b" * 64)], bytes(32))
    (manager / "machine_data.json").write_text(json.dumps({"machines": json.loads(ordered)}))

    async def told():
        _, table, _ = await mra("ls")
        return table if "manage_machines: this agent does not allow the plugins valve" in table else None

    async with agent(config):
        await until(told)
    assert not (manager.parent / "mm_valve").exists()


async def test_a_transition_by_hand_moves_the_machine_and_its_story_is_in_the_outbox(config, put, mra):
    put("pump", PUMP)

    async def shown():
        code, out, _ = await mra("show", "pump", "--json")
        return json.loads(out) if code == 0 and json.loads(out)["condition"] == "running" else None

    async def story():
        _, out, _ = await mra("history", "pump", "--json")
        moves = [
            event["data"]["transition"]
            for event in map(json.loads, out.splitlines())
            if event["subject"] == "machine.transition"
        ]
        return moves if len(moves) == 2 else None

    async with agent(config):
        machine = await until(shown)
        assert (machine["state"], machine["watchers"][0]["type"]) == ("off", "exec")
        code, said, _ = await mra("transition", "pump", "start")
        assert (code, said) == (0, "pump is now in state on.\n")
        assert await until(story) == ["start", "stop"]  # the watcher found that all is well, and stopped it
        code, _, complaint = await mra("transition", "pump", "fly")
        assert (code, "possible now: start" in complaint) == (2, True)
        _, drawn, _ = await mra("graph", "pump")
        assert drawn.startswith("stateDiagram")
    code, out, _ = await mra("history", "pump")
    assert code == 0
    assert "off -> on (start)" in out


async def test_what_a_machine_remembers_is_shown_with_and_without_a_daemon(config, put, mra):
    place = put("pump", PUMP)
    (place / "machine_data.json").write_text('{"limit": 7}')

    async def remembered():
        code, out, _ = await mra("data", "pump", "--json")
        return code == 0 and json.loads(out)

    assert await remembered() == {"limit": 7}
    async with agent(config):
        assert await until(remembered) == {"limit": 7}
    assert (await mra("data", "nobody"))[0] == 2


async def test_events_are_watched_as_they_come(config, put, mra):
    put("pump", PUMP)
    seen = []

    async def watch():
        seen.append(await mra("watch", "pump", "--count", "1", "--json"))

    async def moved():
        await mra("transition", "pump", "start")
        return seen

    async with agent(config), trio.open_nursery() as nursery:
        await until(lambda: _running(mra))
        nursery.start_soon(watch)
        await until(moved)
    (code, _, _) = seen[0]
    assert code == 0


async def _running(mra):
    code, out, _ = await mra("show", "pump", "--json")
    return code == 0 and json.loads(out)["condition"] == "running"


async def test_a_manifest_is_checked_without_a_daemon(put, mra):
    good = put("pump", PUMP)
    assert await mra("validate", str(good)) == (0, "1 checked, all can run.\n", "")
    bad = put("bad", PUMP.replace("success_transition: stop", "success_transition: fly"))
    code, out, _ = await mra("validate", str(bad))
    assert code == 1
    assert "machine.yaml:12: watchers[0].success_transition" in out
    code, out, _ = await mra("validate", str(good.parent), "--json")
    assert (code, [each["runs"] for each in json.loads(out)]) == (1, [False, True])
    assert (await mra("validate", str(good / "nowhere")))[0] == 2


async def test_a_manifest_is_drawn_without_a_daemon(put, mra):
    place = put("pump", PUMP)
    assert (await mra("graph", str(place)))[1].startswith("stateDiagram-v2")
    assert (await mra("graph", str(place), "--dot"))[1].startswith('digraph "pump"')


async def test_without_a_daemon_there_is_nothing_to_list(mra):
    code, _, complaint = await mra("ls")
    assert (code, "mra run" in complaint) == (75, True)
