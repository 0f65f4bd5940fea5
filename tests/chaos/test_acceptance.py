"""SIGKILL of those who hand rows in and of the daemon that takes them, in the middle of it."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest
import trio

from mra.outbox import sqlite
from mra.outbox.record import Lane
from tests.chaos.ending import count_perfect, drained
from tests.harness.ledger import LedgerWriter, Row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.harness.saas import Saas
    from tests.harness.site import Site

pytestmark = pytest.mark.chaos
QUIET = {"facts": {"enabled": False}}
LOST_ANSWERS = 3  # of each kind
DAEMON_KILLS = 8


def bodies_of(database: Path) -> dict[str, int]:
    """How often the row of each id lies in the outbox; rows whose bodies are no test rows are left out."""
    found: dict[str, int] = {}
    with closing(sqlite.connect_readonly(database)) as connection:
        for lane in Lane:
            for (body,) in connection.execute(f"SELECT body FROM row_{lane.value}"):
                if row := Row.from_body(body):
                    found[row.id] = found.get(row.id, 0) + 1
    return found


class Submitter:
    """Hands rows in with `mra submit`, one process a row, in turn; writes those answered into the site's ledger."""

    def __init__(self, site: Site, name: str) -> None:
        self._site = site
        self._name = name
        self._file = site.directory / f"{name}.row"
        self._ledger = LedgerWriter(site.ledger)
        self._number = 0

    def close(self) -> None:
        """Close its ledger."""
        self._ledger.close()

    def next(self) -> Row:
        """A row that is about to be submitted."""
        self._number += 1
        row = Row.new(Lane.SUBMISSIONS.value, self._name, self._number)
        self._file.write_bytes(row.body())
        return row

    def _arguments(self, row: Row) -> list[str]:
        return ["submit", "tested.rows", str(self._file), "--id", row.id, "--json"]

    @asynccontextmanager
    async def running(self, row: Row, stdout: int) -> AsyncIterator[trio.Process]:
        """The command as a process; leaving the block kills it."""
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "mra.cli.main", *self._arguments(row)],
            stdout=stdout,
            env={**os.environ, **self._site.environment, "MRA_CONFIG": str(self._site.config)},
        )
        try:
            yield process
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()

    async def submit(self, row: Row) -> dict[str, Any]:
        """Submit it and record that it was accepted; the receipt."""
        done = await self._site.mra(*self._arguments(row))
        receipt: dict[str, Any] = json.loads(done.stdout)
        self._ledger.accepted([row])
        return receipt


@asynccontextmanager
async def deaf_reader() -> AsyncIterator[int]:
    """A pipe that takes no byte: who writes an answer into it has done its work, and waits."""
    reading, writing = os.pipe()
    flags = fcntl.fcntl(writing, fcntl.F_GETFL)
    fcntl.fcntl(writing, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    try:
        while True:
            os.write(writing, bytes(4096))
    except BlockingIOError:
        fcntl.fcntl(writing, fcntl.F_SETFL, flags)
    try:
        yield writing
    finally:
        os.close(writing)
        os.close(reading)


async def lose_answer(site: Site, submitter: Submitter) -> None:
    """Kill `mra submit` after its commit and before its answer; then submit the same row twice more."""
    row = submitter.next()
    async with deaf_reader() as pipe, submitter.running(row, pipe) as process:
        with trio.fail_after(20):
            while row.id not in bodies_of(site.database):  # noqa: ASYNC110 - the database is another process's
                await trio.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
    first, second = await submitter.submit(row), await submitter.submit(row)
    assert first["repeated"]
    assert second == first


async def test_a_submission_whose_answer_was_lost_is_accepted_once_when_repeated(saas: Saas, site: Site) -> None:
    site.configure(QUIET)
    await site.start()
    await site.terminate()
    with closing(Submitter(site, "unanswered")) as submitter:
        for _ in range(LOST_ANSWERS):  # the daemon is down
            await lose_answer(site, submitter)
        await site.start()
        for _ in range(LOST_ANSWERS):  # it is up, and sends the row before it is repeated
            await lose_answer(site, submitter)
    await drained(site)
    assert await count_perfect("answers lost", saas, site.accepted()) == 2 * LOST_ANSWERS


async def submit_until(stop: trio.Event, site: Site, name: str, moments: random.Random) -> None:
    """Submit row after row, and kill half of the processes at any moment of theirs; each row is then repeated."""
    with closing(Submitter(site, name)) as submitter:
        while not stop.is_set():
            row = submitter.next()
            if moments.random() < 0.5:
                async with submitter.running(row, subprocess.DEVNULL) as process:
                    with trio.move_on_after(moments.uniform(0.1, 0.6)):
                        await process.wait()
            await submitter.submit(row)


@pytest.mark.timeout(150)
async def test_kills_of_everybody_at_once_lose_nothing_acknowledged(saas: Saas, site: Site) -> None:
    """Two producer processes, two chains of `mra submit` and producers in the daemon, all of them killed."""
    site.configure(QUIET)
    moments = random.Random(11)
    await saas.kill()
    await site.start(load=site.load(group=5, pause=0.05))
    stop = trio.Event()
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            for name in ("first", "second"):
                nursery.start_soon(submit_until, stop, site, name, moments)
            beside = [site.start_producer(site.load(group=5, pause=0.03)) for _ in range(2)]
            for number in range(DAEMON_KILLS):
                await trio.sleep(moments.uniform(0.1, 0.5))
                acknowledged = {row.id for row in site.accepted()}
                await beside[number % 2].kill()
                await site.kill()
                stored = await trio.to_thread.run_sync(bodies_of, site.database)
                assert acknowledged <= stored.keys(), "an acknowledged row is not in the outbox"
                assert set(stored.values()) == {1}
                beside[number % 2] = site.start_producer(site.load(group=5, pause=0.03))
                await site.start(load=site.load(group=5, pause=0.05))
            stop.set()
    for producer in beside:
        await producer.kill()
    await site.kill()
    acknowledged = {row.id for row in site.accepted()}
    assert acknowledged <= bodies_of(site.database).keys()
    await saas.start()
    await site.start()
    await drained(site)
    await count_perfect(f"{DAEMON_KILLS} kills of everybody", saas, site.accepted(), at_least=1000)
    assert (await site.mra("outbox", "verify")).returncode == 0
