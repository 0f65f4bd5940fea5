"""One machine, running: its state, its watchers, and the order in which things happen to it."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, Protocol

import trio

from mra.errors import MraError
from mra.log import logger
from mra.machines.context import Context, MachineRow
from mra.machines.events import Origin, transition_event
from mra.machines.pace import Pace
from mra.machines.states import Moved, StateMachine, Step, Undeclared
from mra.supervise import Supervisor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from mra.machines.context import Services
    from mra.machines.data import MachineData
    from mra.machines.definition import Manifest
    from mra.machines.watchers.base import Watcher
    from mra.outbox.record import Draft

log = logger("machines")


class Neighbours(Protocol):
    """The other machines of the agent, as one of them sees them."""

    def state_of(self, name: str) -> str | None:
        """The state of a machine; None when there is none of that name."""

    def tell(self, name: str, event: str) -> None:
        """A machine changed its state by this event: whoever subscribed to it acts, in a task of its own."""


class Machine:
    """A loaded machine. It begins in its initial state, and can be fired at before its watchers run."""

    def __init__(
        self,
        manifest: Manifest,
        directory: Path,
        data: MachineData,
        services: Services,
        neighbours: Neighbours,
        kinds: Mapping[str, type[Watcher[Any]]],
    ) -> None:
        self.manifest = manifest
        self.directory = directory
        self.data = data
        self.origin = Origin(services.identity, manifest.name, manifest.version, str(uuid.uuid4()))
        self.since_wall = time.time_ns()  # when the present state was entered
        self.started_wall: int | None = None  # when the watchers were started; None before
        self._services = services
        self._neighbours = neighbours
        self._states = StateMachine.of(manifest)
        self._pace = Pace()
        self._pacing = trio.Lock()  # who may fire next, held while that waits for the pace
        self._firing = trio.Lock()  # who fires now
        self._ended = False
        context = Context(
            self.origin, directory, data, services, lambda: self._states.state, self.fire, neighbours.state_of
        )
        self.watchers = [kinds[each.type](each, context) for each in manifest.watchers]
        self.supervisor = Supervisor()  # of the watchers, by their names

    @property
    def state(self) -> str:
        """The present state."""
        return self._states.state

    @property
    def available(self) -> tuple[str, ...]:
        """The transitions that are possible now."""
        return self._states.available

    def can(self, event: str) -> bool:
        """Whether a transition is possible now."""
        return self._states.can(event)

    async def run(self) -> None:
        """Wait out the splay, then run all watchers until cancelled. A watcher that crashes is started again."""
        await self._store(self._row(self.state))
        if self.manifest.splay_start > 0:
            # Drawn once. Choria draws again at every scan of its directory, and the earliest wins.
            await trio.sleep(self._services.dice.randrange(self.manifest.splay_start))
        self.started_wall = time.time_ns()
        async with trio.open_nursery() as nursery:
            for watcher in self.watchers:
                self._keep(nursery, watcher.definition.name, watcher.run)
                if watcher.definition.announce_interval:
                    self._keep(nursery, f"{watcher.definition.name} announcements", watcher.announce)

    def end(self) -> None:
        """The machine was removed or replaced: whoever still fires at it moves nothing."""
        self._ended = True

    async def removed(self) -> None:
        """The machine is gone for good: let its watchers take away what they put elsewhere. Never raises."""
        for watcher in self.watchers:
            try:
                with trio.move_on_after(10):
                    await watcher.removed()
            except Exception as failure:  # the machine is gone either way
                log.failure("watcher could not clean up", failure, machine=self.manifest.name)

    async def fire(self, event: str, *, at_once: bool = False) -> Step | None:
        """Fire a transition: see it through, one at a time, and say what became of it; an empty name does nothing.

        Transitions in quick succession wait their turn and then some (see `pace`); one that has to happen `at_once`
        goes before those that wait. A change of state and its event are stored in one transaction; only then do other
        machines and the own watchers learn of it. Cancelled before that, nothing has happened; once begun, the change
        is completed.
        """
        if not event:
            return None
        if at_once:
            self._pace = self._next_pace()[1]
            return await self._see_through(event)
        async with self._pacing:
            if self.can(event):
                wait, pace = self._next_pace()
                if wait:
                    await trio.sleep(wait)
                self._pace = pace
            return await self._see_through(event)

    async def _see_through(self, event: str) -> Step:
        async with self._firing:
            step = self._states.after(event)
            if isinstance(step, Undeclared):
                log.warning(
                    "transition is not possible", machine=self.manifest.name, transition=event, state=step.state
                )
            elif isinstance(step, Moved) and not self._ended:
                with trio.CancelScope(shield=True):
                    await self._enter(step)
            return step

    def _next_pace(self) -> tuple[float, Pace]:
        return self._pace.next(trio.current_time(), self._services.dice)

    async def _enter(self, step: Moved) -> None:
        self.since_wall = time.time_ns()
        await self._store(self._row(step.destination), transition_event(self.origin, step, self.since_wall))
        self._states = step.machine
        log.info("transition", machine=self.manifest.name, transition=step.event, to=self.state)
        self._neighbours.tell(self.manifest.name, step.event)
        if self.started_wall is not None:
            self._signal_watchers()

    def _signal_watchers(self) -> None:
        for watcher in self.watchers:
            try:
                watcher.state_changed(self.state)
            except Exception as failure:  # the state has changed already, and the others have to know
                name = watcher.definition.name
                log.failure("watcher failed at a change", failure, machine=self.manifest.name, watcher=name)

    def _row(self, state: str) -> MachineRow:
        name, version = self.manifest.name, self.manifest.version
        return MachineRow(name, version, state, self.since_wall, self.origin.instance, str(self.directory))

    async def _store(self, row: MachineRow, *drafts: Draft) -> None:
        """Store a state with its event. The machine goes on even when that fails: it controls something."""
        try:
            await self._services.record(row, drafts)
        except MraError as refusal:
            log.error("state could not be stored", machine=row.name, state=row.state, reason=refusal.sentence)

    def _keep(self, nursery: trio.Nursery, name: str, service: Callable[[], Awaitable[None]]) -> None:
        nursery.start_soon(self.supervisor.keep_running, name, service, name=f"{self.manifest.name}/{name}")
