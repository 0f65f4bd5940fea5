"""How large the next batch of a lane may be, and how long an answer may take. Pure.

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
FLOOR = 2 * 1024
_FIRST = 64 * 1024
TOTAL_SECONDS = 0.5  # of link time that all lanes together may have in flight
_MOST_PATIENCE = 16  # times the patience of an ordinary link


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
    """The size of one lane's batches: doubles while their bytes travel quickly, halves when they take too long.

    Part of what a batch takes does not depend on its size: the way there and back, the syncs of two disks. Comparing
    batches of different sizes tells the two apart, and only the time on the link counts: a smaller batch would leave
    that to other lanes. So a long way or a slow disk does not lead to tiny batches.
    """

    def __init__(self) -> None:
        self.bytes = _FIRST
        self._rows = self._most_rows = MAX_ROWS
        self._quickest: dict[int, tuple[int, float]] = {}  # per power of two: a size, and what it took lately

    @property
    def rows(self) -> int:
        """Rows that the next batch may have."""
        return self._rows

    def observe(self, size: int, seconds: float, slice_seconds: float) -> None:
        """A batch of `size` bytes was answered after `seconds`."""
        travelling = self._travelling(size, seconds)
        if travelling > slice_seconds:
            self.bytes = max(FLOOR, min(self.bytes, size) // 2)
        elif travelling < slice_seconds / 2 and size * 2 >= self.bytes:
            self.bytes = min(MAX_BYTES, self.bytes * 2)
        self._rows = min(self._most_rows, self._rows * 2)

    def _travelling(self, size: int, seconds: float) -> float:
        """Seconds that the bytes alone took, as the next smaller batches (or, without any, larger ones) tell."""
        magnitude = size.bit_length()
        _, before = self._quickest.get(magnitude, (size, seconds))
        lately = seconds if seconds < before else before + (seconds - before) * 0.3
        self._quickest[magnitude] = size, lately
        smaller = max((other for other in self._quickest if other < magnitude), default=None)
        other = smaller or min((other for other in self._quickest if other > magnitude), default=None)
        if other is None:
            return 2 * seconds  # nothing to compare with yet: rather a smaller batch next
        other_size, other_seconds = self._quickest[other]
        return max(0.0, (lately - other_seconds) / (size - other_size)) * size

    def lost(self) -> None:
        """A batch was not answered at all: the link may be slower than the size of the batch allows."""
        self.bytes = max(FLOOR, self.bytes // 4)

    def split(self, rows: int) -> None:
        """A batch of `rows` was refused for the sake of one of them: look for it by halves."""
        self._rows = max(1, rows // 2)

    def limit(self, rows: int) -> None:
        """The SaaS takes less than `rows` in one batch, whatever they are."""
        self._most_rows = self._rows = max(1, rows // 2)


class Patience:
    """Seconds that an answer may take: doubles when a connection fell silent over a batch, until one is answered.

    A large row on a thin link is on its way for minutes; with a fixed patience it would be sent again for ever.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        self._ordinary = self.seconds = seconds

    def lost(self) -> None:
        """Nothing was heard for this long."""
        self.seconds = min(self._ordinary * _MOST_PATIENCE, self.seconds * 2)

    def answered(self) -> None:
        """A batch was answered."""
        self.seconds = self._ordinary
