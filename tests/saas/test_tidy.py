"""Old checkpoints go, the newest of every lane stays, and sites deliver on as if nothing had happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mra.aio.session import Access, open_session
from mra.outbox.record import Lane
from mra.saas.streams import tidy
from mra.uplink.jetstream import JetStreamLink
from mra.uplink.recovery import marker_checkpoint
from tests.harness.saas import EVENTS, NODES, SUBMISSION, Login, Saas, open_saas

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.lab
GLOBEX = Login("globex", "globex-of-a-test")


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Saas]:
    async with open_saas(tmp_path / "saas") as running:
        yield running


async def put(saas: Saas, login: Login, agent: str, lane: Lane, marks: range, expected: int = 0) -> int:
    """Checkpoints up to each of the marks, one after the other; the stream sequence of the last."""
    async with open_session(Access((saas.url,), agent, login.user, login.password)) as session:
        link = JetStreamLink(session, agent)
        for mark in marks:
            expected = await link.put_checkpoint(lane, marker_checkpoint("epoch", mark, mark), expected)
    return expected


async def checkpoints(saas: Saas, stream: str) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    async with saas.connect() as wire:
        for message in await wire.read_stream(stream):
            if ".checkpoint." in message.subject:
                found.setdefault(message.subject, []).append(message.body)
    return found


async def test_the_newest_checkpoint_of_every_lane_and_customer_stays(saas: Saas) -> None:
    last = await put(saas, saas.site, "n1", Lane.EVENTS, range(5))
    await put(saas, saas.site, "n1", Lane.METRICS, range(1))
    await put(saas, GLOBEX, "n1", Lane.EVENTS, range(3))
    await put(saas, GLOBEX, "n2", Lane.SUBMISSIONS, range(2))
    async with saas.connect() as wire:
        await wire.store("machine_room.events.acme.lifecycle.x", b"a row")
    backend = Access((saas.url,), "tidy", saas.backend.user, saas.backend.password)
    async with open_session(backend) as session:
        assert await tidy(session) == {EVENTS: 4 + 2, NODES: 0, SUBMISSION: 1}
        assert await tidy(session) == {EVENTS: 0, NODES: 0, SUBMISSION: 0}
    left = await checkpoints(saas, EVENTS)
    assert {subject: len(bodies) for subject, bodies in left.items()} == {
        "machine_room.events.acme.checkpoint.n1-events": 1,
        "machine_room.events.acme.checkpoint.n1-metrics": 1,
        "machine_room.events.globex.checkpoint.n1-events": 1,
    }
    assert b'"through_seq":4' in left["machine_room.events.acme.checkpoint.n1-events"][0]
    async with saas.connect() as wire:
        assert any(message.body == b"a row" for message in await wire.read_stream(EVENTS))
    assert await put(saas, saas.site, "n1", Lane.EVENTS, range(5, 6), expected=last) > last
