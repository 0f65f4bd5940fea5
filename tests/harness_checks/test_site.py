"""A site that can be killed, loaded and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from mra.outbox import Lane
from tests.harness.counting import count
from tests.harness.saas import EVENTS, Login, Saas
from tests.harness.site import NotReady, Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def site(saas: Saas, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path / "site1", saas.port, saas.site) as site:
        yield site


async def test_rows_produced_beside_the_daemon_arrive(saas: Saas, site: Site) -> None:
    await site.produce(site.load(count=50, pause=0))
    await site.start()
    with trio.fail_after(30):
        await site.wait_drained()
    counts = await count(saas, site.accepted())
    assert sorted(counts) == ["events", "metrics", "nodes", "submissions"]
    for lane in counts.values():
        assert (lane.accepted, lane.delivered) == (50, 50)
        assert lane.perfect
    assert await site.terminate() == 0


async def test_rows_produced_inside_the_daemon_arrive(saas: Saas, site: Site) -> None:
    await site.start(load=site.load(count=30, pause=0))
    with trio.fail_after(30):
        while len(site.accepted()) < 4 * 4 * 30:
            await trio.lowlevel.checkpoint()
        await site.wait_drained()
    counts = await count(saas, site.accepted())
    assert sum(lane.delivered for lane in counts.values()) == 4 * 4 * 30
    assert all(lane.perfect for lane in counts.values())
    assert await site.terminate() == 0


async def test_count_notices_what_the_saas_has_twice_and_what_it_lost(saas: Saas, site: Site) -> None:
    await site.produce(site.load(Lane.EVENTS, count=20, pause=0))
    await site.start()
    with trio.fail_after(30):
        await site.wait_drained()
    await site.terminate()
    async with saas.connect() as wire:
        first, second, *_ = await wire.read_stream(EVENTS)
        await wire.store(first.subject, first.body)
    assert (await count(saas, site.accepted()))["events"].duplicated == 1
    await saas.delete_message(EVENTS, second.sequence)
    assert (await count(saas, site.accepted()))["events"].lost == 1
    await saas.delete_message(EVENTS, first.sequence)
    assert (await count(saas, site.accepted()))["events"].reordered == 1


async def test_killed_agent_starts_again(site: Site) -> None:
    await site.start(load=site.load())
    await site.kill()
    with pytest.raises(OSError, match="refused"):
        await site.status()
    await site.start()
    assert (await site.status())["running"]


async def test_agent_that_cannot_start_shows_its_log(saas: Saas, tmp_path: Path) -> None:
    async with open_site(tmp_path / "site1", saas.port, Login("acme", "x"), tables={"outbox": {"max": 1}}) as site:
        with pytest.raises(NotReady, match="unknown key"):
            await site.start()
