"""When a schedule is on (section 3.13 of the reference). (pure)

Each time a cron schedule comes round, a period begins, after a splay, and ends `duration` after the nominal time.
Periods may overlap; the schedule is on while there is any.

Two clocks: the wall clock says when a period begins, the monotonic one how long it lasts. When the two disagree about
the time that passed, the wall clock was set; then the times to come are looked up anew, and what was jumped over is not
made up for. Nor is it after a restart, as in Choria.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from mra.machines.cron import Cron

CLOCK_STEP_SECONDS: Final = 2.0  # clocks that differ by more than this have been set
LONGEST_WAIT_SECONDS: Final = 60.0  # a step of the wall clock is noticed within this time


@dataclass(frozen=True, slots=True)
class Period:
    """Monotonic times between which the schedule is on."""

    start: float
    end: float


@dataclass
class Schedule:
    """Tell it the time with `advance`; it answers whether it is on, and when to be told the time again.

    `splay` draws a number of seconds to wait at the beginning of a period.
    """

    crons: Sequence[Cron]
    duration_seconds: float
    splay: Callable[[], float] = lambda: 0.0
    periods: list[Period] = field(default_factory=list)
    _due: list[datetime | None] = field(default_factory=list)
    _last: tuple[float, float] | None = None  # wall and monotonic time of the last call
    has_run: bool = False  # whether there ever was a period

    def advance(self, wall: datetime, monotonic: float) -> bool:
        """Whether the schedule is on now; `wall` is aware, or naive local time."""
        now = wall.timestamp()
        if self._last is None or self._was_set(now, monotonic):
            self._due = [cron.next_after(wall) for cron in self.crons]
        self._last = now, monotonic
        for index, cron in enumerate(self.crons):
            self._begin_due(index, cron, wall, monotonic)
        self.periods = [period for period in self.periods if period.end > monotonic]
        is_on = any(period.start <= monotonic for period in self.periods)
        self.has_run |= is_on
        return is_on

    def wait_seconds(self) -> float:
        """How long after the last `advance` the answer may change, or the clock should be looked at again."""
        assert self._last is not None, "advance comes first"
        now, monotonic = self._last
        edges = [edge for period in self.periods for edge in (period.start, period.end) if edge > monotonic]
        due = [moment.timestamp() for moment in self._due if moment is not None]
        soonest = min(min(edges, default=math.inf) - monotonic, min(due, default=math.inf) - now)
        return min(max(soonest, 0.0), LONGEST_WAIT_SECONDS)

    def _was_set(self, now: float, monotonic: float) -> bool:
        assert self._last is not None
        return abs((now - self._last[0]) - (monotonic - self._last[1])) > CLOCK_STEP_SECONDS

    def _begin_due(self, index: int, cron: Cron, wall: datetime, monotonic: float) -> None:
        due = self._due[index]
        while due is not None and due.timestamp() <= wall.timestamp():
            start = monotonic - (wall.timestamp() - due.timestamp())
            self.periods.append(Period(start + self.splay(), start + self.duration_seconds))
            due = cron.next_after(due)
        self._due[index] = due
