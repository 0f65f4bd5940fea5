"""Watchers that look again and again: the loop that nearly all types share."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import trio

from mra.errors import MraError
from mra.machines.watchers.base import Outcome, P, Watcher

SKIPPED = Outcome("skipped")


class PollingWatcher(Watcher[P]):
    """Evaluates on a ticker and whenever the machine's state changes.

    The ticker runs all the time; while the watcher is not active its ticks record `skipped` and nothing else. An
    evaluation belongs to the state in which it began: it is cancelled when the machine enters a state in which the
    watcher does not work, and then counts as skipped. (Choria lets it finish, which leaves processes behind that work
    for a state that is over.)
    """

    rests_after_run: ClassVar[bool] = False  # the interval counts from the end of an evaluation, not on a fixed grid

    _evaluation: trio.CancelScope | None = None

    @abstractmethod
    async def evaluate(self) -> Outcome | None:
        """Look once; None changes nothing. A `MraError` or OSError stands for the outcome `failed(fault)`.

        Cancelled when the state is left, the machine is stopped or changed: leave nothing behind.
        """

    def failed(self, fault: Exception) -> Outcome:
        """The outcome of an evaluation that raised."""
        return self.failure(describe(fault))

    def first_wait(self) -> float:
        """Seconds from the start to the first evaluation by the ticker."""
        return self.interval()

    def interval(self) -> float:
        """Seconds between evaluations; infinite when only changes of state lead to one."""
        return self.definition.interval.seconds or math.inf

    def heeds_change(self) -> bool:
        """Whether a change of state leads to an evaluation now."""
        return True

    def state_changed(self, state: str) -> None:
        """Wakes the watcher, and ends an evaluation that has no place in the new state."""
        super().state_changed(state)
        if self._evaluation is not None and not self.works_in(state):
            self._evaluation.cancel()

    async def run(self) -> None:
        due = trio.current_time() + self.first_wait()
        while True:
            if not await self.wait_state_changed(due):
                await self.turn()
                due = self._next_tick(due)
            elif self.heeds_change():
                await self.turn()
                due = trio.current_time() + self.interval() if self.rests_after_run else due

    async def turn(self) -> None:
        """Evaluate once if the watcher is active, and act on what came of it."""
        if not self.is_active():
            self.note(SKIPPED)
            return
        outcome = await self._evaluated()
        if outcome is not None:
            await self.settle(outcome)

    async def _evaluated(self) -> Outcome | None:
        started = trio.current_time()
        outcome: Outcome | None = SKIPPED
        with trio.CancelScope() as self._evaluation:
            try:
                outcome = await self.evaluate()
            except (MraError, OSError) as fault:
                outcome = self.failed(fault)
        self._evaluation = None
        if outcome is not None and outcome is not SKIPPED:
            took = outcome.run_seconds
            self.run_seconds = trio.current_time() - started if took is None else took
        return outcome

    def _next_tick(self, due: float) -> float:
        """When to look next. A fixed ticker keeps one tick that fell due meanwhile, and drops all others."""
        now = trio.current_time()
        if self.rests_after_run or math.isinf(self.interval()):
            return now + self.interval()
        return due + self.interval() * max(1, (now - due) // self.interval())


def describe(fault: Exception) -> str:
    """The fault in one sentence."""
    if isinstance(fault, OSError) and fault.strerror:
        return f"{fault.filename}: {fault.strerror.lower()}" if fault.filename else fault.strerror.lower()
    return str(fault)
