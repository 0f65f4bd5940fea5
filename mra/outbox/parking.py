"""Dead letters: rows that can never be delivered are kept apart, with the reason, and their lane goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mra.clock import now
from mra.outbox import lanes
from mra.outbox.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mra.outbox.record import Lane
    from mra.outbox.sqlite import Connection

_KEPT = "size, sum, wall, mono, boot, expires, id, subject, key, headers, body"


def park(connection: Connection, lane: Lane, seqs: Sequence[int], reason: str) -> int:
    """Move rows to the dead letters with the reason; return how many moved."""
    moved = 0
    with transaction(connection):
        here = lanes.load(connection, lane)
        for seq in seqs:
            row = connection.execute(f"SELECT {_KEPT} FROM {here.table} WHERE seq = ?", (seq,)).fetchone()
            if row is None or seq <= here.settled_through:
                continue
            # Deleted first, so that the dead letter takes the pages that the row leaves: a full file parks too.
            connection.execute(f"DELETE FROM {here.table} WHERE seq = ?", (seq,))
            kept = _storable(row)
            connection.execute(
                f"INSERT INTO parked (lane, seq, reason, parked_wall, {_KEPT})"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (lane.value, seq, reason, now().wall, *kept),
            )
            here.waiting -= 1
            here.parked += 1
            here.waiting_bytes -= kept[0]
            moved += 1
        here.save(connection)
    return moved


def _storable(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row as a strict table takes it; damage may have made a text of a number, or nothing of anything."""
    *numbers, expires, id_, subject, key, headers, body = row
    return (
        *(number if isinstance(number, int) else 0 for number in numbers),
        expires if isinstance(expires, int) else None,
        id_ if isinstance(id_, str) else f"damaged: {id_!r}",
        subject if isinstance(subject, str) else f"damaged: {subject!r}",
        key if isinstance(key, str) else None,
        headers if isinstance(headers, str) else None,
        body if isinstance(body, bytes) else str(body).encode(),
    )
