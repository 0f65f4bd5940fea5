"""A SaaS of three servers: each is killed, leaders move, the quorum is lost, a replica answers from the past."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.chaos.ending import count_perfect, drained, until
from tests.harness.cluster import Cluster, open_cluster
from tests.harness.saas import STREAMS
from tests.harness.site import Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.harness.saas import Saas

pytestmark = pytest.mark.chaos


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with open_cluster(tmp_path / "cluster") as running:
        yield running


@pytest.fixture
async def linked(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster whose servers can be cut off from each other."""
    async with open_cluster(tmp_path / "cluster", links=True) as running:
        yield running


def open_site_of(cluster: Cluster, folder: Path, *urls: str) -> AsyncIterator[Site]:
    """A site that knows every server, or only those at `urls`."""
    tables = {
        "saas": {"urls": list(urls) or cluster.urls},
        "uplink": {"retry_first": "50ms", "retry_cap": "500ms", "patience": "1s"},
        "facts": {"enabled": False},
    }
    return open_site(folder, cluster.servers[0].port, cluster.site, tables=tables)


async def server_of(site: Site, cluster: Cluster) -> Saas:
    """The server that the agent is connected to."""
    await until(lambda status: status["link"]["state"] == "connected", site)
    return cluster.at(int((await site.status())["link"]["server"].rpartition(":")[2]))


async def delivered(site: Site) -> dict[str, int]:
    """Rows of each lane that are known to be stored."""
    return {name: lane["delivered"] for name, lane in (await site.status())["lanes"].items()}


async def moves(site: Site, *lanes: str) -> None:
    """Wait until some lane, or one of those named, has delivered more."""
    before = await delivered(site)
    await until(lambda status: any(status["lanes"][name]["delivered"] > before[name] for name in lanes or before), site)


async def counted_everywhere(story: str, cluster: Cluster, site: Site, *, at_least: int) -> None:
    """Every replica, not only the leaders', holds each accepted row once and in order."""
    with trio.fail_after(30):
        await cluster.wait_current()
    for number, server in enumerate(cluster.servers):
        await count_perfect(f"{story}, server {number}", server, site.accepted(), at_least=at_least)
    assert (await site.mra("outbox", "verify")).returncode == 0


async def test_servers_killed_in_turn_and_leaders_moved_lose_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """The agent is killed, too. Each server comes back while the next one dies, so there may be no quorum meanwhile."""
    async with open_site_of(cluster, tmp_path / "site") as site:
        producer = site.start_producer(site.load(group=10, pause=0.05))
        await site.start()
        async with trio.open_nursery() as coming_back:
            for server in cluster.servers:
                await moves(site)
                await server.kill()
                with trio.move_on_after(1):  # there may be no leader to step down
                    for stream in STREAMS:
                        await cluster.step_down(stream)
                await site.kill()
                coming_back.start_soon(server.start)
                await site.start()
        await producer.kill()
        await drained(site)
        await counted_everywhere("killed in turn", cluster, site, at_least=1000)


async def test_without_a_quorum_rows_wait_and_with_one_they_go_on(cluster: Cluster, tmp_path: Path) -> None:
    async with open_site_of(cluster, tmp_path / "site") as site:
        await site.produce(site.load(count=50, pause=0))
        await site.start()
        await drained(site)
        before = await delivered(site)
        for server in cluster.servers[:2]:
            await server.kill()
        await site.produce(site.load(count=200, pause=0.01))
        await until(lambda status: all(lane["waiting"] >= 200 for lane in status["lanes"].values()), site)
        await until(lambda status: all(lane["state"] == "waiting" for lane in status["lanes"].values()), site)
        await site.kill()
        await site.start()
        assert await delivered(site) == before, "one server of three took rows"
        await cluster.start()
        await drained(site)
        await counted_everywhere("quorum regained", cluster, site, at_least=1000)


async def test_a_server_cut_off_from_the_others_is_left_and_what_it_remembers_causes_no_rewind(
    linked: Cluster, tmp_path: Path
) -> None:
    """Its connection stands. Later the agent has nobody to ask but this server, whose checkpoints are old ones."""
    async with open_site_of(linked, tmp_path / "site") as site:
        producer = site.start_producer(site.load(group=10, pause=0.1))
        await site.start()
        await moves(site)
        behind = await server_of(site, linked)
        await linked.lead_elsewhere(behind)
        linked.isolate(behind)
        await until(lambda status: status["link"]["connections"] > 1, site)
        elsewhere = await server_of(site, linked)
        assert elsewhere is not behind
        await moves(site, "events")
        await site.kill()
        await producer.kill()
        assert await checkpoint_at(behind, site) < await checkpoint_at(elsewhere, site)
        site.configure({"saas": {"urls": [behind.url]}})
        await site.start()
        await until(lambda status: status["lanes"]["events"]["last_error"], site)
        linked.rejoin(behind)
        await drained(site)
        assert await rewinds(site) == 0
        await counted_everywhere("cut off", linked, site, at_least=100)


async def checkpoint_at(server: Saas, site: Site) -> int:
    """Where in its stream the site's checkpoint stands, as this server tells the site.

    It may leave a question to another one, so it is asked until it answers itself.
    """
    while True:
        with trio.move_on_after(0.5):
            async with server.connect(server.site) as wire:
                found = await wire.request(f"machine_room.checkpoint.events.{site.name}-events")
                return int(found.headers["Nats-Sequence"])


async def rewinds(site: Site) -> int:
    """How often the agent took up delivered rows again."""
    audit = "SELECT count(*) FROM v_audit WHERE action = 'rewind'"
    done = await trio.run_process(["sqlite3", "-readonly", str(site.database), audit], capture_stdout=True)
    return int(done.stdout)
