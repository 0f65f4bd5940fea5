"""A leader and four followers under load, everybody killed in turn, the SaaS cut off, the leader replaced: counts."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio

from mra.aio.session import Access, open_session
from mra.saas.verify import verify_stream
from tests.chaos.ending import count_perfect, until
from tests.harness.counting import count
from tests.harness.proxy import Proxy, open_proxy
from tests.harness.saas import STREAMS, Saas
from tests.site.nodes import Nodes, open_nodes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.chaos
KILLS = 4


async def chains_complete(saas: Saas) -> set[str]:
    """Every chain at the SaaS is whole, the followers' own as well; the names of those."""
    async with open_session(Access((saas.url,), "verifier", saas.backend.user, saas.backend.password)) as session:
        lanes = [lane for stream in STREAMS for lane in await verify_stream(session, stream)]
    wrong = {lane.origin: (lane.missing(), lane.duplicated, lane.problems) for lane in lanes if not lane.is_complete}
    assert not wrong
    return {lane.origin for lane in lanes if lane.via}


def load(nodes: Nodes) -> None:
    """A producer process at each node, which goes on whatever becomes of its daemon."""
    for site in nodes.sites.values():
        site.start_producer(site.load(group=5, pause=0.3))


async def end_load(nodes: Nodes) -> None:
    for site in nodes.sites.values():
        for producer in site._producers:
            await producer.kill()


@pytest.mark.timeout(110)
async def test_kills_of_leader_and_followers_in_turn_lose_and_double_nothing(saas: Saas, tmp_path: Path) -> None:
    moments = random.Random(5)
    async with open_nodes(tmp_path, saas, followers=4) as nodes:
        await nodes.start()
        load(nodes)
        with trio.fail_after(90):
            for number in range(KILLS):
                name = "n1" if number % 2 == 0 else f"n{2 + number // 2}"
                await trio.sleep(moments.uniform(0.3, 1.0))
                await nodes[name].kill()
                if number == 2:
                    await saas.kill()
                await nodes.start(name)
            await saas.start()
            await end_load(nodes)
            await nodes.drained()
        await count_perfect(f"{KILLS} kills in a site", saas, nodes.accepted(), at_least=300)
        assert len(await chains_complete(saas)) == 4 * 4


@pytest.mark.timeout(110)
async def test_a_replaced_leader_neither_loses_nor_doubles_what_it_took(saas: Saas, tmp_path: Path) -> None:
    """The first leader is killed with rows that only it has; another takes over, then the first one comes back."""
    async with open_nodes(tmp_path, saas, followers=3, leaders=2) as nodes:
        await nodes.start()
        load(nodes)
        with trio.fail_after(90):
            await trio.sleep(1)
            await saas.kill()  # what followers hand over now stays with the leader
            await trio.sleep(1.5)
            await nodes.leader.kill()
            nodes.lead("n2", 2)
            await nodes["n2"].kill()
            await nodes.start("n2")
            await saas.start()
            await trio.sleep(1)
            await end_load(nodes)
            await nodes.drained("n2", "n3", "n4", "n5")
            assert (await nodes["n3"].status())["site"]["leader"] == "n2"
            only_at_the_first = sum(counts.lost for counts in (await count(saas, nodes.accepted())).values())
            print("a replaced leader:", only_at_the_first, "rows are nowhere but there")
            assert only_at_the_first
            await nodes.start("n1")  # it still believes that it leads
            await nodes.drained()
        counts = await count(saas, nodes.accepted())
        for lane, found in counts.items():
            print(
                f"a replaced leader: {lane}: accepted {found.accepted}, delivered {found.delivered}, lost {found.lost},"
                f" duplicated {found.duplicated}, late with the first leader {found.reordered}"
            )
            assert (found.lost, found.duplicated) == (0, 0)
        assert sum(found.delivered for found in counts.values()) >= 300
        await chains_complete(saas)  # in order within each term, too


CUTS: dict[str, Callable[[Proxy], object]] = {
    "cut": lambda proxy: proxy.cut(),
    "stall": lambda proxy: proxy.stall(),
    "no-bytes-from-the-leader": lambda proxy: proxy.drop_downstream(),
}


@pytest.mark.timeout(110)
async def test_a_follower_that_is_cut_off_again_and_again_loses_and_doubles_nothing(saas: Saas, tmp_path: Path) -> None:
    quick = {"uplink": {"retry_first": "50ms", "retry_cap": "300ms", "patience": "1s"}}
    async with (
        open_nodes(tmp_path, saas, followers=1, tables=quick) as nodes,
        open_proxy(nodes.ports["n1"]) as proxy,
    ):
        follower = nodes["n2"]
        follower.configure({"site": {"urls": [f"tls://127.0.0.1:{proxy.port}"]}})
        await nodes.start()
        producer = follower.start_producer(follower.load(group=10, pause=0.03))
        for fault in CUTS.values():
            await until(lambda status: status["link"]["state"] == "connected", follower)
            await trio.sleep(0.4)
            fault(proxy)
            await trio.sleep(1.5)  # longer than its patience
            proxy.heal()
        await producer.kill()
        await nodes.drained()
        assert (await follower.status())["link"]["connections"] > 1, "all faults went unnoticed"
        await count_perfect("a follower cut off", saas, nodes.accepted(), at_least=300)
        await chains_complete(saas)
