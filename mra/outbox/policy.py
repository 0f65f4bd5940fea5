"""How a lane is bounded, and what happens when the bound is met. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from mra.outbox.record import Lane

if TYPE_CHECKING:
    from collections.abc import Mapping

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR
MIB = 1024 * 1024
SHORTEST_REPLAY = 10 * MINUTE


class Overflow(StrEnum):
    """What a full lane does with the next record."""

    REJECT = "reject"
    DROP_OLDEST = "drop-oldest"
    NEWEST_PER_KEY = "newest-per-key"  # older waiting rows of a key give way at once; when full, as drop-oldest
    THIN = "thin"  # every second row of the older half goes, so that a trend stays visible


@dataclass(frozen=True, slots=True)
class LanePolicy:
    """Bounds of one lane. Ages are seconds of host uptime; None means unbounded."""

    overflow: Overflow
    max_bytes: int
    max_age: float | None = None
    weight: int = 1


DEFAULT_POLICIES: Mapping[Lane, LanePolicy] = MappingProxyType(
    {
        Lane.SUBMISSIONS: LanePolicy(Overflow.REJECT, 1024 * MIB, None, weight=8),
        Lane.EVENTS: LanePolicy(Overflow.DROP_OLDEST, 1024 * MIB, None, weight=4),
        Lane.NODES: LanePolicy(Overflow.NEWEST_PER_KEY, 128 * MIB, None, weight=2),
        Lane.METRICS: LanePolicy(Overflow.THIN, 512 * MIB, 30 * DAY, weight=1),
    }
)


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """Bounds of the whole file. `min_free` is what the host keeps for itself; new records are refused below it."""

    max_bytes: int = 4096 * MIB
    min_free: int = 64 * MIB
    ballast: int = 16 * MIB
    replay_window: float = 24 * HOUR
    replay_bytes: int = 512 * MIB
    export_hold: float = 7 * DAY  # seconds of uptime in which rows of an unanswered sealed file are shed by no policy
    synchronous: str = "FULL"  # NORMAL exists for the negative control of the power-loss test, nothing else
    lanes: Mapping[Lane, LanePolicy] = field(default_factory=lambda: DEFAULT_POLICIES)
