"""An agent before it is enrolled, in this process, with nobody there to enrol it."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Any

import pytest
import trio

from mra.app import run_agent
from mra.control import ask_daemon
from mra.outbox import sqlite
from mra.outbox.record import Draft, Lane
from mra.settings import read_settings
from mra.tokens import choria
from mra.tokens.ed25519 import SigningKey

CONFIG = """
[agent]
name = "n1"

[outbox]
min_free = 0
ballast = 0

[uplink]
retry_first = "20ms"
retry_cap = "50ms"
"""


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "agent.toml"
    file.write_text(CONFIG)
    text = choria.mint(
        choria.Provisioning(urls=("nats://127.0.0.1:1",), extensions={"customer": "acme"}),
        SigningKey.generate(),
        now=time.time(),
        validity=3600,
        random=bytes(16),
    )
    (tmp_path / "provisioning.jwt").write_text(text)
    return file


@asynccontextmanager
async def running(config):
    """The agent's outbox and a way to ask the agent; it is stopped in order when the block is left."""
    stop, settings = trio.Event(), read_settings(config)
    async with trio.open_nursery() as nursery:
        outbox = await nursery.start(run_agent, settings, stop)

        async def ask(what: str) -> Any:
            return await trio.to_thread.run_sync(partial(ask_daemon, settings.socket, what))

        with trio.fail_after(20):
            yield outbox, ask
        stop.set()


def events(config) -> list[str]:
    with closing(sqlite.connect_readonly(read_settings(config).database)) as connection:
        found = connection.execute("SELECT subject FROM row_events ORDER BY seq").fetchall()
    return [subject.removeprefix("lifecycle.event.") for (subject,) in found if "alive" not in subject]


async def wait_tried(ask) -> None:
    """Until an attempt has failed."""
    while not (await ask("provision"))["attempts"]:  # noqa: ASYNC110 - the daemon tells no event
        await trio.sleep(0.02)


async def test_it_takes_records_tells_of_itself_and_stops_in_order(config):
    async with running(config) as (outbox, _):
        await outbox.append(Draft(Lane.SUBMISSIONS, "app.orders", b"{}"))
        while "startup.provision_mode_server" not in events(config):  # noqa: ASYNC110 - another thread's file
            await trio.sleep(0.02)
    assert events(config) == ["startup.provision_mode_server", "shutdown.provision_mode_server"]
    assert read_settings(config).lock.exists()
    with closing(sqlite.connect_readonly(read_settings(config).database)) as connection:
        assert connection.execute("SELECT waiting FROM v_lanes WHERE lane = 'submissions'").fetchone() == (1,)


async def test_it_says_why_it_is_not_enrolled(config):
    async with running(config) as (_, ask):
        await wait_tried(ask)
        told, status = await ask("provision"), await ask("status")
        assert "127.0.0.1:1" in told["last_error"]
        assert status["link"]["state"] == "enrolling"
        assert "127.0.0.1:1" in status["link"]["last_error"]
        assert (await ask("facts"))["machine_room"]["identity"] == "n1"


async def test_it_waits_for_a_token_that_is_not_there_yet(config):
    config.with_name("provisioning.jwt").unlink()
    async with running(config) as (_, ask):
        await wait_tried(ask)
        assert "no provisioning token" in (await ask("provision"))["last_error"]


async def test_it_keeps_the_keys_that_it_made(config):
    directory = read_settings(config).enrol.directory
    made = []
    for _ in range(2):
        async with running(config) as (_, ask):
            await wait_tried(ask)
        made.append([(directory / name).read_text() for name in ("server.seed", "nats.nkey", "request")])
    assert made[0] == made[1]
