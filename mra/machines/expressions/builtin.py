"""What the table of built-in functions holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Builtin:
    """A function of the budget and of `fewest` to `most` arguments; it pays for its result before it makes it."""

    call: Callable[..., object]
    fewest: int
    most: int
