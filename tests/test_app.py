"""The agent as a whole, in this process, without a SaaS: what it starts, what it stops, what stays behind."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from mra.aio.session import Access, open_session
from mra.app import run_agent
from mra.control import ask_daemon
from mra.errors import BadInput, Refused
from mra.governors.governors import Governors
from mra.governors.slots import Capacity
from mra.machinery import build_fleet
from mra.options import Options
from mra.outbox import sqlite
from mra.outbox.outbox import open_outbox
from mra.saas import governors
from mra.saas.config import put
from mra.settings import read_settings
from tests.harness.saas import open_saas

LAB = Path(__file__).parents[1] / "lab" / "agent"
CONFIG = """
[agent]
name = "site1"
state = "state"

[saas]
urls = ["nats://127.0.0.1:1"]

[outbox]
min_free = 0
ballast = 0
"""


@pytest.fixture
def config(tmp_path) -> Path:
    file = tmp_path / "agent.toml"
    file.write_text(CONFIG)
    return file


@asynccontextmanager
async def running(config: Path, *options: Any):
    """An agent that is stopped in order when the block is left."""
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(run_agent, read_settings(config), stop, *options)
        with trio.fail_after(20):
            yield read_settings(config)
        stop.set()


def rows(config: Path, lane: str) -> list[tuple[str, Any]]:
    """Subjects and bodies of a lane, read beside the daemon.

    By the daemon's own SQLite: a second copy of the library in one process would drop the locks of the first.
    """
    with closing(sqlite.connect_readonly(read_settings(config).database)) as connection:
        found = connection.execute(f"SELECT subject, body FROM row_{lane} ORDER BY seq").fetchall()
    return [(subject, json.loads(body)) for subject, body in found]


async def wait_for(condition) -> None:
    """Look again until it holds, within the caller's deadline: the outbox is another thread's."""
    while not condition():  # noqa: ASYNC110 - no event tells what a file holds
        await trio.sleep(0.02)


async def test_a_run_leaves_its_start_and_its_stop_in_the_outbox(config):
    async with running(config):
        await wait_for(lambda: rows(config, "events"))
    told = [subject.split(".")[2] for subject, _ in rows(config, "events")]
    assert [each for each in told if each != "alive"] == ["startup", "shutdown"]  # its first minute is a random one


async def test_the_facts_go_out_and_can_be_asked_for(config):
    async with running(config) as settings:
        await wait_for(lambda: rows(config, "nodes"))
        told = await trio.to_thread.run_sync(ask_daemon, settings.socket, "facts")
    (subject, event), *_ = rows(config, "nodes")
    assert subject == event["data"]["facts"]["machine_room"]["identity"] == told["machine_room"]["identity"] == "site1"
    assert (settings.state / "facts.json").stat().st_mode & 0o777 == 0o600


async def test_facts_can_be_switched_off(config):
    config.write_text(CONFIG + "[facts]\nenabled = false\n")
    async with running(config):
        await wait_for(lambda: rows(config, "events"))
    assert not rows(config, "nodes")


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ('[facts]\nskip = ["moon"]', "agent.toml: There is no group of facts 'moon'"),
        ('[facts]\nrefresh = "soon"', "agent.toml: facts.refresh is 'soon'"),
        ('[facts]\nfull = "0s"', "agent.toml: facts.full is 0"),
        ('[submit]\nmode = "rw"', "agent.toml: submit.mode is 'rw'"),
        ('[machines]\nsigning_key = "abc"', "agent.toml: machines.signing_key is 'abc'"),
        ('[machines]\nextra_ca = "nowhere.pem"', "agent.toml: machines.extra_ca is '"),
        ('[machines]\nscan = "10ms"', "agent.toml: machines.scan is '10ms': use 1s to 1h"),
        ("[facts]\nall = true", "agent.toml: unknown key 'all'"),
    ],
)
def test_a_mistake_in_a_section_names_the_file_and_the_key(config, lines, complaint):
    config.write_text(CONFIG + lines)
    with pytest.raises(BadInput) as refused:
        read_settings(config)
    assert complaint in refused.value.sentence
    assert refused.value.sentence.count("agent.toml") == 1


def test_what_the_sample_shows_is_what_holds_without_it(tmp_path):
    sample = (LAB / "agent.toml").read_text()
    (tmp_path / "acme.password").write_text("secret")
    (tmp_path / "whole.toml").write_text(sample)
    (tmp_path / "short.toml").write_text(sample[: sample.index("[outbox]")])
    assert read_settings(tmp_path / "whole.toml") == read_settings(tmp_path / "short.toml")


MACHINE = """\
name: pump
version: 1.0.0
initial_state: "off"
transitions:
  - {name: start, from: ["off"], destination: "on"}
watchers:
  - name: orders
    type: kv
    interval: 1s
    state_match: ["off"]
    success_transition: start
    properties: {bucket: CONFIG, key: limits}
"""


def machine_states(config: Path) -> dict[str, str]:
    with closing(sqlite.connect_readonly(read_settings(config).database)) as connection:
        return dict(connection.execute("SELECT name, state FROM v_machines").fetchall())


def put_machine(config: Path, manifest: str = MACHINE) -> None:
    directory = config.parent / "state" / "machines" / "pump"
    directory.mkdir(parents=True)
    (directory / "machine.yaml").write_text(manifest)


async def test_the_state_of_a_machine_is_stored_in_the_transaction_of_its_event(config):
    put_machine(config)
    async with running(config) as settings:
        await wait_for(lambda: machine_states(config) == {"pump": "off"})
        fire = partial(ask_daemon, settings.socket, "machines.transition", {"name": "pump", "event": "start"})
        await trio.to_thread.run_sync(fire)
        assert machine_states(config) == {"pump": "on"}
        assert [subject for subject, _ in rows(config, "events") if subject == "machine.transition"]


@pytest.mark.lab
async def test_a_machine_follows_orders_of_the_saas_and_finds_them_again_without_it(config, tmp_path):
    put_machine(config)
    async with open_saas(tmp_path / "saas") as saas:
        backend = Access((saas.url,), "saas-tool", saas.backend.user, saas.backend.password)
        async with open_session(backend) as session:
            await put(session, "acme", "limits", b'{"pressure": 7}')
        (tmp_path / "password").write_text(saas.site.password)
        lines = f'urls = ["{saas.url}"]\nuser = "{saas.site.user}"\npassword_file = "password"\ncustomer = "acme"'
        config.write_text(CONFIG.replace('urls = ["nats://127.0.0.1:1"]', lines))
        async with running(config) as settings:
            await wait_for(lambda: machine_states(config).get("pump") == "on")
            told = await trio.to_thread.run_sync(ask_daemon, settings.socket, "status")
        assert (told["desired"]["state"], told["desired"]["keys"]) == ("following", 1)
    data = tmp_path / "state" / "machines" / "pump" / "machine_data.json"
    assert json.loads(data.read_text()) == {"CONFIG_limits": {"pressure": 7}}
    data.unlink()
    async with running(config):
        await wait_for(data.exists)
    assert json.loads(data.read_text()) == {"CONFIG_limits": {"pressure": 7}}


GOVERNED = """\
name: pump
version: 1.0.0
initial_state: idle
transitions:
  - {name: filled, from: [idle], destination: full}
  - {name: turned_away, from: [idle], destination: away}
watchers:
  - name: refill
    type: exec
    interval: 500ms
    state_match: [idle]
    success_transition: filled
    fail_transition: turned_away
    properties: {command: touch refilled, timeout: 20s, governor: REFILL, governor_timeout: GOVERNOR_TIMEOUT}
"""


def governor_events(config: Path) -> list[tuple[str, bool]]:
    """What became of slots, and whether there was one."""
    data = [event["data"] for subject, event in rows(config, "events") if "governor" in subject]
    return [(each["event_type"], each["sequence"] > 0) for each in data]


@pytest.mark.lab
async def test_a_machine_acts_while_it_holds_a_slot_of_its_governor(config, tmp_path):
    put_machine(config, GOVERNED.replace("GOVERNOR_TIMEOUT", "20s"))
    async with open_saas(tmp_path / "saas") as saas:
        backend = Access((saas.url,), "saas-tool", saas.backend.user, saas.backend.password)
        async with open_session(backend) as session:
            await governors.put(session, "acme", "REFILL", Capacity(1, 60))
            (tmp_path / "password").write_text(saas.site.password)
            lines = f'urls = ["{saas.url}"]\nuser = "{saas.site.user}"\npassword_file = "password"'
            config.write_text(CONFIG.replace('urls = ["nats://127.0.0.1:1"]', lines))
            async with running(config):
                await wait_for(lambda: machine_states(config).get("pump") == "full")
            assert [each.held for each in await governors.ls(session)] == [[]]
    assert governor_events(config) == [("enter", True), ("exit", True)]
    assert (tmp_path / "state" / "machines" / "pump" / "refilled").exists()


async def test_the_status_names_who_waits_for_a_slot(config):
    put_machine(config, GOVERNED.replace("GOVERNOR_TIMEOUT", "10m"))

    async def waiting(settings):
        told = await trio.to_thread.run_sync(ask_daemon, settings.socket, "status")
        return told["governors"]

    async with running(config) as settings:
        while not (told := await waiting(settings))["waiting"]:  # noqa: ASYNC110 - nothing tells of it
            await trio.sleep(0.02)
    holder = "Auto Agent  pump#refill @ site1"
    assert told == {"held": [], "waiting": [{"governor": "REFILL", "holder": holder}]}


async def test_a_machine_that_needs_a_slot_does_not_act_offline_and_reports_it(config, tmp_path):
    put_machine(config, GOVERNED.replace("GOVERNOR_TIMEOUT", "200ms"))
    async with running(config):
        await wait_for(lambda: machine_states(config).get("pump") == "away")
    assert governor_events(config) == [("timeouts", False)]
    assert not (tmp_path / "state" / "machines" / "pump" / "refilled").exists()


async def test_a_deployed_machine_that_cannot_run_is_refused_before_it_takes_the_place_of_another(config, tmp_path):
    settings = read_settings(config)
    async with open_outbox(settings.database, settings.outbox) as outbox:
        trials = build_fleet(settings, Options(), outbox, None, Governors(), dict, dict)._services.trials
        (tmp_path / "machine.yaml").write_text(MACHINE)
        trials.check(tmp_path)
        (tmp_path / "machine.yaml").write_text(MACHINE.replace("type: kv", "type: moon"))
        with pytest.raises(Refused, match="there is no watcher type 'moon'"):
            trials.check(tmp_path)
