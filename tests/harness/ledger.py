"""What producers were told was accepted, and the count against what the SaaS holds.

A producer writes a row into the ledger *after* the product said that it accepted it. So a row in the ledger must arrive
exactly once. A row that a producer offered without getting an answer is in no ledger: it may arrive or not, but not
twice, and not out of turn.

Every writer has a file of its own in the ledger's directory, one line a row. A writer killed in the middle of a line
leaves a torn tail, which counts as not accepted, since nobody acted on that answer.
"""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """A test row; its body says who offered it and as which one, counted from 1 per producer and lane."""

    lane: str
    producer: str
    number: int
    id: str

    @classmethod
    def new(cls, lane: str, producer: str, number: int) -> Self:
        """The next row of a producer, with a random id."""
        return cls(lane, producer, number, secrets.token_hex(16))

    def body(self, size: int = 0) -> bytes:
        """The row as JSON, padded to `size` bytes."""
        fields = {"lane": self.lane, "producer": self.producer, "number": self.number, "id": self.id}
        return json.dumps({"row": fields}).encode().ljust(size)

    @classmethod
    def from_body(cls, body: bytes) -> Self | None:
        """The row in a stored message, or None when the message is no test row, a checkpoint for instance."""
        try:
            document = json.loads(body)
        except ValueError:
            return None
        fields = document.get("row") if isinstance(document, dict) else None
        return cls(**fields) if isinstance(fields, dict) else None


class LedgerWriter:
    """One producer process's own file in the ledger."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = os.open(directory / f"{secrets.token_hex(8)}.ledger", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def accepted(self, rows: Iterable[Row]) -> None:
        """Record that these rows were answered with success. They outlive a SIGKILL of this process."""
        text = "".join(f"{row.lane} {row.producer} {row.number} {row.id}\n" for row in rows).encode()
        while text:
            text = text[os.write(self._file, text) :]

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)


def read_ledger(directory: Path) -> frozenset[Row]:
    """Every row recorded as accepted until now, by all writers."""
    rows: set[Row] = set()
    for file in directory.glob("*.ledger"):
        *whole, _torn = file.read_text().split("\n")
        for line in whole:
            lane, producer, number, identity = line.split(" ")
            rows.add(Row(lane, producer, int(number), identity))
    return frozenset(rows)


@dataclass(frozen=True, slots=True)
class Counts:
    """One lane: what was accepted and what became of it. Always `accepted == delivered + lost`."""

    accepted: int = 0
    delivered: int = 0
    lost: int = 0
    duplicated: int = 0
    """How many stored messages repeat an earlier one."""
    reordered: int = 0
    """How many rows are stored after a later row of their producer."""
    unanswered: int = 0
    """How many rows are stored whose producer never got an answer."""

    @property
    def perfect(self) -> bool:
        """Exactly once and in order."""
        return not (self.lost or self.duplicated or self.reordered)


def reconcile(accepted: Iterable[Row], stored: Iterable[Row]) -> Mapping[str, Counts]:
    """Count each lane, given the rows accepted and the rows of the streams in stored order."""
    accepted = frozenset(accepted)
    arrivals = Counter[Row]()
    latest: defaultdict[tuple[str, str], int] = defaultdict(int)
    reordered = Counter[str]()
    for row in stored:
        arrivals[row] += 1
        if arrivals[row] > 1:
            continue
        whose = row.lane, row.producer
        if row.number < latest[whose]:
            reordered[row.lane] += 1
        latest[whose] = max(latest[whose], row.number)
    return {
        lane: Counts(
            accepted=sum(row.lane == lane for row in accepted),
            delivered=sum(row.lane == lane for row in accepted & arrivals.keys()),
            lost=sum(row.lane == lane for row in accepted - arrivals.keys()),
            duplicated=sum(times - 1 for row, times in arrivals.items() if row.lane == lane),
            reordered=reordered[lane],
            unanswered=sum(row.lane == lane for row in arrivals.keys() - accepted),
        )
        for lane in sorted({row.lane for row in accepted} | {row.lane for row in arrivals})
    }
