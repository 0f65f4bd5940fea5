"""How much of the shared streams each customer fills.

The streams are everyone's, and a server bounds a stream, not a customer in it. So the room of each is counted here, in
rows, which with the largest message of a customer bounds its bytes; whoever is over the limit is suspended before the
streams are full for all. A row counts until it ages out, or is purged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mra.saas.streams import call_api

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mra.aio.session import Session
    from mra.saas.registry import Customer

KINDS = {"MACHINE_ROOM_EVENTS": "events", "MACHINE_ROOM_NODES": "nodes", "MACHINE_ROOM_SUBMISSION": "submit"}


class Usage(NamedTuple):
    """Rows of one customer, checkpoints included, by stream."""

    customer: Customer
    rows: dict[str, int]

    @property
    def total(self) -> int:
        """In all streams."""
        return sum(self.rows.values())

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self.customer.limits.rows >= 0

    @property
    def excess(self) -> str:
        """Why it has to be suspended; empty while it is within its limit."""
        limit = self.customer.limits.rows
        return f"{self.total} rows of {limit}" if self.limited and self.total > limit else ""


async def measure(session: Session, customers: Iterable[Customer]) -> list[Usage]:
    """What these customers fill now. Raises Unavailable, Refused, LinkLost."""
    return [
        Usage(
            customer, {stream: await _rows(session, stream, kind, customer.account) for stream, kind in KINDS.items()}
        )
        for customer in customers
    ]


async def _rows(session: Session, stream: str, kind: str, account: str) -> int:
    """The server gives counts by subject, in pages."""
    count = seen = 0
    while True:
        request = {"subjects_filter": f"machine_room.{kind}.{account}.>", "offset": seen}
        info = await call_api(session, f"STREAM.INFO.{stream}", request)
        page: dict[str, int] = info["state"].get("subjects") or {}
        count += sum(page.values())
        seen += len(page)
        if not page or seen >= info.get("total", 0):
            return count
