"""`mra status`, as a person reads it."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from mra.app import run_agent
from mra.cli.main import invoke
from mra.control import ask_daemon
from mra.settings import read_settings

MACHINE = """\
name: pump
version: 1.0.0
initial_state: idle
transitions:
  - {name: leave, from: [idle], destination: away}
watchers:
  - {name: rest, type: timer, state_match: [away], properties: {timer: 1h}}
"""


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "agent.toml"
    saas = 'urls = ["nats://127.0.0.1:1"]\ncustomer = "acme"'
    file.write_text(f'[agent]\nname = "site1"\nstate = "state"\n[saas]\n{saas}\n[outbox]\nmin_free = 0\nballast = 0\n')
    for name, manifest in (("pump", MACHINE), ("broken", "name: broken\n")):
        directory = tmp_path / "state" / "machines" / name
        directory.mkdir(parents=True)
        (directory / "machine.yaml").write_text(manifest)
    return file


def lines(text):
    """The values by their names."""
    return dict(line.split("  ", 1) for line in text.splitlines() if "  " in line)


async def conditions(ask):
    return {machine["condition"] for machine in await trio.to_thread.run_sync(ask)}


async def test_people_see_how_desired_state_and_the_machines_stand(config, capsys):
    settings = read_settings(config)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(run_agent, settings, stop)
        ask = partial(ask_daemon, settings.socket, "machines.ls")
        with trio.fail_after(20):
            while await conditions(ask) != {"running", "refused"}:  # noqa: ASYNC110 - nothing tells of it
                await trio.sleep(0.02)
        assert await trio.to_thread.run_sync(invoke, ["status", "--config", str(config)]) == 0
        stop.set()
    said = capsys.readouterr().out
    assert lines(said)["Desired state"].strip() == "waiting"
    assert lines(said)["Machines"].strip() == "1 refused, 1 running"
    assert "machine broken: " in said


def test_with_the_daemon_down_neither_is_known(config, capsys):
    settings = read_settings(config)

    async def once():
        stop = trio.Event()
        stop.set()
        await run_agent(settings, stop)

    trio.run(once)
    assert invoke(["status", "--config", str(config)]) == 0
    said = lines(capsys.readouterr().out)
    assert (said["Desired state"].strip(), said["Machines"].strip()) == ("-", "-")
