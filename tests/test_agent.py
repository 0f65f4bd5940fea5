"""Embedding: a branded agent is the plain one with names, keys and code of its builder."""

from __future__ import annotations

import json
import os
import sys
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import click
import pytest
import trio

from mra import Agent, CompiledMachine, Options
from mra.app import run_agent
from mra.control import ask_daemon
from mra.errors import BadInput
from mra.machines.watchers.base import Watcher
from mra.machines.watchers.timer import TimerWatcher
from mra.outbox import sqlite
from mra.outbox.record import Draft, Lane
from mra.settings import read_settings
from tests.harness.processes import open_child

ROOT = Path(__file__).parents[1]
BRANDED = ROOT / "lab" / "agent" / "branded.py"
KEY = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
VALVE = """\
name: valve
version: 1.0.0
initial_state: "shut"
transitions: [{name: open, from: ["shut"], destination: "open"}]
watchers: [{name: w, type: nothing}]
"""


class Nothing(Watcher):
    """Watches nothing."""

    kind = "nothing"

    async def run(self):
        await trio.sleep_forever()

    def report(self):
        return {}


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "agent.toml"
    file.write_text(
        '[agent]\nname = "site1"\nstate = "state"\n[saas]\nurls = ["nats://127.0.0.1:1"]\n'
        '[outbox]\nmin_free = 0\nballast = 0\n[machines]\ndeny = ["here"]\n'
    )
    return file


@asynccontextmanager
async def running(config, options):
    settings, stop = read_settings(config), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(run_agent, settings, stop, options)
        with trio.fail_after(20):
            yield settings
        stop.set()


async def ask_until(settings, what, holds):
    """Ask the daemon again until its answer is as expected, within the caller's deadline."""
    while not holds(found := await trio.to_thread.run_sync(ask_daemon, settings.socket, what)):  # noqa: ASYNC110
        await trio.sleep(0.02)
    return found


def conditions(found):
    return {each["name"]: each["condition"] for each in found}


async def test_watchers_and_machines_of_the_builder_run_unless_they_are_denied(config):
    names = ("valve", "there", "here")
    machines = [CompiledMachine(name, VALVE.replace("name: valve", f"name: {name}")) for name in names]
    options = Options(watchers=[Nothing], machines=machines, deny=frozenset({"there"}))
    async with running(config, options) as settings:
        found = await ask_until(settings, "machines.ls", lambda found: "running" in conditions(found).values())
    assert conditions(found) == {"valve": "running", "there": "denied", "here": "denied"}


@pytest.mark.parametrize(
    ("customer", "options", "condition"),
    [
        (True, Options(signing_key=KEY), "running"),
        (True, Options(signing_key=KEY, deny=frozenset({"machines_manager"})), "denied"),
        (True, Options(), None),
        (False, Options(signing_key=KEY), None),
    ],
)
async def test_plugins_are_managed_where_they_are_signed_and_ordered(config, customer, options, condition):
    if customer:
        config.write_text(config.read_text().replace("[saas]\n", '[saas]\ncustomer = "acme"\n'))
    options = replace(options, machines=[CompiledMachine("valve", VALVE)], watchers=[Nothing])
    async with running(config, options) as settings:
        found = await ask_until(settings, "machines.ls", lambda found: conditions(found).get("valve") == "running")
    assert conditions(found) == {"valve": "running"} | ({"machines_manager": condition} if condition else {})


async def test_a_machine_of_the_builder_may_take_the_place_of_the_manager(config):
    config.write_text(config.read_text().replace("[saas]\n", '[saas]\ncustomer = "acme"\n'))
    own = CompiledMachine("machines_manager", VALVE.replace("name: valve", "name: machines_manager"))
    async with running(config, Options(signing_key=KEY, machines=[own], watchers=[Nothing])) as settings:
        found = await ask_until(settings, "machines.ls", lambda found: "running" in conditions(found).values())
    assert [(each["name"], each["version"]) for each in found] == [("machines_manager", "1.0.0")]


async def test_the_facts_hook_and_the_brand_are_in_the_facts(config):
    async def shift():
        return {"shift": "night"}

    async with running(config, Options("acme", "7.1.0", "help@acme.example", facts=shift)) as settings:
        facts = await ask_until(settings, "facts", bool)  # empty before the first look
    room = facts["machine_room"]
    assert room["additional_facts"] == {"shift": "night"}
    assert room["options"] == {"name": "acme", "version": "7.1.0", "contact": "help@acme.example"}


async def test_the_ready_hook_can_append_and_its_failure_costs_nothing_else(config):
    ready = trio.Event()

    async def hook(running):
        await running.append(Draft(Lane.SUBMISSIONS, "app.ready", b"x"))
        ready.set()
        raise RuntimeError("a fault of the builder")

    async with running(config, Options(ready=hook)) as settings:
        await ready.wait()
        assert (await ask_until(settings, "status", bool))["lanes"]["submissions"]["accepted"] == 1


def test_a_command_of_the_builder_stands_beside_the_others(config, capsys):
    @click.command(help="Say hello.")
    def hello():
        click.echo("hello")

    agent = Agent(Options("acme", "7.1.0", "help@acme.example", commands=[hello]))
    assert agent.invoke(["hello"]) == 0
    assert agent.invoke(["--version"]) == 0
    assert agent.invoke(["--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("hello\nacme, version 7.1.0 (mra ")
    assert all(text in out for text in ("Usage: acme", "hello", "submit", "Contact: help@acme.example"))


def test_a_brand_has_a_configuration_of_its_own(capsys):
    assert Agent(Options("acme")).invoke(["status"]) == 2
    assert capsys.readouterr().err.startswith("acme: Cannot read the configuration /etc/acme/agent.toml")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Options(name="a b"),
        lambda: Options(signing_key="abc"),
        lambda: Agent(Options(commands=[click.Command("run")])),
        lambda: Agent(Options(watchers=[TimerWatcher])),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(make):
    with pytest.raises(BadInput):
        make()


async def test_the_branded_agent_of_the_lab_runs_and_tells_its_own_version(config):
    assert len(BRANDED.read_text().splitlines()) <= 20
    command = [sys.executable, str(BRANDED)]
    environment = {"PYTHONPATH": str(ROOT), "MRA_CONFIG": str(config)}
    said = await trio.run_process([*command, "hello"], env={**os.environ, **environment}, capture_stdout=True)
    assert said.stdout == b"Hello from the plant.\n"
    settings = read_settings(config)
    async with open_child([*command, "run"], config.parent / "agent.log", environment) as process:
        with trio.fail_after(90):
            while not settings.socket.exists():  # noqa: ASYNC110 - no event tells of a file
                await trio.sleep(0.02)
            facts = await ask_until(
                settings, "facts", lambda found: "additional_facts" in found.get("machine_room", {})
            )
            assert await process.terminate() == 0
    assert facts["machine_room"]["additional_facts"] == {"shift": "night"}
    with closing(sqlite.connect_readonly(settings.database)) as connection:
        rows = connection.execute(
            "SELECT subject, body FROM row_events WHERE subject LIKE 'lifecycle.event.s%'"
        ).fetchall()
    assert [(subject.split(".")[2], json.loads(body)["data"].get("version")) for subject, body in rows] == [
        ("startup", "7.1.0"),
        ("shutdown", None),
    ]
