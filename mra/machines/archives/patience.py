"""How long a download goes on. (pure)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one call of `download` goes on. What it has when it gives up serves the next call."""

    pauses: Sequence[float] = (1.0, 5.0)  # seconds before each further attempt
    total_seconds: float = 900.0  # bounds what a server can hold us up with by dripping


DEFAULT_PATIENCE = Patience()
