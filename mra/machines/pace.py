"""How long a machine that changes its state quickly has to wait before the next change. (pure)

Every fired transition counts, also one to the same state. The more there were since the last quiet minute, the longer
the wait, up to five seconds, half as much either way at random (section 2.2 of the reference).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final, Protocol

WAITS_MS: Final = (
    *(0, 25, 50, 75, 100, 125, 150, 200, 250, 500, 750, 1000),
    *(1500, 2000, 2500, 3000, 3500, 4000, 4500, 5000),
)
QUIET_SECONDS: Final = 60.0


class Dice(Protocol):
    """Where randomness comes from; `random.Random` is one."""

    def randrange(self, stop: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """Transitions since the last quiet minute, and when the present minute will have been quiet."""

    count: int = 0
    quiet_at: float | None = None  # on the caller's clock; None until the first transition

    def next(self, now: float, dice: Dice = random) -> tuple[float, Pace]:
        """Seconds to wait before firing at `now`, and the pace to keep once that has been fired."""
        count, quiet_at = self.count, self.quiet_at
        if quiet_at is not None and now >= quiet_at:
            count = 0
            quiet_at += QUIET_SECONDS * (1 + (now - quiet_at) // QUIET_SECONDS)
        wait = jittered(WAITS_MS[min(count, len(WAITS_MS) - 1)], dice) / 1000 if count else 0.0
        if count or quiet_at is None:
            quiet_at = now + wait + QUIET_SECONDS
        return wait, Pace(count + 1, quiet_at)


def jittered(milliseconds: int, dice: Dice = random) -> float:
    """Between half and one and a half of a wait."""
    return milliseconds / 2 + dice.randrange(milliseconds)
