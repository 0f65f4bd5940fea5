"""Delays between attempts, as plain numbers.

Full jitter (a uniform draw between zero and a doubling ceiling) spreads a herd of agents evenly over the ceiling. A
herd begins at one moment, so the first ceiling decides how much of it comes at once: when that is two thirds of the
last one, the peak rate stays under three times the mean, whenever the other side returns. When it is small, most of
the herd is back within moments of a short outage, and overruns what has just been restarted.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


class Uniform(Protocol):
    """Where randomness comes from; `random.Random` is one."""

    def uniform(self, a: float, b: float, /) -> float: ...


def full_jitter(first: float, cap: float, source: Uniform = random) -> Iterator[float]:
    """Yield delays in seconds for ever: each uniform in [0, ceiling), the ceiling doubling from `first` to `cap`.

    A `first` above the cap is the cap.
    """
    ceiling = min(first, cap)
    while True:
        yield source.uniform(0.0, ceiling)
        ceiling = min(cap, ceiling * 2)
