"""The outbox as the daemon's tasks see it: append, wait, and the units that the uplink runs.

Group commit: everything that arrives while one transaction runs goes into the next one. A producer waits for the
commit that carries its record, and for nothing else.
"""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import trio

from mra import clock
from mra.aio.database import Database, open_database
from mra.errors import MraError, StoreBroken
from mra.log import logger
from mra.outbox import doubt, salvage, sqlite, store, verification
from mra.outbox.ballast import Ballast
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
_LARGEST_GROUP = 4096  # records in one commit: bounds how long one transaction takes
_HEAVIEST_GROUP = 16 * 1024 * 1024  # bytes of bodies, likewise
_STOPPING = "The agent is stopping: append again after its restart."


class _Ticket:
    """One producer's request on its way through the writer."""

    __slots__ = ("outcome", "request", "size", "task")

    def __init__(self, request: store.Request, task: trio.lowlevel.Task) -> None:
        self.request = request
        self.size = sum(len(draft.body) for draft in request.drafts)
        self.task: trio.lowlevel.Task | None = task  # None once it was answered, or its producer was cancelled
        self.outcome: store.Outcome | None = None


class Outbox:
    """Where events, metrics, node reports and submissions rest until the SaaS holds them."""

    def __init__(self, path: Path, settings: OutboxSettings, writer: Database, reader: Database) -> None:
        self.path = path
        self.settings = settings
        self.ballast = ballast_of(path, settings)
        self._writer = writer
        self._reader = reader
        self._queue: deque[_Ticket] = deque()
        self._queued = trio.Event()
        self._is_stopped = False
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
        if self._is_stopped:
            raise StoreBroken(_STOPPING)
        ticket = _Ticket(store.Request(drafts, also), trio.lowlevel.current_task())
        self._queue.append(ticket)
        self._queued.set()

        def abort(_: object) -> trio.lowlevel.Abort:
            ticket.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        outcome = ticket.outcome
        if isinstance(outcome, Exception):
            raise outcome
        assert outcome is not None
        return outcome

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
        try:
            while True:
                await self._queued.wait()
                self._queued = trio.Event()
                while group := self._next_group():
                    await self._commit(group)
        finally:
            self._is_stopped = True
            self._answer(list(self._queue), StoreBroken(_STOPPING))
            self._queue.clear()

    def _next_group(self) -> list[_Ticket]:
        """Tickets for one commit, oldest first. Those whose producer was cancelled meanwhile are dropped."""
        group: list[_Ticket] = []
        rows = size = 0
        while self._queue and rows < _LARGEST_GROUP and size < _HEAVIEST_GROUP:
            ticket = self._queue.popleft()
            if ticket.task is not None:
                group.append(ticket)
                rows += len(ticket.request.drafts)
                size += ticket.size
        return group

    async def _commit(self, group: Sequence[_Ticket]) -> None:
        requests = [ticket.request for ticket in group]
        try:
            outcomes = await self._run(self._writer, store.accept, self.path, requests, self.settings, clock.now())
        except MraError as error:
            self._answer(group, error)
        except BaseException:
            self._answer(group, StoreBroken("The append ended unexpectedly: its outcome is unknown."))
            raise
        else:
            for ticket, outcome in zip(group, outcomes, strict=True):
                self._settle(ticket, outcome)
            self.wake({receipt.lane for outcome in outcomes if isinstance(outcome, list) for receipt in outcome})

    def _answer(self, group: Iterable[_Ticket], error: MraError) -> None:
        """The same bad news for everyone, each in an object of its own: tasks that share one mix their tracebacks."""
        for ticket in group:
            copy = type(error)(*error.args)
            copy.__cause__ = error
            self._settle(ticket, copy)

    def _settle(self, ticket: _Ticket, outcome: store.Outcome) -> None:
        ticket.outcome = outcome
        if ticket.task is not None:
            trio.lowlevel.reschedule(ticket.task)
            ticket.task = None

    async def _mend(self, error: StoreBroken, generation: int) -> bool:
        """Reopen the file after an error that may have left the connection's picture of it wrong; salvage damage.

        Return whether that was done. When it fails too, the file stays closed, and the next unit tries again.
        """
        is_mended = False
        with trio.CancelScope(shield=True):
            async with self._mending:
                if self._generation != generation or self._is_stopped:
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
