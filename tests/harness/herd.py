"""A fleet that comes back: how its attempts to connect spread over time, and a simulation of them.

The simulation runs the agents' own back-off under a mock clock, against a server that greets so many connections a
second, one after the other. Whoever is not greeted in time gives up and tries again, and has cost the server its
greeting all the same: that is how a herd keeps a server down that was only restarted.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio
import trio.testing

from mra.backoff import full_jitter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mra.uplink.service import UplinkSettings

TICK = 0.05  # seconds; what falls between two ticks happens together, so that ten thousand agents take seconds


def peak_over_mean(moments: Sequence[float], since: float, window: float = 1.0) -> float:
    """The busiest window against the mean of all, from `since` until the last moment."""
    windows = Counter(int((moment - since) / window) for moment in moments)
    return max(windows.values()) / (len(moments) / (max(windows) + 1))


@dataclass
class Return:
    """What a simulated server saw from its return on; moments are seconds since the fleet lost it."""

    attempts: list[float] = field(default_factory=list)
    greeted: list[float] = field(default_factory=list)
    wasted: int = 0
    """Greetings of connections that nobody waited for any more."""


class _Server:
    """Away until `back`; then it greets `rate` connections a second, in the order of their arrival."""

    def __init__(self, back: float, rate: float, patience: float) -> None:
        self.seen = Return()
        self._back, self._rate, self._patience = back, rate, patience
        self._free = back

    async def greet(self) -> bool:
        """Whether the connection was greeted while its agent waited."""
        now = trio.current_time()
        if now < self._back:
            return False
        self.seen.attempts.append(now)
        greeted = self._free = max(now, self._free) + 1 / self._rate
        if greeted > now + self._patience:
            self.seen.wasted += 1
            await trio.sleep(self._patience)
            return False
        await _sleep_until(greeted)
        self.seen.greeted.append(greeted)
        return True


async def _sleep_until(moment: float) -> None:
    await trio.sleep_until(-(-moment // TICK) * TICK)


def simulate(
    settings: UplinkSettings, *, agents: int, outage: float, rate: float, patience: float = 5.0, seed: int = 1
) -> Return:
    """All agents are connected and lose the server together; it is back after `outage` seconds."""
    dice = random.Random(seed)
    server = _Server(outage, rate, patience)

    async def agent() -> None:
        for pause in full_jitter(settings.retry_first, settings.retry_cap, dice):
            await _sleep_until(trio.current_time() + pause)
            if await server.greet():
                return

    async def fleet() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(agents):
                nursery.start_soon(agent)

    trio.run(fleet, clock=trio.testing.MockClock(autojump_threshold=0))
    return server.seen
