"""What one evaluation may cost: expressions come from outside, and they run on the thread that runs everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mra.machines.golang import DEEPEST

MOST_STEPS: Final = 50_000  # about a tenth of a second
MOST_MEMORY: Final = 1_000_000  # list elements, map entries and characters


class Fault(Exception):
    """The evaluation cannot go on; `at` is filled in on the way up with the offset of the part that failed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.at: int | None = None


class Budget:
    """Steps and memory that are left. One budget may serve several evaluations that belong together."""

    def __init__(self, steps: int = MOST_STEPS, memory: int = MOST_MEMORY) -> None:
        self._steps = steps
        self._memory = memory

    def spend(self, steps: int = 1) -> None:
        """Pay for work before it is done. Raises `Fault` when nothing is left."""
        self._steps -= steps
        if self._steps < 0:
            raise Fault("the evaluation takes too many steps")

    def hold(self, size: int) -> None:
        """Pay for memory before it is taken. Raises `Fault` when nothing is left."""
        self._memory -= size
        if self._memory < 0:
            raise Fault("the evaluation needs too much memory")

    def hold_printed(self, value: object, depth: int = 0) -> None:
        """Pay for printing a whole value, counting what it shares as often as it will appear."""
        if depth > DEEPEST:
            raise Fault(f"a value is nested more than {DEEPEST} levels deep")
        self.spend()
        match value:
            case str():
                self.hold(len(value))
            case Mapping():
                for key, item in value.items():
                    self.hold(len(key) if isinstance(key, str) else 1)
                    self.hold_printed(item, depth + 1)
            case list() | tuple():
                for item in value:
                    self.hold_printed(item, depth + 1)
            case _:
                self.hold(24)
