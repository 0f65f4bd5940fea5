"""`schedule`: on and off by the calendar (section 3.13 of the reference)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from mra.errors import BadInput
from mra.machines import cron, decode
from mra.machines.decode import Properties
from mra.machines.manifest import IntervalRule
from mra.machines.schedule import Schedule
from mra.machines.watchers.base import Outcome, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mra.machines.context import Context
    from mra.machines.definition import WatcherDef
    from mra.machines.durations import Duration

UNKNOWN, ON, OFF, SKIPPED = "unknown", "on", "off", "skipped"
_LOOK_SECONDS: Final = 30.0  # foreign states change without telling


class ScheduleProperties(Properties):
    """When it is on, for how long, and how exactly."""

    schedules: tuple[str, ...] = decode.texts(required=True)
    duration: Duration = decode.duration("1m")
    start_splay: Duration = decode.duration()
    skip_trigger_on_reenter: bool = decode.flag()

    def faults(self) -> Iterable[tuple[str, str]]:
        """Schedules have to be readable, and a splay must leave something of the period."""
        for each in self.schedules:
            try:
                cron.parse(each)
            except BadInput as refusal:
                yield "schedules", refusal.sentence
        if self.duration.nanoseconds <= 0:
            yield "duration", "a period needs some time; give it one, like 1h"
        if not 0 <= 2 * self.start_splay.nanoseconds <= self.duration.nanoseconds:
            yield "start_splay", "it may be half of duration at most; shorten it"


class ScheduleWatcher(Watcher[ScheduleProperties]):
    """Fires success when a period begins and fail when the last one ends, while the machine is in a matching state.

    Entering a matching state fires, too: success within a period (unless `skip_trigger_on_reenter` is set and this
    period has fired before), else fail, also before there was any period. At the start nothing fires before a period
    begins. Differences to Choria, on purpose: a period begins at its minute, not up to a second before; without a
    `duration` it lasts the documented minute instead of no time at all.
    """

    kind = "schedule"
    schema: ClassVar[type[Properties]] = ScheduleProperties
    interval_rule = IntervalRule(used=False)
    first_outcome = UNKNOWN

    wall: Callable[[], datetime] = staticmethod(datetime.now)  # naive: local time, with its rules

    def __init__(self, definition: WatcherDef, context: Context) -> None:
        super().__init__(definition, context)
        dice, splay = context.services.dice, self.properties.start_splay.seconds
        self.schedule = Schedule(
            [cron.parse(each) for each in self.properties.schedules],
            self.properties.duration.seconds,
            lambda: dice.uniform(0, splay) if splay else 0.0,
        )
        self._acted_on = UNKNOWN  # what was last acted upon, or SKIPPED
        self._triggered = False  # whether this period has fired success

    async def run(self) -> None:
        while True:
            await self._look(self._now())
            await self.wait_state_changed(trio.current_time() + min(self.schedule.wait_seconds(), _LOOK_SECONDS))

    def report(self) -> Mapping[str, Any]:
        return {"state": self.outcome}

    def _now(self) -> str:
        is_on = self.schedule.advance(self.wall(), trio.current_time())
        if not is_on:
            self._triggered = False
        return ON if is_on else OFF if self.schedule.has_run else UNKNOWN

    async def _look(self, state: str) -> None:
        if not self.is_active():
            self._acted_on = SKIPPED
            self.note(Outcome(state))
            return
        if state == self._acted_on:
            return
        self._acted_on = state
        if state != ON:
            await self.settle(Outcome(state, announce=True, transition=self.definition.fail_transition))
            return
        repeated = self._triggered and self.properties.skip_trigger_on_reenter
        self._triggered = True
        transition = "" if repeated else self.definition.success_transition
        await self.settle(Outcome(state, announce=not repeated, transition=transition))
