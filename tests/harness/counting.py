"""The end of every chaos test: what the SaaS holds against what was accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.harness.ledger import Counts, Row, reconcile
from tests.harness.saas import EVENTS, NODES, SUBMISSION, Saas

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STREAM_OF = {"events": EVENTS, "metrics": EVENTS, "nodes": NODES, "submissions": SUBMISSION}


async def stored_rows(saas: Saas) -> list[Row]:
    """The test rows of all streams, each stream in its order. A row in a stream of another lane fails the test."""
    rows: list[Row] = []
    async with saas.connect() as wire:
        for stream in sorted(set(STREAM_OF.values())):
            for message in await wire.read_stream(stream):
                row = Row.from_body(message.body)
                if row is None:
                    continue
                assert STREAM_OF[row.lane] == stream, f"a row of {row.lane} lies in {stream}"
                rows.append(row)
    return rows


async def count(saas: Saas, accepted: Iterable[Row]) -> Mapping[str, Counts]:
    """Counts per lane, read from the streams by the tests' own client."""
    return reconcile(accepted, await stored_rows(saas))
