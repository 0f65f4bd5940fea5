"""What every watcher is and does; see the package's docstring for how watchers live."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

import trio

from mra.log import logger
from mra.machines.decode import Properties
from mra.machines.events import watcher_event
from mra.machines.manifest import IntervalRule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mra.machines.context import Context
    from mra.machines.definition import WatcherDef
    from mra.outbox.record import Draft

log = logger("machines")
P = TypeVar("P", bound=Properties)


class NoProperties(Properties):
    """The schema of a watcher that has none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a watcher found, and what follows from it.

    `name` is the outcome as events show it. `announce` says whether an event goes out now, `transition` what to fire
    (empty for nothing), and `at_once` that this waits for no pace. `reason` is a sentence for the operator when
    something went wrong. `run_seconds` is how long it took, when that is not simply the time the evaluation took.
    """

    name: str
    announce: bool = False
    transition: str = ""
    reason: str = ""
    run_seconds: float | None = None
    at_once: bool = False


class Watcher(ABC, Generic[P]):
    """Watches one thing for one machine.

    A subclass names its `schema`, says what it does with intervals, and implements `run` and `report`; most are
    `PollingWatcher`s and implement `evaluate` instead of `run`. An instance lives as long as the machine is loaded;
    what it keeps in attributes survives changes of state and a restart of `run`.
    """

    kind: ClassVar[str]
    schema: ClassVar[type[Properties]] = NoProperties
    interval_rule: ClassVar[IntervalRule] = IntervalRule()
    first_outcome: ClassVar[str] = "unknown"

    def __init__(self, definition: WatcherDef, context: Context) -> None:
        self.definition = definition
        self.context = context
        self.properties = cast("P", definition.properties)
        self.outcome = self.first_outcome
        self.trouble = ""  # why the last outcome is what it is, for the operator; empty when all is well
        self.run_seconds = 0.0  # how long the last evaluation took
        self._signal = trio.Event()

    @classmethod
    def faults(cls, definition: WatcherDef) -> Iterable[tuple[str, str]]:
        """Key and reason for whatever is wrong in a definition although every part is right."""
        return ()

    @abstractmethod
    async def run(self) -> None:
        """Watch until cancelled. Cancellation leaves nothing behind: no process, task or temporary file."""

    @property
    def detail(self) -> str:
        """What there is to say of the last outcome when nothing is wrong; a clause for the operator."""
        return ""

    @abstractmethod
    def report(self) -> Mapping[str, Any]:
        """The keys that events of this type add to the common ones, as of now."""

    async def removed(self) -> None:
        """The machine was removed for good: take away what this watcher put outside the machine's directory."""

    def works_in(self, state: str) -> bool:
        """Whether the watcher does its work while its machine is in this state."""
        return self.definition.matches(state)

    def is_active(self) -> bool:
        """Whether the watcher does its work now: its machine's state fits, and so do all foreign ones.

        A foreign machine that does not exist, or an entry that names nothing, fits never.
        """
        return self.works_in(self.context.state()) and all(
            foreign.machine_name and foreign.state and self.context.foreign_state(foreign.machine_name) == foreign.state
            for foreign in self.definition.foreign_state_required
        )

    def state_changed(self, state: str) -> None:
        """The machine is in another state now; wakes the watcher. Signals that come while one is pending are one."""
        self._signal.set()

    async def wait_state_changed(self, until: float = math.inf) -> bool:
        """Wait until a signal is pending, and take it; False when this point of Trio's clock came first."""
        with trio.move_on_at(until):
            await self._signal.wait()
        if not self._signal.is_set():
            return False
        self._signal = trio.Event()
        return True

    async def settle(self, outcome: Outcome) -> None:
        """Act on an outcome, in the order that consumers rely on: remember it, report it, fire its transition."""
        self.note(outcome)
        if outcome.announce:
            await self.context.publish(self.event())
        if outcome.transition:
            await self.context.fire(outcome.transition, at_once=outcome.at_once)

    def note(self, outcome: Outcome) -> None:
        """Remember an outcome; the log tells when a watcher gets into trouble or another one, not at every run."""
        if outcome.reason and outcome.reason != self.trouble:
            origin = self.context.origin
            log.warning("watcher failed", machine=origin.machine, watcher=self.definition.name, reason=outcome.reason)
        self.outcome, self.trouble = outcome.name, outcome.reason

    def event(self) -> Draft:
        """The state event of this moment."""
        return watcher_event(self.context.origin, self.kind, self.definition.name, self.report())

    async def announce(self) -> None:
        """Publish the state after every `announce_interval`, in whatever state the machine is; runs until cancelled."""
        interval = self.definition.announce_interval.seconds
        due = trio.current_time() + interval
        while True:
            await trio.sleep_until(due)
            await self.context.publish(self.event())
            due += interval

    def success(self, name: str, *, announce: bool = True, run_seconds: float | None = None) -> Outcome:
        """An outcome that fires the success transition."""
        return Outcome(name, announce, self.definition.success_transition, run_seconds=run_seconds)

    def failure(self, reason: str, name: str = "error", *, run_seconds: float | None = None) -> Outcome:
        """An outcome that is announced and fires the fail transition."""
        return Outcome(name, True, self.definition.fail_transition, reason, run_seconds)
