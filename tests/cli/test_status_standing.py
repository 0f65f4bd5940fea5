"""`mra status` with the daemon up, down, and there without answering."""

from __future__ import annotations

import json
import os
import socket
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from mra.app import run_agent
from mra.lock import daemon_lock
from mra.outbox.record import Draft, Lane
from mra.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cli.conftest import Done, Shell
    from tests.outbox.desk import Desk


@pytest.fixture
async def running(shell: Shell) -> AsyncIterator[Shell]:
    """A daemon without a SaaS, with one event that waits."""
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        outbox = await nursery.start(run_agent, read_settings(shell.config), stop)
        await outbox.append(Draft(Lane.SUBMISSIONS, "a.b", b"x"))
        yield shell
        stop.set()


async def mra(shell: Shell, *words: str) -> Done:
    return await trio.to_thread.run_sync(partial(shell.mra, *words))


async def test_a_running_daemon_tells_of_itself(running: Shell) -> None:
    done = await mra(running, "status", "--json")
    document = json.loads(done.out)
    assert (done.status, document["running"], document["pid"]) == (0, True, os.getpid())
    assert set(document["lanes"]) == set(Lane)
    assert document["lanes"]["submissions"]["waiting"] == 1
    assert document["uptime"] >= 0
    assert document["services"]["uplink"]["state"] == "running"
    people = (await mra(running, "status")).out
    assert f"site1  running (process {os.getpid()}, up " in people
    assert "submissions" in people


async def test_the_task_tree_is_shown(running: Shell) -> None:
    tree = (await mra(running, "status", "--tree")).out
    assert [name for name in ("outbox writer", "uplink", "control", "upkeep") if name not in tree] == []
    assert json.loads((await mra(running, "status", "--tree", "--json")).out)


def test_what_waits_is_shown_with_the_daemon_down(shell: Shell, desk: Desk) -> None:
    desk.accept(Lane.EVENTS, b"one", b"two")
    done = shell.mra("status", "--json")
    document = json.loads(done.out)
    assert (done.status, document["running"], document["link"]["state"]) == (0, False, "down")
    assert (document["lanes"]["events"]["waiting"], document["lanes"]["metrics"]["waiting"]) == (2, 0)
    assert "pid" not in document
    assert "site1  not running" in shell.mra("status").out


def test_there_is_no_tree_of_a_daemon_that_is_down(shell: Shell, desk: Desk) -> None:
    assert "start it with `mra run`" in shell.mra("status", "--tree").complains(75)


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("listens", [False, True])
def test_a_daemon_that_does_not_answer_is_not_called_down(shell: Shell, listens: bool) -> None:
    settings = read_settings(shell.config)
    with daemon_lock(settings.lock), closing(socket.socket(socket.AF_UNIX)) as listener:
        if listens:
            listener.bind(str(settings.socket))
            listener.listen(0)
            listener.shutdown(socket.SHUT_RDWR)
        document = json.loads(shell.mra("status", "--json").out)
        assert (document["running"], document["pid"]) == (True, os.getpid())
        assert "does not answer" in document["link"]["last_error"]
        assert f"running (process {os.getpid()}, no answer)" in shell.mra("status").out


def test_before_the_first_start_there_is_nothing_to_show(shell: Shell) -> None:
    assert "There is no outbox" in shell.mra("status").complains(2)
    assert not shell.database.parent.exists()
