"""One connection in one thread: units run whole, whoever is cancelled, and nothing outlives the block."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mra.aio.database import Database, open_database
from mra.errors import BadInput, StoreBroken
from mra.outbox import sqlite
from mra.outbox.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    path = tmp_path / "some.db"
    async with open_database(path, lambda: sqlite.connect(path)) as database:
        await database.run(lambda connection: connection.execute("CREATE TABLE t (a INTEGER UNIQUE)"))
        yield database


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def insert(connection: sqlite.Connection, value: int, gate: threading.Event | None = None) -> int:
    with transaction(connection):
        connection.execute("INSERT INTO t VALUES (?)", (value,))
        if gate:
            gate.wait()
    return value


def values(connection: sqlite.Connection) -> list[int]:
    return [value for (value,) in connection.execute("SELECT a FROM t ORDER BY a")]


async def test_a_unit_runs_in_the_database_thread_and_its_result_comes_back(database: Database) -> None:
    assert await database.run(lambda _: threading.current_thread()) is not threading.current_thread()
    assert await database.run(insert, 5) == 5
    assert await database.run(values) == [5]


async def test_a_cancelled_caller_finds_its_transaction_ended_not_open(
    database: Database, gate: threading.Event
) -> None:
    """The next unit joins nothing: it could be answered and lost otherwise."""
    scope = trio.CancelScope()

    async def impatient() -> None:
        with scope:
            await database.run(insert, 1, gate)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        nursery.start_soon(database.run, insert, 2)
        await wait_all_tasks_blocked()
        gate.set()
    assert await database.run(lambda connection: connection.in_transaction) is False
    assert await database.run(values) == [1, 2]


async def test_a_caller_that_is_cancelled_already_starts_nothing(database: Database) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await database.run(insert, 1)
    assert scope.cancelled_caught
    assert await database.run(values) == []


async def test_what_a_unit_raises_passes_and_leaves_nothing_behind(database: Database) -> None:
    def fail(connection: sqlite.Connection) -> None:
        with transaction(connection):
            connection.execute("INSERT INTO t VALUES (1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.run(fail)
    with pytest.raises(StoreBroken, match="UNIQUE"):
        await database.run(lambda connection: [insert(connection, 1), insert(connection, 1)])
    assert await database.run(values) == [1]


async def test_a_closed_database_says_so_and_can_be_reopened(database: Database) -> None:
    await database.run(insert, 1)
    await database.aclose()
    with pytest.raises(StoreBroken, match="closed"):
        await database.run(values)
    await database.reopen()
    assert await database.run(values) == [1]


@pytest.mark.parametrize("error", [BadInput("no"), StoreBroken("no"), ZeroDivisionError()])
async def test_a_connector_that_fails_leaves_no_thread(tmp_path: Path, error: Exception) -> None:
    def fail() -> sqlite.Connection:
        raise error

    before = threading.active_count()
    with pytest.RaisesGroup(type(error), flatten_subgroups=True, allow_unwrapped=True):
        async with open_database(tmp_path / "some.db", fail):
            pass
    await trio.to_thread.run_sync(lambda: [thread.join(5) for thread in extra_threads()])
    assert threading.active_count() <= before + 1  # Trio keeps a worker thread for a while


def extra_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "_connection_worker_thread" in thread.name]


async def test_leaving_the_block_ends_the_thread_even_when_it_is_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    with trio.CancelScope() as scope:
        async with open_database(path, lambda: sqlite.connect(path)):
            assert len(extra_threads()) == 1
            scope.cancel()
            await trio.sleep_forever()
    assert extra_threads() == []
    assert not path.with_name("some.db-wal").exists()


async def test_errors_of_sqlite_come_as_ours_and_tell_what_to_do(database: Database, tmp_path: Path) -> None:
    with pytest.raises(StoreBroken, match=r"no such table") as caught:
        await database.run(lambda connection: connection.execute("SELECT * FROM nowhere"))
    assert str(tmp_path) in str(caught.value)
