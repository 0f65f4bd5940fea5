"""How large the next batch of a lane may be. Pure.

Lanes share one link. Each may keep it busy for a slice of time in proportion to its weight, so that a fresh
submission never waits behind more than the slices of the others, however slow the link and however long the backlog.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mra.outbox.record import Lane

MAX_ROWS = 999  # the server takes 1,000 messages in an atomic batch; the last is the checkpoint
MAX_BYTES = 4 * 1024 * 1024
_FLOOR = 2 * 1024
_FIRST = 256 * 1024
TOTAL_SECONDS = 0.5  # of link time that all lanes together may have in flight


@dataclass
class Shares:
    """Which lanes are busy, and what part of the link each may take."""

    weights: Mapping[Lane, int]
    _busy: set[Lane] = field(default_factory=set)

    def enter(self, lane: Lane) -> None:
        """The lane has rows to send."""
        self._busy.add(lane)

    def leave(self, lane: Lane) -> None:
        """The lane is empty."""
        self._busy.discard(lane)

    def slice(self, lane: Lane) -> float:
        """Seconds of link time for one batch of the lane."""
        total = sum(self.weights[other] for other in self._busy | {lane})
        return TOTAL_SECONDS * self.weights[lane] / total


class Pace:
    """The size of one lane's batches: doubles while they are answered quickly, halves when they take too long."""

    def __init__(self) -> None:
        self.bytes = _FIRST
        self._rows = MAX_ROWS

    @property
    def rows(self) -> int:
        """Rows that the next batch may have."""
        return self._rows

    def observe(self, size: int, seconds: float, slice_seconds: float) -> None:
        """A batch of `size` bytes was answered after `seconds`."""
        if seconds > slice_seconds:
            self.bytes = max(_FLOOR, self.bytes // 2)
        elif seconds < slice_seconds / 2 and size * 2 >= self.bytes:
            self.bytes = min(MAX_BYTES, self.bytes * 2)
        self._rows = min(MAX_ROWS, self._rows * 2)

    def split(self, rows: int) -> None:
        """A batch of `rows` was refused for the sake of one of them: look for it by halves."""
        self._rows = max(1, rows // 2)
