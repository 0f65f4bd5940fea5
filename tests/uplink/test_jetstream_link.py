"""The real link against a real server, where the fake has nothing to say: whose trouble a silence is, and sizes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from mra.aio.session import Access, Session, Silent, open_session
from mra.errors import LinkLost, Unavailable
from mra.outbox.record import Lane
from mra.uplink.jetstream import JetStreamLink
from mra.uplink.recovery import marker_checkpoint
from tests.harness.saas import EVENTS, LAB, Saas, open_saas

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.lab
MARKER = marker_checkpoint("epoch", 0, 0)


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Saas]:
    async with open_saas(tmp_path / "saas") as running:
        yield running


@asynccontextmanager
async def open_link(saas: Saas, patience: float = 1.0) -> AsyncIterator[tuple[JetStreamLink, Session]]:
    async with open_session(Access((saas.url,), "n1", saas.site.user, saas.site.password)) as session:
        yield JetStreamLink(session, "n1", patience=lambda lane: patience), session


async def test_a_stream_that_keeps_silent_is_one_lanes_trouble(saas: Saas) -> None:
    """Somebody takes the messages and never answers; the connection is alive, and the other lanes go on over it."""
    await saas.delete_stream(EVENTS)
    backend = Access((saas.url,), "mute", saas.backend.user, saas.backend.password)
    async with open_session(backend) as mute, open_link(saas) as (link, session):
        await mute.subscribe("machine_room.events.>", lambda message: None)
        await mute.round_trip(10)  # the subscription is known to the server
        with trio.fail_after(30), pytest.raises(Unavailable, match="did not answer") as silence:
            await link.put_checkpoint(Lane.EVENTS, MARKER, 0)
        assert not isinstance(silence.value, LinkLost)
        assert not session.lost.is_set()
        assert await link.put_checkpoint(Lane.NODES, MARKER, 0) == 1


async def test_a_server_that_keeps_silent_is_the_connections_trouble(saas: Saas) -> None:
    async with open_link(saas) as (link, _):
        await saas.suspend()
        try:
            with trio.fail_after(30), pytest.raises(Silent):
                await link.read_checkpoint(Lane.EVENTS)
        finally:
            saas.resume()


async def test_the_accounts_own_limit_of_a_message_is_known(tmp_path: Path) -> None:
    """The server's first words speak of itself; what the account may send it says after the login."""
    text = (
        (LAB / "nats" / "saas.conf").read_text().replace("  acme {\n", "  acme {\n    limits { max_payload: 65536 }\n")
    )
    configuration = tmp_path / "saas.conf"
    configuration.write_text(text)
    async with open_saas(tmp_path / "saas", configuration=configuration) as saas, open_link(saas) as (link, session):
        await session.round_trip(10)
        assert link.max_payload == 65536
