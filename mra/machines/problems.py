"""What is wrong with a manifest, and where: all of it, not only the first thing. (pure)"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


class Severity(StrEnum):
    """Whether a manifest with this problem runs."""

    ERROR = "error"
    ADVICE = "advice"


class Place(Protocol):
    """Anything that knows where it stands: a `Node` or an `Entry`."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `key` is a path such as `watchers[0].properties.timeout`; line 0 means that no file is behind it."""

    line: int
    column: int
    severity: Severity
    key: str
    reason: str

    def sentence(self, source: str) -> str:
        """The finding for the operator; `source` names the file."""
        place = f"{source}:{self.line}" if self.line else source
        return f"{place}: {self.key}: {self.reason}." if self.key else f"{place}: {self.reason}."


@dataclass
class Findings:
    """Collects problems while a manifest is read."""

    found: list[Problem] = field(default_factory=list)

    def error(self, place: Place, key: str, reason: str) -> None:
        """The manifest does not run with this."""
        self.found.append(Problem(place.line, place.column, Severity.ERROR, key, reason))

    def advise(self, place: Place, key: str, reason: str) -> None:
        """The manifest runs, but probably not as its author meant, or not everywhere."""
        self.found.append(Problem(place.line, place.column, Severity.ADVICE, key, reason))

    @property
    def errors(self) -> int:
        """How many of the findings keep the manifest from running."""
        return sum(problem.severity is Severity.ERROR for problem in self.found)

    def in_order(self) -> Iterator[Problem]:
        """As the file has them."""
        yield from sorted(self.found, key=lambda problem: (problem.line, problem.column))
