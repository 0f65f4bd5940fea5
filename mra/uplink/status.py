"""What `mra status` shows of the uplink; written by its tasks, read by whoever asks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import trio

from mra.outbox.record import Lane

_RATE_SECONDS = 10


class Rate:
    """Rows per second over the last ten seconds, counted in one bucket a second."""

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, int]] = deque(maxlen=_RATE_SECONDS + 1)

    def count(self, rows: int) -> None:
        """Note rows that were just stored."""
        second = int(trio.current_time())
        if self._buckets and self._buckets[-1][0] == second:
            rows += self._buckets.pop()[1]
        self._buckets.append((second, rows))

    def per_second(self) -> float:
        """The rate now."""
        horizon = trio.current_time() - _RATE_SECONDS
        return sum(rows for second, rows in self._buckets if second > horizon) / _RATE_SECONDS


@dataclass
class LaneStatus:
    """What `mra status` shows of a lane's draining."""

    state: str = "offline"  # offline, idle, draining, waiting (the SaaS cannot take more now), held
    mode: str = "atomic"  # or "single": at-least-once beyond the stream's duplicate window
    delivered: int = 0  # rows since the daemon's start
    batches: int = 0
    last_error: str | None = None
    _rate: Rate = field(default_factory=Rate)

    def count(self, rows: int) -> None:
        """Note a batch that the SaaS has taken."""
        self.delivered += rows
        self.batches += 1
        self._rate.count(rows)

    def rate(self) -> float:
        """Rows per second over the last ten seconds."""
        return self._rate.per_second()


@dataclass
class LinkStatus:
    """What `mra status` shows of the link."""

    state: str = "connecting"  # connecting, connected, down
    server: str | None = None
    attempts: int = 0  # since the last connection
    connections: int = 0
    since: float = 0.0  # Trio time of the last change of state
    last_error: str | None = None
    lanes: dict[Lane, LaneStatus] = field(default_factory=lambda: {lane: LaneStatus() for lane in Lane})
    refused: trio.Event = field(default_factory=trio.Event)  # set while the SaaS does not take who we say we are

    def become(self, state: str) -> None:
        """Change state, and remember when."""
        if state != self.state:
            self.state, self.since = state, trio.current_time()
