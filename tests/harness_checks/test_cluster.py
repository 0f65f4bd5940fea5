"""Three servers of which each holds everything, until one is cut off or two are killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.harness.cluster import LEADERLESS, Cluster, open_cluster
from tests.harness.saas import EVENTS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.saas import Saas

SUBJECT = "machine_room.events.acme.metric.cpu"


async def put(server: Saas, body: bytes) -> None:
    async with server.connect() as wire:
        await wire.store(SUBJECT, body)


async def newest(server: Saas) -> bytes:
    """What this server holds last; it may leave a question to another one, so it is asked until it answers itself."""
    while True:
        with trio.move_on_after(0.5):
            async with server.connect() as wire:
                return (await wire.request(f"$JS.API.DIRECT.GET.{EVENTS}.{SUBJECT}")).body


async def test_a_server_that_is_cut_off_answers_from_the_past_until_it_rejoins(tmp_path: Path) -> None:
    async with open_cluster(tmp_path / "cluster", links=True) as cluster:
        behind, *others = cluster.servers
        await cluster.lead_elsewhere(behind)
        await put(behind, b"one")
        with trio.fail_after(30):
            await cluster.wait_current()
            cluster.isolate(behind)
            await put(others[0], b"two")
            assert await newest(behind) == b"one"
            cluster.rejoin(behind)
            await cluster.wait_current()
            assert await newest(behind) == b"two"


async def test_nothing_is_stored_without_two_servers(tmp_path: Path) -> None:
    async with open_cluster(tmp_path / "cluster") as cluster:
        left, *killed = cluster.servers
        await put(left, b"one")
        for server in killed:
            await server.kill()
        with pytest.raises(LEADERLESS), trio.fail_after(3):
            await put(left, b"two")
        await cluster.start()
        with trio.fail_after(30):
            await cluster.wait_current()
        assert [await held(server) for server in cluster.servers] == [await held(left)] * 3


async def held(server: Saas) -> list[bytes]:
    async with server.connect() as wire:
        return [message.body for message in await wire.read_stream(EVENTS)]


def test_a_server_is_found_by_its_port(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    assert [cluster.at(server.port) for server in cluster.servers] == cluster.servers
    assert len(set(cluster.urls)) == 3
