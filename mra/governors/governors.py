"""Takes, renews and returns slots over whichever session there is, and waits while there is none."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import trio

from mra.errors import MraError, Unavailable
from mra.governors.register import Register
from mra.governors.slots import check_name, slot_body, waits
from mra.log import logger
from mra.outbox.record import new_id
from mra.uplink.answers import CheckpointMoved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from mra.aio.session import Session
    from mra.governors.slots import Capacity, Slot

log = logger("governors")
MOST_LOOKS: Final = 16  # slots looked at per attempt, so that waiting for a wide governor stays cheap
_SLACK: Final = 10.0  # s that a change may be on its way
_RETRY_SECONDS: Final = 2.0  # after a renewal or return that failed while the session stands
_OFFLINE: Final = "the SaaS is out of reach"


class Patience(Protocol):
    """A span of time that says itself, like `mra.machines.durations.Duration`."""

    @property
    def seconds(self) -> float: ...


class Slots(Protocol):
    """Where slots are kept; `Register` is the SaaS's place."""

    async def capacity(self, governor: str, /) -> Capacity:
        """See `Register.capacity`."""

    async def look(self, governor: str, number: int, /) -> Slot | None:
        """See `Register.look`."""

    async def put(self, governor: str, number: int, body: bytes, /, *, owner: str, lease: int, expected: int) -> int:
        """See `Register.put`."""


@dataclass(eq=False)
class Claim:
    """One wish for a slot. `doubtful` are slots that an attempt without an answer may have taken."""

    governor: str
    holder: str
    id: str = field(default_factory=new_id)
    doubtful: dict[int, int] = field(default_factory=dict)  # number -> lease


@dataclass(eq=False)
class Holding:
    """A slot that is held, or may be: then `sequence` is 0."""

    claim: Claim
    number: int
    lease: int
    sequence: int
    until: float  # Trio time when the lease surely has ended, unless it is renewed
    renew_at: float


class Governors:
    """The slots of this agent. Implements `mra.machines.context.Governors`.

    `serve` has to run over every session, one at a time: it lends the session to those who wait, renews what is held
    and returns what was let go.
    """

    def __init__(
        self, *, dice: random.Random | None = None, waits: Callable[[random.Random], Iterator[float]] = waits
    ) -> None:
        self._dice = dice or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._waits = waits
        self._register: Slots | None = None
        self._linked = trio.Event()
        self._waiting: dict[Claim, None] = {}  # in the order in which they came
        self._held: set[Holding] = set()
        self._returns: set[Holding] = set()
        self._news = trio.Event()

    @property
    def held(self) -> Sequence[Claim]:
        """Who of this agent holds a slot, by the name of the governor."""
        return sorted((holding.claim for holding in self._held), key=lambda claim: claim.governor)

    @property
    def waiting(self) -> Sequence[Claim]:
        """Who of this agent waits for a slot, longest first."""
        return tuple(self._waiting)

    @asynccontextmanager
    async def slot(self, name: str, holder: str, patience: Patience) -> AsyncIterator[int]:
        """Hold a slot while inside; yields the stream sequence that took it.

        Raises Unavailable when none was free, or the SaaS out of reach, for as long as `patience`; Refused for a
        governor that does not exist. Leaving and cancellation return the slot, without waiting for the network.
        """
        claim = Claim(check_name(name), holder)
        self._waiting[claim] = None
        try:
            holding = await self._wait_for(claim, patience)
        finally:
            del self._waiting[claim]
            self._return_doubtful(claim)
        self._held.add(holding)
        self._tell()
        try:
            yield holding.sequence
        finally:
            self._held.discard(holding)
            self._returns.add(holding)
            self._tell()

    async def serve(self, session: Session) -> None:
        """Use `session` until cancelled. It raises no `MraError`: whoever knows that the link is lost cancels it."""
        await self.serve_with(Register(session))

    async def serve_with(self, register: Slots) -> None:
        """The same with slots that are kept elsewhere than at the SaaS."""
        self._register = register
        self._linked.set()
        try:
            while True:
                news = self._news
                due = await self._keep(register)
                with trio.move_on_at(due):
                    await news.wait()
        finally:
            self._register = None
            self._linked = trio.Event()

    async def wait_returned(self) -> None:
        """Return once every slot that was let go is given back, or its lease has ended."""
        while self._returns:
            await self._news.wait()

    async def _wait_for(self, claim: Claim, patience: Patience) -> Holding:
        reason = _OFFLINE
        with trio.move_on_after(patience.seconds):
            for wait in self._waits(self._dice):
                while self._register is None:
                    reason = _OFFLINE
                    await self._linked.wait()
                try:
                    holding = await self._try(self._register, claim)
                except Unavailable as error:
                    reason = error.sentence.rstrip(".")
                else:
                    if holding is not None:
                        return holding
                    reason = "all are held"
                await trio.sleep(wait)
        raise Unavailable(f"No slot of governor {claim.governor} was to be had within {patience}: {reason}.")

    async def _try(self, register: Slots, claim: Claim) -> Holding | None:
        """Take a slot, if one is free. Those that an earlier attempt may have taken are looked at first."""
        governor = claim.governor
        slots, lease = await register.capacity(governor)
        drawn = self._dice.sample(range(slots), min(slots, MOST_LOOKS))
        for number in dict.fromkeys([*claim.doubtful, *drawn]):
            asked_at = trio.current_time()
            seen = await register.look(governor, number)
            if seen is not None and seen.owner == claim.id:
                return _holding(claim, number, claim.doubtful.pop(number, lease), seen.sequence, asked_at)
            claim.doubtful.pop(number, None)
            if (seen is not None and seen.owner) or number >= slots:
                continue
            claim.doubtful[number] = lease
            expected = seen.sequence if seen else 0
            body = slot_body(claim.holder)
            asked_at = trio.current_time()
            try:
                sequence = await register.put(governor, number, body, owner=claim.id, lease=lease, expected=expected)
            except CheckpointMoved:
                del claim.doubtful[number]
                continue
            del claim.doubtful[number]
            return _holding(claim, number, lease, sequence, asked_at)
        return None

    def _return_doubtful(self, claim: Claim) -> None:
        if claim.doubtful:
            now = trio.current_time()
            self._returns |= {_holding(claim, number, lease, 0, now) for number, lease in claim.doubtful.items()}
            claim.doubtful.clear()
            self._tell()

    async def _keep(self, register: Slots) -> float:
        """Return and renew what is due; the Trio time when there is something to do again."""
        try:
            for holding in sorted(self._returns, key=lambda each: each.until):
                if trio.current_time() < holding.until:
                    await self._write(register, holding, b"")
                self._returns.discard(holding)
                self._tell()
            for holding in sorted(self._held, key=lambda each: each.renew_at):
                if trio.current_time() >= holding.renew_at:
                    await self._renew(register, holding)
        except MraError as error:
            log.once_per(60, "slots of governors can neither be renewed nor returned now", reason=error.sentence)
            return trio.current_time() + _RETRY_SECONDS
        return min((holding.renew_at for holding in self._held), default=float("inf"))

    async def _renew(self, register: Slots, holding: Holding) -> None:
        asked_at = trio.current_time()
        if await self._write(register, holding, slot_body(holding.claim.holder)):
            holding.renew_at = asked_at + holding.lease / 3
        elif holding in self._held:
            self._held.discard(holding)
            log.warning(
                "a slot was lost while it was held: its lease ended, or it was evicted",
                governor=holding.claim.governor,
                holder=holding.claim.holder,
            )

    async def _write(self, register: Slots, holding: Holding, body: bytes) -> bool:
        """Change a slot that is ours; whether it still was. An unclear write before may have moved it: that is ours."""
        claim = holding.claim
        for _ in range(2):
            if body:  # whether or not an answer comes
                holding.until = trio.current_time() + _SLACK + holding.lease
            try:
                holding.sequence = await register.put(
                    claim.governor,
                    holding.number,
                    body,
                    owner=claim.id,
                    lease=holding.lease,
                    expected=holding.sequence,
                )
            except CheckpointMoved:
                seen = await register.look(claim.governor, holding.number)
                if seen is None and body:
                    holding.sequence = 0  # the lease ended, but nobody came
                elif seen is None or seen.owner != claim.id:
                    return False
                else:
                    holding.sequence = seen.sequence
            else:
                return True
        return False

    def _tell(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()


def _holding(claim: Claim, number: int, lease: int, sequence: int, asked_at: float) -> Holding:
    """A slot whose lease began at `asked_at` or soon after."""
    return Holding(claim, number, lease, sequence, asked_at + _SLACK + lease, asked_at + lease / 3)
