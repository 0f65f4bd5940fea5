"""What a wish for a slot has come to: the claim, the slot it holds, and how long that can be relied on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import trio

from mra.outbox.record import new_id

if TYPE_CHECKING:
    from collections.abc import Callable

SLACK: Final = 10.0  # s that a change may be on its way
MARGIN: Final = 0.2  # of a lease: for clocks that do not run alike, and to stop what only a leader does
EVICTED: Final = "it was taken away, or its lease had ended"
NOT_RENEWED: Final = "it could not be renewed in time"


def _tell_nobody(_reason: str) -> None:
    """A slot's reason is only told when its patience is at its end."""


@dataclass(eq=False)
class Claim:
    """One wish for a slot. `doubtful` are slots that an attempt without an answer may have taken."""

    governor: str
    holder: str
    is_seat: bool = False
    tell: Callable[[str], None] = _tell_nobody  # why it still waits
    id: str = field(default_factory=new_id)
    doubtful: dict[int, int] = field(default_factory=dict)  # number -> lease
    rivals: list[str] = field(default_factory=list)  # who held the slots that the last attempt looked at


@dataclass(eq=False)
class Holding:
    """A slot that is held, or may be: then `sequence` is 0.

    A lease begins somewhere between the question for it and the answer, so it has two bounds, both on Trio's clock and
    easily mixed up. Before `safe_until` nobody else can have the slot, whatever became of later questions. After
    `until` it is surely not ours any more, even if the last question was long on its way.
    """

    claim: Claim
    number: int
    lease: int
    sequence: int
    until: float
    safe_until: float
    renew_at: float
    lost: str = ""  # why it is not ours any more
    lost_now: trio.Event = field(default_factory=trio.Event)

    @classmethod
    def of(cls, claim: Claim, number: int, lease: int, sequence: int, asked_at: float) -> Holding:
        """A slot that was asked for at `asked_at`."""
        until = asked_at + SLACK + lease
        return cls(claim, number, lease, sequence, until, _safe_until(asked_at, lease), asked_at + lease / 3)

    def asks(self, now: float) -> None:
        """A renewal is under way. It counts for the later bound whether or not an answer comes."""
        self.until = now + SLACK + self.lease

    def renewed(self, asked_at: float) -> None:
        """A renewal that was asked for at `asked_at` was answered."""
        self.safe_until, self.renew_at = _safe_until(asked_at, self.lease), asked_at + self.lease / 3

    def lose(self, reason: str) -> None:
        """It is not ours any more, or must not count as ours. The first reason stays."""
        self.lost = self.lost or reason
        self.lost_now.set()


class Seat:
    """A slot that tells its holder when it is lost, always before anybody else can have it.

    Safety rests on nothing but the holder's monotonic clock, which no step of the wall clock moves. It stands still
    while the host is suspended: a leader that slept through its lease learns of the loss late, when a renewal fails,
    so hosts that may be suspended are no candidates for what must not happen twice.
    """

    def __init__(self, holding: Holding) -> None:
        self._holding = holding
        self.sequence = holding.sequence  # rises from holder to holder, for as long as the slots are kept in one place
        self.since_wall = time.time_ns()

    def give_up(self, reason: str) -> None:
        """Count it as lost for a reason of the holder's own."""
        self._holding.lose(reason)

    async def wait_lost(self) -> str:
        """Return once the seat counts as lost, with the reason as a clause. What is lost is not won back.

        That is a fifth of a lease before the lease that the last answered renewal asked for could end, whether or not
        there is a link, and at once when a renewal finds that the seat is another's or nobody's.
        """
        holding = self._holding
        while not holding.lost:
            with trio.move_on_at(holding.safe_until):
                await holding.lost_now.wait()
            if trio.current_time() >= holding.safe_until:
                holding.lose(NOT_RENEWED)
        return holding.lost


def _safe_until(asked_at: float, lease: int) -> float:
    return asked_at + lease * (1 - MARGIN)
