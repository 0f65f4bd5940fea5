"""How test rows are offered to the outbox, from outside and from inside the daemon.

    producer        a process that writes into the database file beside the daemon, up or down, as `mra submit` does
    loaded_agent    the daemon itself with producing tasks in it, as its own watchers and facts are

Both take the same arguments, offer groups of rows, and write those accepted into the ledger. A group refused for want
of room is offered again; one whose fate is unknown is not, so that its rows stay the unanswered ones of `reconcile`.
"""

from __future__ import annotations

import argparse
import itertools
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mra.outbox import Draft, Lane
from mra.settings import Settings, read_settings
from tests.harness.ledger import Row

if TYPE_CHECKING:
    from collections.abc import Mapping

PAUSE_WHEN_FULL_SECONDS = 0.1
SUBJECTS: Mapping[Lane, str] = {
    Lane.EVENTS: "lifecycle.event.tested.server",
    Lane.METRICS: "metric.tested",
    Lane.NODES: "tested",
    Lane.SUBMISSIONS: "tested.rows",
}

Group = tuple[Sequence[Row], Sequence[Draft]]


@dataclass(frozen=True, slots=True)
class Load:
    """What one process offers."""

    config: Path
    ledger: Path
    lanes: Sequence[Lane]
    group: int
    """Rows in one transaction."""
    count: int
    """Rows of each producer in a lane, 0 for no end."""
    pause: float
    """Seconds between two groups of a producer."""
    size: int
    """Bytes of a row's body, at least."""
    synchronous: str
    """How SQLite syncs; anything but FULL is for negative controls."""

    def arguments(self) -> list[str]:
        """The command line that `parse` reads back."""
        lanes = [f"--lane={lane}" for lane in self.lanes]
        names = ("config", "ledger", "group", "count", "pause", "size", "synchronous")
        return [*lanes, *(f"--{name}={getattr(self, name)}" for name in names)]

    @classmethod
    def parse(cls, arguments: Sequence[str] | None = None) -> Self:
        """A load from the command line."""
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--lane", dest="lanes", type=Lane, action="append", required=True)
        parser.add_argument("--config", type=Path, required=True)
        parser.add_argument("--ledger", type=Path, required=True)
        parser.add_argument("--group", type=int, required=True)
        parser.add_argument("--count", type=int, required=True)
        parser.add_argument("--pause", type=float, required=True)
        parser.add_argument("--size", type=int, required=True)
        parser.add_argument("--synchronous", required=True)
        return cls(**vars(parser.parse_args(arguments)))

    def settings(self) -> Settings:
        """The agent's own settings, with the syncing asked for."""
        settings = read_settings(self.config)
        return replace(settings, outbox=replace(settings.outbox, synchronous=self.synchronous))

    def groups(self, lane: Lane) -> Iterator[Group]:
        """Groups of rows of a producer that nobody else is."""
        producer = secrets.token_hex(4)
        numbers = itertools.count(1) if self.count == 0 else iter(range(1, self.count + 1))
        while numbered := list(itertools.islice(numbers, self.group)):
            rows = [Row.new(lane.value, producer, number) for number in numbered]
            yield rows, [self._draft(row) for row in rows]

    def _draft(self, row: Row) -> Draft:
        lane = Lane(row.lane)
        # A key of its own: no row replaces another in the lane that keeps the newest of each.
        return Draft(lane, SUBJECTS[lane], row.body(self.size), key=row.id, id=row.id)
