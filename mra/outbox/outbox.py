"""The outbox as the daemon's tasks see it: append, wait, and the units that the uplink runs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import trio

from mra import clock
from mra.aio.database import Database, open_database
from mra.errors import MraError, StoreBroken
from mra.log import logger
from mra.outbox import doubt, salvage, sqlite, store, verification
from mra.outbox.ballast import Ballast
from mra.outbox.group import GroupCommit
from mra.outbox.opening import prepare
from mra.outbox.record import Draft, Lane, Receipt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from pathlib import Path

    from mra.outbox.policy import OutboxSettings
    from mra.outbox.sqlite import Connection

P = ParamSpec("P")
T = TypeVar("T")

log = logger("outbox")


class Outbox:
    """Where events, metrics, node reports and submissions rest until the SaaS holds them."""

    def __init__(self, path: Path, settings: OutboxSettings, writer: Database, reader: Database) -> None:
        self.path = path
        self.settings = settings
        self.ballast = ballast_of(path, settings)
        self._writer = writer
        self._reader = reader
        self._group = GroupCommit(self._accept)
        self._changed = {lane: trio.Event() for lane in Lane}
        self._progress = trio.Event()
        self._mending = trio.Lock()
        self._generation = 0

    async def append(self, draft: Draft) -> Receipt:
        """Accept one record; returns after it is on disk. See `append_many`."""
        return (await self.append_many((draft,)))[0]

    async def append_many(self, drafts: Sequence[Draft], also: store.Unit | None = None) -> list[Receipt]:
        """Accept records, all or none, in order; returns after the commit that holds them.

        `also(connection)` runs in the same transaction, so a change of state and its event are stored together; what
        it raises is raised here, and nothing was accepted. Raises OutboxFull when there is no room (nothing was
        accepted), BadInput for a record that could never be sent, StoreBroken when SQLite failed: the outcome is then
        unknown, and only a submission repeated under the same id is certain to be accepted once. A caller that is
        cancelled before its commit has begun leaves nothing behind; one that is cancelled later does not know.
        """
        return await self._group.submit(store.Request(drafts, also))

    async def run_unit(self, unit: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a writing unit that must get through (settle, park, prune): a full disk gives up the ballast for it."""
        try:
            result = await self._run(self._writer, unit, *args, **kwargs)
        except sqlite.DiskFull:
            if not self.ballast.release():
                raise
            log.warning("disk full: ballast given up so that draining goes on", path=str(self.path))
            result = await self._run(self._writer, unit, *args, **kwargs)
        self._progress.set()
        self._progress = trio.Event()
        return result

    async def read(self, unit: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a reading unit beside the writer."""
        return await self._run(self._reader, unit, *args, **kwargs)

    async def _run(
        self, database: Database, unit: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a unit; when its error leaves the file in doubt, mend the file before the error goes on its way."""
        if self._mending.locked():
            async with self._mending:
                pass
        generation = self._generation
        try:
            return await database.run(unit, *args, **kwargs)
        except sqlite.DiskFull:
            raise  # rolled back; the connection is as good as before
        except StoreBroken as error:
            await self._mend(error, generation)
            raise

    def wake(self, lanes: Iterable[Lane] = Lane) -> None:
        """Tell those who wait for rows of `lanes` that there may be some (another process may have written them)."""
        for lane in lanes:
            self._changed[lane].set()
            self._changed[lane] = trio.Event()

    def changed(self, lane: Lane) -> trio.Event:
        """Set at the lane's next change: take it, look at the lane, and wait for it, in this order."""
        return self._changed[lane]

    def progress(self) -> trio.Event:
        """Set at the next unit that changes what is settled: take it, look, and wait for it, in this order."""
        return self._progress

    async def examine(self) -> None:
        """When the file is in doubt (doubt.py), look at it as it lies on the disk, and mend it where it is damaged.

        Our own connections may go on for long with pages that they remember, while every other process is refused.
        The doubt lasts until that is done: when this is cancelled, or the file cannot be mended yet, it is looked at
        again.
        """
        since = doubt.since(self.path)
        if since is None:
            return
        generation = self._generation
        try:
            await trio.to_thread.run_sync(verification.check_pages, self.path)
        except sqlite.Damaged as error:
            if not await self._mend(error, generation):
                return
        doubt.dispel(self.path, since)

    async def wait_empty(self) -> None:
        """Wait until no lane has anything to send; parked rows and held lanes do not count."""
        while True:
            progress = self._progress
            if not await self.read(_waiting):
                return
            await progress.wait()

    async def run_writer(self) -> None:
        """The writer task: one transaction after another, each with everything that has arrived."""
        await self._group.run()

    async def _accept(self, requests: Sequence[store.Request]) -> list[store.Outcome]:
        outcomes = await self._run(self._writer, store.accept, self.path, requests, self.settings, clock.now())
        self.wake({receipt.lane for outcome in outcomes if isinstance(outcome, list) for receipt in outcome})
        return outcomes

    async def _mend(self, error: StoreBroken, generation: int) -> bool:
        """Reopen the file after an error that may have left the connection's picture of it wrong; salvage damage.

        Return whether that was done. When it fails too, the file stays closed, and the next unit tries again.
        """
        is_mended = False
        with trio.CancelScope(shield=True):
            async with self._mending:
                if self._generation != generation or self._group.is_stopped:
                    return False
                self._generation += 1
                log.error("database failed, reopening it", error=str(error))
                try:
                    await self._reader.aclose()
                    await self._writer.aclose()
                    if isinstance(error, sqlite.Damaged):
                        await _salvage(self.path)
                    await self._writer.reopen()
                    await self._reader.reopen()
                    is_mended = True
                except MraError as worse:
                    log.error("reopening the database failed", error=str(worse))
        self.wake()
        return is_mended


def _waiting(connection: Connection) -> int:
    row = connection.execute("SELECT coalesce(sum(waiting), 0) FROM lane WHERE held IS NULL").fetchone()
    return int(row[0])


def ballast_of(path: Path, settings: OutboxSettings) -> Ballast:
    """The space that an outbox sets aside."""
    return Ballast(path.with_name(path.name + ".ballast"), settings.ballast, settings.min_free)


@asynccontextmanager
async def open_outbox(path: Path, settings: OutboxSettings) -> AsyncIterator[Outbox]:
    """Open the outbox and run its writer until the block is left; what is still queued then is answered with an error.

    A damaged file is salvaged first, loudly; a full disk gives up the ballast. Raises what `prepare` raises otherwise.
    """
    await _make_openable(path, settings)
    async with (
        open_database(path, lambda: prepare(path, settings)) as writer,
        open_database(path, lambda: sqlite.connect_readonly(path)) as reader,
        trio.open_nursery() as nursery,
    ):
        outbox = Outbox(path, settings, writer, reader)
        outbox.ballast.set_aside()
        nursery.start_soon(outbox.run_writer, name="outbox writer")
        try:
            yield outbox
        finally:
            nursery.cancel_scope.cancel()


async def _make_openable(path: Path, settings: OutboxSettings) -> None:
    await trio.to_thread.run_sync(salvage.finish, path)
    try:
        prepare(path, settings).close()
    except sqlite.Damaged:
        await _salvage(path)
    except sqlite.DiskFull:
        if not ballast_of(path, settings).release():
            raise
        log.warning("disk full: ballast given up so that the outbox opens", path=str(path))


async def _salvage(path: Path) -> None:
    log.error("database is damaged: salvaging its rows into a new one", path=str(path))
    report = await trio.to_thread.run_sync(salvage.salvage, path)
    log.error("damaged database salvaged", **report.fields())
