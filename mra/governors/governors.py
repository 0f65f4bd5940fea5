"""Takes, renews and returns slots over whichever session there is, and waits while there is none."""

from __future__ import annotations

import math
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol

import trio

from mra.errors import MraError, Unavailable
from mra.governors.changes import change, take
from mra.governors.holding import EVICTED, Claim, Holding, Seat
from mra.governors.register import Register
from mra.governors.slots import check_name, slot_body, waits
from mra.log import logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from mra.aio.session import Session
    from mra.governors.register import Slots

log = logger("governors")
_RETRY_SECONDS: Final = 2.0  # after a renewal or return that failed while the session stands
_OFFLINE: Final = "the SaaS (in a site, its leader) is out of reach"


class Patience(Protocol):
    """A span of time that says itself, like `mra.machines.durations.Duration`."""

    @property
    def seconds(self) -> float: ...


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
        async with self._hold(Claim(check_name(name), holder), patience) as holding:
            yield holding.sequence

    @asynccontextmanager
    async def seat(self, name: str, holder: str, tell: Callable[[str], None]) -> AsyncIterator[Seat]:
        """Hold a slot as the seat of a leader while inside: a slot that says when it is lost, see `Seat`.

        Waits for one without end, and calls `tell` with the reason, a clause, after every attempt. Raises Refused for a
        governor that does not exist. Leaving and cancellation return the seat, without waiting for the network; so stop
        what only a leader does before you leave.
        """
        async with self._hold(Claim(check_name(name), holder, is_seat=True, tell=tell)) as holding:
            yield Seat(holding)

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

    @asynccontextmanager
    async def _hold(self, claim: Claim, patience: Patience | None = None) -> AsyncIterator[Holding]:
        self._waiting[claim] = None
        try:
            holding = await self._wait_for(claim, patience)
        finally:
            del self._waiting[claim]
            self._return_doubtful(claim)
        self._held.add(holding)
        self._tell()
        try:
            yield holding
        finally:
            self._held.discard(holding)
            self._returns.add(holding)
            self._tell()

    async def _wait_for(self, claim: Claim, patience: Patience | None) -> Holding:
        reason = _OFFLINE
        with trio.move_on_after(patience.seconds if patience else math.inf):
            for wait in self._waits(self._dice):
                while self._register is None:
                    claim.tell(reason := _OFFLINE)
                    await self._linked.wait()
                try:
                    holding = await take(self._register, claim, self._dice)
                except Unavailable as error:
                    reason = error.sentence.rstrip(".")
                else:
                    if holding is not None:
                        return holding
                    reason = "all are held" + (f", the one by {claim.rivals[0]}" if len(claim.rivals) == 1 else "")
                claim.tell(reason)
                await trio.sleep(wait)
        raise Unavailable(f"No slot of governor {claim.governor} was to be had within {patience}: {reason}.")

    def _return_doubtful(self, claim: Claim) -> None:
        if claim.doubtful:
            now = trio.current_time()
            self._returns |= {Holding.of(claim, number, lease, 0, now) for number, lease in claim.doubtful.items()}
            claim.doubtful.clear()
            self._tell()

    async def _keep(self, register: Slots) -> float:
        """Return and renew what is due; the Trio time when there is something to do again."""
        try:
            for holding in sorted(self._held, key=lambda each: each.renew_at):
                if trio.current_time() >= holding.renew_at:
                    await self._renew(register, holding)
            for holding in sorted(self._returns, key=lambda each: each.until):
                if trio.current_time() < holding.until:
                    await change(register, holding, b"")
                self._returns.discard(holding)
                self._tell()
        except MraError as error:
            log.once_per(60, "slots of governors can neither be renewed nor returned now", reason=error.sentence)
            return trio.current_time() + _RETRY_SECONDS
        return min((holding.renew_at for holding in self._held), default=float("inf"))

    async def _renew(self, register: Slots, holding: Holding) -> None:
        asked_at = trio.current_time()
        if await change(register, holding, slot_body(holding.claim.holder)):
            holding.renewed(asked_at)
        elif holding in self._held:
            self._held.discard(holding)
            holding.lose(EVICTED)
            log.warning(
                "a slot was lost while it was held: its lease ended, or it was evicted",
                governor=holding.claim.governor,
                holder=holding.claim.holder,
            )

    def _tell(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()
