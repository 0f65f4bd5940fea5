"""The count: what a reader of its own finds in the streams, against what the producer was told is accepted."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import trio

from mra.outbox.record import Lane
from tests.harness.ledger import Row, read_ledger, reconcile

if TYPE_CHECKING:
    from lab.stage import Lab

STREAMS = ("MACHINE_ROOM_EVENTS", "MACHINE_ROOM_NODES", "MACHINE_ROOM_SUBMISSION")


async def stored_rows(lab: Lab) -> list[Row]:
    """Every test row of the three streams, in stored order, read by a client that shares no code with the agent."""
    rows: list[Row] = []
    for stream in STREAMS:
        async with lab.open_wire() as wire:
            found = [Row.from_body(message.body) for message in await wire.read_stream(stream)]
        rows += [row for row in found if row is not None]
    return rows


def count(lab: Lab) -> dict[str, dict[str, int]]:
    """Per lane, from the producer's ledger and the streams alone.

    A node report that a newer one of the same node replaced before it was sent is `superseded`, as the lane's policy
    says; the newest report of each node has to be there.
    """
    accepted = read_ledger(lab.ledger)
    stored = trio.run(stored_rows, lab)
    newest: dict[str, int] = {}
    for row in accepted:
        if row.lane == Lane.NODES:
            newest[row.producer] = max(newest.get(row.producer, 0), row.number)
    there = set(stored)
    replaced = {row for row in accepted - there if row.lane == Lane.NODES and row.number < newest[row.producer]}
    counts = {lane: asdict(found) for lane, found in reconcile(accepted - replaced, stored).items()}
    for fields in counts.values():
        fields.pop("unanswered")
        fields["superseded"] = 0
    if Lane.NODES in counts:
        counts[Lane.NODES]["superseded"] = len(replaced)
        counts[Lane.NODES]["accepted"] += len(replaced)
    return counts


def is_perfect(counts: dict[str, dict[str, int]]) -> bool:
    """Nothing lost, doubled or out of order, and every lane took part."""
    return len(counts) == len(Lane) and not any(
        lane["lost"] or lane["duplicated"] or lane["reordered"] for lane in counts.values()
    )
