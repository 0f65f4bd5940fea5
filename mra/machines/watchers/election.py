"""`election`: keeps its machine informed whether it leads; an extension, no watcher of Choria's campaigns.

An election is a governor whose slots are its seats, so one leader is a governor with one slot, and who leads is what
`mra saas governors ls` shows. In a site the slots count, and are to be had, without the SaaS.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from mra.errors import BadInput, MraError
from mra.log import logger
from mra.machines import decode
from mra.machines.decode import Properties
from mra.machines.manifest import IntervalRule
from mra.machines.watchers.base import Outcome, Watcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mra.governors.holding import Seat
    from mra.machines.context import Context
    from mra.machines.definition import WatcherDef

log = logger("machines")
RESTING, CAMPAIGNING, LEADING = "resting", "campaigning", "leading"
_AGAIN_SECONDS: Final = 15.0  # after a governor that cannot be asked: there is none of that name, for instance
_FOREIGN_SECONDS: Final = 1.0  # changes of foreign machines wake nobody


class ElectionProperties(Properties):
    """Which governor's slots are the seats; templates are expanded at the beginning of each campaign."""

    governor: str = decode.text(required=True)


class ElectionWatcher(Watcher[ElectionProperties]):
    """Campaigns while the machine is in a matching state, and keeps a seat it has won from one such state to the next.

    Winning fires `success_transition`, losing `fail_transition`, each once. A lost seat is told before anybody else can
    have it, and the transition waits for no pace; what the machine runs in the state that it leaves then has to end
    within a fifth of the governor's lease. Leaving the matching states, and the end of the machine, give the seat back;
    a foreign machine that leaves the state that is required is a loss.
    """

    kind = "election"
    schema: ClassVar[type[Properties]] = ElectionProperties
    interval_rule = IntervalRule(used=False)
    first_outcome = RESTING

    def __init__(self, definition: WatcherDef, context: Context) -> None:
        super().__init__(definition, context)
        self._governor = self.properties.governor
        self._seat: Seat | None = None
        self._reason = ""  # why it does not lead
        self._candidacy: trio.CancelScope | None = None
        self._stands = False  # wants a seat

    @classmethod
    def faults(cls, definition: WatcherDef) -> Iterable[tuple[str, str]]:
        """What would leave a machine in a leader's state without a seat."""
        if definition.success_transition and not definition.fail_transition:
            yield "fail_transition", "it is required with success_transition; name what a lost seat leads to"
        for state in definition.success_states:
            if not definition.matches(state):
                yield "state_match", f"winning leads to {state[:40]!r}, where the seat would be given back; add it"

    def state_changed(self, state: str) -> None:
        """Ends a candidacy that has no place in the new state before it can fire anything there."""
        super().state_changed(state)
        if self._candidacy is not None and not self.works_in(state):
            self._candidacy.cancel()

    async def run(self) -> None:
        while True:
            if self.is_active():
                await self._stand()
                await self.settle(Outcome(RESTING, announce=True))
            else:
                await self._wait_changed()

    def report(self) -> Mapping[str, Any]:
        return {
            "state": self.outcome,
            "governor": self._governor,
            "sequence": self._seat.sequence if self._seat else 0,
            "since_wall": self._seat.since_wall if self._seat else 0,
            "reason": self.trouble or self._reason,
        }

    @property
    def detail(self) -> str:
        if self.outcome == RESTING:
            return ""
        if self._seat:
            since = datetime.fromtimestamp(self._seat.since_wall / 1e9, UTC)
            return f"{self._governor}, since {since:%Y-%m-%d %H:%M:%SZ}"
        return self._governor + (f": {self._reason}" if self._reason else "")

    async def _stand(self) -> None:
        """Be a candidate until the machine, or a foreign one, is in a state for that no more."""
        self._stands = True
        try:
            async with trio.open_nursery() as nursery:
                self._candidacy = nursery.cancel_scope
                nursery.start_soon(self._campaign)
                while self.is_active():
                    await self._wait_changed()
                self._stands = False
                if self._seat and self.works_in(self.context.state()):
                    self._seat.give_up("a foreign machine left the state that is required")  # steps down, then ends
                else:
                    nursery.cancel_scope.cancel()
        finally:
            self._candidacy, self._seat, self._reason, self.outcome = None, None, "", RESTING

    async def _wait_changed(self) -> None:
        poll = _FOREIGN_SECONDS if self.definition.foreign_state_required else math.inf
        await self.wait_state_changed(trio.current_time() + poll)

    async def _campaign(self) -> None:
        await self.settle(Outcome(CAMPAIGNING, announce=True))
        while self._stands:
            try:
                self._governor = self.context.expand(self.properties.governor)
                if not self._governor:
                    raise BadInput("the name of the governor is empty once its templates are expanded")
                async with self.context.elected(self._governor, self.definition.name, self._tell) as seat:
                    await self._lead(seat)
            except MraError as fault:
                self._reason = ""
                self.note(Outcome(CAMPAIGNING, reason=fault.sentence))
                await trio.sleep(_AGAIN_SECONDS)

    def _tell(self, reason: str) -> None:
        self._reason = reason
        self.note(Outcome(CAMPAIGNING))

    async def _lead(self, seat: Seat) -> None:
        """See the victory through, unless the seat is lost meanwhile, and then the loss."""
        self._seat, self._reason = seat, ""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.settle, Outcome(LEADING, True, self.definition.success_transition))
                reason = await seat.wait_lost()
                nursery.cancel_scope.cancel()
        except Exception:  # the machine may be in a leader's state already, and the seat is given back next
            await self._step_down("the watcher failed")
            raise
        await self._step_down(reason)

    async def _step_down(self, reason: str) -> None:
        self._seat, self._reason = None, f"the seat was lost, as {reason}"
        origin, name = self.context.origin, self.definition.name
        log.warning("leadership lost", machine=origin.machine, watcher=name, governor=self._governor, reason=reason)
        await self.settle(Outcome(CAMPAIGNING, True, self.definition.fail_transition, at_once=True))
