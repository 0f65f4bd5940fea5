"""The agent as a whole, in this process, without a SaaS: what it starts, what it stops, what stays behind."""

from __future__ import annotations

import json
import sqlite3
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest
import trio

from mra.app import run_agent
from mra.settings import read_settings

if TYPE_CHECKING:
    from pathlib import Path

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
    """Subjects and bodies of a lane, as anyone can read them beside the daemon."""
    with closing(sqlite3.connect(f"file:{read_settings(config).database}?mode=ro", uri=True)) as connection:
        found = connection.execute(f"SELECT subject, body FROM row_{lane} ORDER BY seq").fetchall()
    return [(subject, json.loads(body)) for subject, body in found]


async def wait_for(condition) -> None:
    """Look again until it holds, within the caller's deadline: the outbox is another thread's."""
    while not condition():  # noqa: ASYNC110 - no event tells what a file holds
        await trio.sleep(0.02)


async def test_a_run_leaves_its_start_and_its_stop_in_the_outbox(config):
    async with running(config):
        await wait_for(lambda: rows(config, "events"))
    assert [subject.split(".")[2] for subject, _ in rows(config, "events")] == ["startup", "shutdown"]
