"""Group commit: everything that arrives while one transaction runs goes into the next one.

A producer waits for the commit that carries its record, and for nothing else.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import trio

from mra.errors import MraError, StoreBroken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from mra.outbox import store
    from mra.outbox.record import Receipt

_LARGEST_GROUP: Final = 4096  # records in one commit: bounds how long one transaction takes
_HEAVIEST_GROUP: Final = 16 * 1024 * 1024  # bytes of bodies, likewise
_STOPPING: Final = "The agent is stopping: append again after its restart."


class _Ticket:
    """One producer's request on its way through the writer."""

    __slots__ = ("outcome", "request", "size", "task")

    def __init__(self, request: store.Request, task: trio.lowlevel.Task) -> None:
        self.request = request
        self.size = sum(len(draft.body) for draft in request.drafts)
        self.task: trio.lowlevel.Task | None = task  # None once it was answered, or its producer was cancelled
        self.outcome: store.Outcome | None = None


class GroupCommit:
    """Producers' requests in the order in which they came, committed by `commit` in groups.

    `commit` returns one outcome for each request, or raises `MraError`, which then is every request's outcome.
    """

    def __init__(self, commit: Callable[[Sequence[store.Request]], Awaitable[list[store.Outcome]]]) -> None:
        self._commit = commit
        self._queue: deque[_Ticket] = deque()
        self._queued = trio.Event()
        self.is_stopped = False

    async def submit(self, request: store.Request) -> list[Receipt]:
        """Wait until the request's commit is on disk; raises what its outcome is otherwise.

        When cancelled before its commit has begun, nothing is left behind; later, its outcome is unknown.
        """
        if self.is_stopped:
            raise StoreBroken(_STOPPING)
        ticket = _Ticket(request, trio.lowlevel.current_task())
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

    async def run(self) -> None:
        """Commit until cancelled; whoever waits then is told that the agent stops."""
        try:
            while True:
                await self._queued.wait()
                self._queued = trio.Event()
                while group := self._next():
                    await self._commit_group(group)
        finally:
            self.is_stopped = True
            _answer(list(self._queue), StoreBroken(_STOPPING))
            self._queue.clear()

    def _next(self) -> list[_Ticket]:
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

    async def _commit_group(self, group: Sequence[_Ticket]) -> None:
        try:
            outcomes = await self._commit([ticket.request for ticket in group])
        except MraError as error:
            _answer(group, error)
        except BaseException:
            _answer(group, StoreBroken("The append ended unexpectedly: its outcome is unknown."))
            raise
        else:
            for ticket, outcome in zip(group, outcomes, strict=True):
                _settle(ticket, outcome)


def _answer(group: Iterable[_Ticket], error: MraError) -> None:
    """The same bad news for everyone, each in an object of its own: tasks that share one mix their tracebacks."""
    for ticket in group:
        copy = type(error)(*error.args)
        copy.__cause__ = error
        _settle(ticket, copy)


def _settle(ticket: _Ticket, outcome: store.Outcome) -> None:
    ticket.outcome = outcome
    if ticket.task is not None:
        trio.lowlevel.reschedule(ticket.task)
        ticket.task = None
