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
from mra.outbox import elapsed, salvage, schema, sqlite, store
from mra.outbox.ballast import Ballast
from mra.outbox.record import Draft, Lane, Receipt
from mra.outbox.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from pathlib import Path

    from mra.outbox.policy import OutboxSettings
    from mra.outbox.sqlite import Connection

P = ParamSpec("P")
T = TypeVar("T")

log = logger("outbox")
_LARGEST_GROUP = 4096  # records in one commit: bounds how long one transaction takes


class _Ticket:
    """One producer's request on its way through the writer."""

    __slots__ = ("outcome", "request", "task")

    def __init__(self, request: store.Request, task: trio.lowlevel.Task) -> None:
        self.request = request
        self.task: trio.lowlevel.Task | None = task
        self.outcome: store.Outcome | None = None


class Outbox:
    """Where events, metrics, node reports and submissions rest until the SaaS holds them."""

    def __init__(self, path: Path, settings: OutboxSettings, writer: Database, reader: Database) -> None:
        self.path = path
        self.settings = settings
        self.ballast = Ballast(path.with_name(path.name + ".ballast"), settings.ballast, settings.min_free)
        self._writer = writer
        self._reader = reader
        self._queue: deque[_Ticket] = deque()
        self._queued = trio.Event()
        self._changed = {lane: trio.Event() for lane in Lane}
        self._progress = trio.Event()
        self._mending = trio.Lock()
        self._generation = 0

    async def append(self, draft: Draft) -> Receipt:
        """Accept one record; returns after it is on disk. See `append_many`."""
        return (await self.append_many((draft,)))[0]

    async def append_many(self, drafts: Sequence[Draft], also: store.Unit | None = None) -> list[Receipt]:
        """Accept records, all or none, in order; returns after the commit that holds them.

        `also(connection)` runs in the same transaction, so a change of state and its event are stored together.
        Raises OutboxFull when there is no room (nothing was accepted), BadInput for a record that could never be
        sent, StoreBroken when SQLite failed: the outcome is then unknown, and only a submission repeated under the
        same id is certain to be accepted once. A cancelled caller does not know either.
        """
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
        generation = self._generation
        try:
            result = await self._writer.run(unit, *args, **kwargs)
        except sqlite.DiskFull:
            if not self.ballast.release():
                raise
            log.warning("disk full: ballast given up so that draining goes on", path=str(self.path))
            result = await self._writer.run(unit, *args, **kwargs)
        except StoreBroken as error:
            await self._mend(error, generation)
            raise
        self._progress.set()
        self._progress = trio.Event()
        return result

    async def read(self, unit: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a reading unit beside the writer."""
        generation = self._generation
        try:
            return await self._reader.run(unit, *args, **kwargs)
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
                while self._queue:
                    await self._commit_group()
        finally:
            self._fail_all(StoreBroken("The agent is stopping: append again after its restart."))

    async def _commit_group(self) -> None:
        group: list[_Ticket] = []
        size = 0
        while self._queue and size < _LARGEST_GROUP:
            ticket = self._queue.popleft()
            group.append(ticket)
            size += len(ticket.request.drafts)
        requests = [ticket.request for ticket in group]
        outcomes: Sequence[store.Outcome]
        failed = True
        try:
            outcomes = await self._writer.run(store.accept, self.path, requests, self.settings, clock.now())
            failed = False
        except MraError as error:
            outcomes = [error] * len(group)
            if not isinstance(error, sqlite.DiskFull):
                await self._mend(error, self._generation)
        except BaseException:
            self._answer(group, [StoreBroken("The append ended unexpectedly; its outcome is unknown.")] * len(group))
            raise
        self._answer(group, outcomes)
        if not failed:
            self.wake({draft.lane for ticket in group for draft in ticket.request.drafts})

    def _answer(self, group: Sequence[_Ticket], outcomes: Sequence[store.Outcome]) -> None:
        for ticket, outcome in zip(group, outcomes, strict=True):
            ticket.outcome = outcome
            if ticket.task is not None:
                trio.lowlevel.reschedule(ticket.task)
                ticket.task = None

    def _fail_all(self, error: MraError) -> None:
        group = list(self._queue)
        self._queue.clear()
        self._answer(group, [error] * len(group))

    async def _mend(self, error: Exception, generation: int) -> None:
        """Reopen the file after an error that may have left the connection's picture of it wrong; salvage damage."""
        if not isinstance(error, StoreBroken):
            return
        with trio.CancelScope(shield=True):
            async with self._mending:
                if self._generation != generation:
                    return
                self._generation += 1
                log.error("database failed, reopening it", error=str(error))
                await self._reader.aclose()
                await self._writer.aclose()
                if isinstance(error, sqlite.Damaged):
                    report = await trio.to_thread.run_sync(salvage.salvage, self.path)
                    log.error("damaged database salvaged", **report.fields())
                await self._writer.reopen()
                await self._reader.reopen()
        self.wake()


def _waiting(connection: Connection) -> int:
    row = connection.execute("SELECT coalesce(sum(waiting), 0) FROM lane WHERE held IS NULL").fetchone()
    return int(row[0])


def prepare(path: Path, settings: OutboxSettings) -> Connection:
    """A read-write connection to an up-to-date outbox, created when absent. The caller closes it."""
    schema.secure(path)
    connection = sqlite.connect(path, max_bytes=settings.max_bytes, synchronous=settings.synchronous)
    try:
        schema.migrate(connection, path)
        with transaction(connection):
            elapsed.touch(connection, clock.now())
    except sqlite.Error as error:
        connection.close()
        raise sqlite.translate(error, path) from error
    except BaseException:
        connection.close()
        raise
    return connection


@asynccontextmanager
async def open_outbox(path: Path, settings: OutboxSettings) -> AsyncIterator[Outbox]:
    """Open the outbox and run its writer until the block is left; what is still queued then is answered with an error.

    A damaged file is salvaged first, loudly.
    """
    await _salvage_if_damaged(path, settings)
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


async def _salvage_if_damaged(path: Path, settings: OutboxSettings) -> None:
    try:
        prepare(path, settings).close()
    except sqlite.Damaged:
        report = await trio.to_thread.run_sync(salvage.salvage, path)
        log.error("damaged database salvaged", **report.fields())
