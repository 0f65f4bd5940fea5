"""SQLite in Trio's voice.

The unit is a function of a connection, run whole in aiosqlite's thread: there is no await inside a transaction, so no
cancellation can leave one open for the next caller to join. A unit that has begun always finishes (aiosqlite would
finish it behind a cancelled caller's back anyway); the caller then sees the truth.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import aiosqlite
import trio

from mra.aio.loop import Loop, open_loop
from mra.errors import StoreBroken
from mra.outbox.sqlite import Error, translate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from mra.outbox.sqlite import Connection

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """One connection in a thread of its own."""

    def __init__(self, loop: Loop, path: Path, connector: Callable[[], Connection]) -> None:
        self._loop = loop
        self._path = path
        self._connector = connector
        self._connection: aiosqlite.Connection | None = None

    async def run(self, unit: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `unit(connection, ...)` in the database thread and return what it returns.

        Raises StoreBroken (or DiskFull, Damaged, Busy) for SQLite's errors and while the database is closed; other
        exceptions of the unit pass through.
        Not cancellable once called: the unit is a transaction, and transactions end.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        connection = self._connection
        if connection is None:
            raise StoreBroken(f"{self._path} is closed: try again when it has been reopened.")
        try:
            with trio.CancelScope(shield=True):
                # aiosqlite offers statements one by one; whole functions in its thread are what `_execute` runs.
                result: T = await self._loop.call(connection._execute, unit, connection._conn, *args, **kwargs)  # noqa: SLF001
        except Error as error:
            raise translate(error, self._path) from error
        return result

    async def reopen(self) -> None:
        """Close the connection, if there is one, and make a new one; raises what the connector raises."""
        await self.aclose()
        with trio.CancelScope(shield=True):
            connection = aiosqlite.Connection(self._connector, 64)
            try:
                self._connection = await self._loop.call(_connected, connection)
            except BaseException as error:
                # aiosqlite stops its thread without waiting, and the thread would find the loop gone.
                await trio.to_thread.run_sync(connection._thread.join)  # noqa: SLF001
                if isinstance(error, Error):
                    raise translate(error, self._path) from error
                raise

    async def aclose(self) -> None:
        """Close the connection and end its thread; an unclosed one would keep the interpreter from exiting."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with trio.CancelScope(shield=True):
            try:
                await self._loop.call(connection.close)
            except Error as error:
                raise translate(error, self._path) from error


async def _connected(connection: aiosqlite.Connection) -> aiosqlite.Connection:
    return await connection


@asynccontextmanager
async def open_database(path: Path, connector: Callable[[], Connection]) -> AsyncIterator[Database]:
    """Open a database whose connection `connector()` makes, and close it when the block is left."""
    async with open_loop() as loop:
        database = Database(loop, path, connector)
        await database.reopen()
        try:
            yield database
        finally:
            await database.aclose()
