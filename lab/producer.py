"""A local program that keeps producing: a steady mix for all four lanes, written straight into the outbox file.

It knows nothing of the daemon, which may be up, down or killed; a row goes into the ledger after it was accepted.
"""

from __future__ import annotations

import argparse
import time
from contextlib import closing
from pathlib import Path

from mra.clock import now
from mra.control import poke_daemon
from mra.outbox.outbox import prepare
from mra.outbox.record import Draft, Lane
from mra.outbox.store import Request, accept
from mra.settings import Settings, read_settings
from tests.harness.ledger import LedgerWriter, Row

TICK_SECONDS = 0.05
NODES = 40
# Of twenty rows: eleven events, five metrics, three submissions, one node report.
PATTERN = (
    *(Lane.EVENTS, Lane.METRICS, Lane.EVENTS, Lane.SUBMISSIONS, Lane.EVENTS, Lane.EVENTS, Lane.METRICS) * 2,
    *(Lane.EVENTS, Lane.METRICS, Lane.EVENTS, Lane.SUBMISSIONS, Lane.EVENTS, Lane.NODES),
)
BODY_BYTES = {Lane.EVENTS: 512, Lane.METRICS: 256, Lane.SUBMISSIONS: 400, Lane.NODES: 2048}


class Mix:
    """The next rows of the mix, numbered per producer and lane."""

    def __init__(self) -> None:
        self._made = 0
        self._numbers: dict[tuple[Lane, str], int] = {}

    def take(self, count: int) -> list[tuple[Row, Draft]]:
        """The next `count` rows, and what the outbox is asked to accept for them."""
        return [self._next() for _ in range(count)]

    def _next(self) -> tuple[Row, Draft]:
        lane = PATTERN[self._made % len(PATTERN)]
        node = f"node{self._made // len(PATTERN) % NODES:02}" if lane is Lane.NODES else "site"
        self._made += 1
        number = self._numbers[lane, node] = self._numbers.get((lane, node), 0) + 1
        row = Row.new(lane.value, node, number)
        subject = {
            Lane.EVENTS: "machine.transition",
            Lane.METRICS: "metric.cpu",
            Lane.SUBMISSIONS: "app.orders",
            Lane.NODES: node,
        }[lane]
        key = node if lane is Lane.NODES else None
        return row, Draft(lane, subject, row.body(BODY_BYTES[lane]), key=key, id=row.id)


def produce(settings: Settings, ledger: LedgerWriter, rows: int, seconds: float) -> None:
    """Offer `rows` evenly over `seconds`; what is refused for want of room is offered again."""
    mix = Mix()
    started = time.monotonic()
    done = 0
    with closing(prepare(settings.database, settings.outbox)) as connection:
        while done < rows:
            due = min(rows, int(rows * (time.monotonic() - started) / seconds) + 1)
            offered = mix.take(due - done)
            while offered:
                drafts = [draft for _, draft in offered]
                outcome = accept(connection, settings.database, [Request(drafts)], settings.outbox, now())[0]
                if not isinstance(outcome, Exception):
                    ledger.accepted(row for row, _ in offered)
                    break
                time.sleep(TICK_SECONDS)
            done = due
            poke_daemon(settings.socket)
            time.sleep(TICK_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    produce(read_settings(arguments.config), LedgerWriter(arguments.ledger), arguments.rows, arguments.seconds)


if __name__ == "__main__":
    main()
