"""Many agents in one process: each with an outbox, an uplink and a session of its own, nothing between them shared."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from mra.aio.session import Access, open_session
from mra.outbox.outbox import open_outbox
from mra.outbox.policy import OutboxSettings
from mra.outbox.record import Draft, Lane
from mra.uplink.service import LinkStatus, run_uplink
from tests.harness.ledger import Row
from tests.harness.offers import SUBJECTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from mra.aio.session import Session
    from mra.outbox.outbox import Outbox
    from mra.uplink.service import UplinkSettings
    from tests.harness.saas import Saas

AT_ONCE = 20  # that are started together; a fleet that is switched on at one moment is not what is looked at
SETTINGS = OutboxSettings(ballast=0, min_free=0)


class Fleet:
    """Agents of one customer. Made by `open_fleet`."""

    def __init__(self, saas: Saas, settings: UplinkSettings) -> None:
        self.accepted: list[Row] = []
        self.attempts: list[float] = []
        """When an agent began to connect, in Trio's time."""
        self.connections: list[float] = []
        """When one had connected."""
        self._saas, self._settings = saas, settings
        self._outboxes: dict[str, Outbox] = {}
        self._connected = trio.Event()

    async def run(self, name: str, database: Path) -> None:
        """One agent, for ever."""
        access = Access((self._saas.url,), name, self._saas.site.user, self._saas.site.password)
        async with open_outbox(database, SETTINGS) as outbox:
            self._outboxes[name] = outbox
            await run_uplink(outbox, access, self._settings, LinkStatus(), connect=self._connect)

    @asynccontextmanager
    async def _connect(self, access: Access) -> AsyncIterator[Session]:
        self.attempts.append(trio.current_time())
        async with open_session(access) as session:
            self.connections.append(trio.current_time())
            self._connected.set()
            self._connected = trio.Event()
            yield session

    async def wait_connected(self, times: int) -> None:
        """Wait until there were that many connections since the start."""
        while len(self.connections) < times:
            await self._connected.wait()

    async def accept(self, rows: int) -> None:
        """Every agent accepts that many events."""
        async with trio.open_nursery() as nursery:
            for name, outbox in self._outboxes.items():
                nursery.start_soon(self._accept, name, outbox, rows)

    async def _accept(self, name: str, outbox: Outbox, count: int) -> None:
        begin = sum(row.producer == name for row in self.accepted) + 1
        rows = [Row.new(Lane.EVENTS, name, number) for number in range(begin, begin + count)]
        await outbox.append_many(_drafts(rows))
        self.accepted += rows

    async def wait_drained(self) -> None:
        """Wait until no agent has anything to send."""
        for outbox in self._outboxes.values():
            await outbox.wait_empty()


def _drafts(rows: Sequence[Row]) -> list[Draft]:
    return [Draft(Lane.EVENTS, SUBJECTS[Lane.EVENTS], row.body(), id=row.id) for row in rows]


@asynccontextmanager
async def open_fleet(directory: Path, saas: Saas, size: int, settings: UplinkSettings) -> AsyncIterator[Fleet]:
    """That many agents, connected, for the length of the block."""
    fleet = Fleet(saas, settings)
    async with trio.open_nursery() as nursery:
        for number in range(size):
            name = f"n{number:03}"
            nursery.start_soon(fleet.run, name, directory / name / "outbox.db")
            if number % AT_ONCE == AT_ONCE - 1:
                await fleet.wait_connected(number + 1)
        await fleet.wait_connected(size)
        yield fleet
        nursery.cancel_scope.cancel()
