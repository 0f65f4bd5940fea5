"""`timer`: fires a transition when the machine has been in a state for some time (section 3.14 of the reference)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import trio

from mra.machines import decode
from mra.machines.decode import Properties
from mra.machines.durations import Duration
from mra.machines.manifest import IntervalRule
from mra.machines.watchers.base import Outcome, Watcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mra.machines.context import Context
    from mra.machines.definition import WatcherDef

RUNNING, STOPPED = "running", "stopped"
_SHORTEST = Duration.of_seconds(1)


class TimerProperties(Properties):
    """`timer` under one second becomes one second; `splay` draws it once, below what is given."""

    timer: Duration = decode.duration()
    splay: bool = decode.flag()

    def faults(self) -> Iterable[tuple[str, str]]:
        """A timer needs a time."""
        if self.timer.nanoseconds <= 0:
            yield "timer", "it is required; give it a time, like 10m"


class TimerWatcher(Watcher[TimerProperties]):
    """Runs while the machine is in a matching state, from the beginning after each change to one.

    At expiry it fires `fail_transition`; a `success_transition` is refused, as in Choria.
    """

    kind = "timer"
    schema: ClassVar[type[Properties]] = TimerProperties
    interval_rule = IntervalRule(used=False)
    first_outcome = STOPPED

    def __init__(self, definition: WatcherDef, context: Context) -> None:
        super().__init__(definition, context)
        self.time = max(self.properties.timer, _SHORTEST)
        if self.properties.splay:
            self.time = Duration(context.services.dice.randrange(self.time.nanoseconds))

    @classmethod
    def faults(cls, definition: WatcherDef) -> Iterable[tuple[str, str]]:
        """A timer that has expired has failed."""
        if definition.success_transition:
            yield "success_transition", "a timer fires fail_transition when it expires; use that"

    async def run(self) -> None:
        while True:
            if not self.is_active():
                await self.wait_state_changed()
                continue
            await self.settle(Outcome(RUNNING, announce=True))
            if await self.wait_state_changed(trio.current_time() + self.time.seconds):
                await self.settle(Outcome(STOPPED, announce=True))
                continue
            await self.settle(Outcome(STOPPED, announce=True, transition=self.definition.fail_transition))
            await self.wait_state_changed(math.inf)

    def report(self) -> Mapping[str, Any]:
        return {"state": self.outcome, "timer": self.time.nanoseconds}
