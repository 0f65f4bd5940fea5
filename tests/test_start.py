"""What a starting agent loads, and above all what it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIG = """
[agent]
name = "site1"
state = "state"

[saas]
urls = ["nats://127.0.0.1:1"]
"""
MACHINE = """\
name: pump
version: 1.0.0
initial_state: idle
transitions:
  - {name: leave, from: [idle], destination: elsewhere}
watchers:
  - {name: probe, type: exec, interval: 1h, properties: {command: "true"}}
  - name: files
    type: archive
    interval: 1h
    state_match: [elsewhere]
    properties: {source: "https://h/x.tgz", target: t, creates: x, checksum: "0"}
"""
START = """
import sys, trio
from pathlib import Path
from mra.cli import main  # what the program imports
from mra.cli.run import run
from mra.app import run_agent
from mra.control import ask_daemon
from mra.settings import read_settings

async def start():
    settings, stop = read_settings(Path(sys.argv[1])), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(run_agent, settings, stop)
        with trio.fail_after(30):
            while not await trio.to_thread.run_sync(ask_daemon, settings.socket, "machines.ls"):
                await trio.sleep(0.02)
        stop.set()

trio.run(start)
print(*sys.modules)
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> frozenset[str]:
    """Modules in a process whose agent runs a machine that deploys archives, but not now."""
    directory = tmp_path_factory.mktemp("start")
    (directory / "agent.toml").write_text(CONFIG)
    pump = directory / "state" / "machines" / "pump"
    pump.mkdir(parents=True)
    (pump / "machine.yaml").write_text(MACHINE)
    done = subprocess.run(
        [sys.executable, "-c", START, str(directory / "agent.toml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return frozenset(done.stdout.split())


@pytest.mark.parametrize("library", ["httpx", "httpcore", "rich", "pygments"])
def test_an_agent_starts_without_what_only_some_of_its_work_needs(loaded, library):
    assert library not in loaded


def test_the_list_is_that_of_a_running_agent(loaded):
    assert {"mra.app", "mra.machines.watchers.archive", "mra.uplink.service", "nats"} <= loaded
