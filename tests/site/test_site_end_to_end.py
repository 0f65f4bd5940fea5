"""Whole sites on real processes: a real bus, a real SaaS, and what stands there in the end."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import trio

from mra.aio.session import Access, open_session
from mra.clock import now
from mra.outbox import drain
from mra.outbox.outbox import prepare
from mra.outbox.policy import OutboxSettings
from mra.outbox.record import Draft, Lane
from mra.outbox.store import Request, accept
from mra.saas import config
from mra.saas.verify import verify_stream
from tests.chaos.ending import count_perfect, until
from tests.harness.saas import EVENTS, STREAMS, Saas, open_saas
from tests.site.nodes import Nodes, open_nodes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.lab


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Saas]:
    async with open_saas(tmp_path / "saas") as running:
        yield running


@pytest.fixture
async def nodes(saas: Saas, tmp_path: Path) -> AsyncIterator[Nodes]:
    async with open_nodes(tmp_path, saas, followers=2) as made:
        yield made


async def test_what_followers_accept_stands_at_the_saas_with_its_origin(saas: Saas, nodes: Nodes) -> None:
    await nodes.start()
    for name in ("n1", "n2", "n3"):
        await nodes[name].produce(nodes[name].load(count=50))
    await nodes.drained()
    assert await count_perfect("two followers", saas, nodes.accepted()) == 3 * 4 * 50
    async with open_session(Access((saas.url,), "verifier", saas.backend.user, saas.backend.password)) as session:
        lanes = [lane for stream in STREAMS for lane in await verify_stream(session, stream)]
    assert all(lane.is_complete for lane in lanes)
    carried = {lane.origin: lane.via for lane in lanes if lane.via}
    assert carried == {f"{name}-{lane}": {f"n1-{lane}"} for name in ("n2", "n3") for lane in Lane}
    listed = json.loads((await nodes.leader.mra("site", "ls", "--json")).stdout)
    assert (listed["role"], sorted(listed["followers"])) == ("leader", ["n2", "n3"])


async def test_a_follower_keeps_accepting_while_its_leader_is_gone(saas: Saas, nodes: Nodes) -> None:
    follower = nodes["n2"]
    await follower.start()
    await follower.produce(follower.load(Lane.EVENTS, count=100))
    assert (await follower.status())["lanes"]["events"]["waiting"] >= 100
    await nodes.start("n1")
    await nodes.drained("n1", "n2")
    await nodes.leader.kill()
    await follower.produce(follower.load(Lane.EVENTS, count=100))
    await nodes.start("n1")
    await nodes.drained("n1", "n2")
    assert await count_perfect("leader gone", saas, nodes.accepted()) == 200


async def test_a_full_leader_leaves_rows_with_their_follower(saas: Saas, nodes: Nodes) -> None:
    await saas.kill()
    nodes.leader.configure({"lanes.events": {"max_bytes": "64KiB"}})
    await nodes.start("n1", "n2")
    follower = nodes["n2"]
    await follower.produce(follower.load(Lane.EVENTS, count=300, size=600))
    with trio.fail_after(20):
        while "full" not in str((await follower.status())["lanes"]["events"]["last_error"]):  # noqa: ASYNC110
            await trio.sleep(0.05)
    assert (await follower.status())["lanes"]["events"]["waiting"] > 100
    assert (await nodes.leader.status())["lanes"]["events"]["shed"] == 0
    await saas.start()
    await nodes.drained("n1", "n2")
    assert await count_perfect("leader full", saas, nodes.accepted()) == 300


async def order(saas: Saas, key: str, value: object) -> None:
    """Desired state, as the SaaS writes it."""
    async with open_session(Access((saas.url,), "vendor", saas.backend.user, saas.backend.password)) as session:
        await config.put(session, saas.customer, key, json.dumps(value).encode())


@pytest.mark.timeout(150)
async def test_a_site_is_told_who_leads_and_works_on_without_the_saas(saas: Saas, tmp_path: Path) -> None:
    await order(saas, "limits", {"most": 3})
    async with open_nodes(tmp_path, saas, followers=1, leaders=2, customer=saas.customer) as nodes:
        await nodes.start()
        await until(lambda status: status["desired"]["keys"] == 1, nodes["n3"], 60)
        for name in ("n1", "n2", "n3"):
            await nodes[name].produce(nodes[name].load(count=20))
        await order(saas, "site.leader", {"leader": "n2", "term": 2})
        await until(lambda status: status["site"]["leader"] == "n2", nodes["n3"], 60)
        assert (await nodes["n2"].status())["site"]["role"] == "leader"
        assert (await nodes["n1"].status())["site"]["role"] == "former"
        for name in ("n1", "n2", "n3"):
            await nodes[name].produce(nodes[name].load(count=20))
        await nodes.drained()
        await saas.kill()
        await nodes["n3"].kill()
        await nodes.start("n3")
        await until(lambda status: status["desired"]["state"] == "following", nodes["n3"], 60)
        await nodes["n3"].produce(nodes["n3"].load(count=20))
        await until(lambda status: not status["lanes"]["events"]["waiting"], nodes["n3"], 60)
        await until(lambda status: status["lanes"]["events"]["waiting"] >= 20, nodes["n2"], 60)
        await saas.start()
        await nodes.drained()
        assert await count_perfect("told who leads", saas, nodes.accepted()) == (2 * 3 + 1) * 4 * 20


async def test_a_node_that_drained_into_the_saas_follows_once_nothing_is_in_flight_there(
    saas: Saas, tmp_path: Path
) -> None:
    async with open_nodes(tmp_path, saas, followers=0, leaders=2) as nodes:
        second = nodes["n2"]
        with closing(prepare(second.database, OutboxSettings())) as connection:
            accept(connection, second.database, [Request([Draft(Lane.EVENTS, "a.b", b"x")])], OutboxSettings(), now())
            drain.advance(
                connection, Lane.EVENTS, claim=drain.Claim(0, 1, 1)
            )  # killed while it sent this to the SaaS, or before
        await nodes.start()
        await second.produce(second.load(Lane.EVENTS, count=20))
        await until(lambda status: status["site"]["role"] == "follower", second, 60)
        await second.produce(second.load(Lane.EVENTS, count=20))
        await nodes.drained()
        assert await count_perfect("in flight before it followed", saas, nodes.accepted()) == 40
    async with saas.connect() as wire:
        bodies = [message.body for message in await wire.read_stream(EVENTS)]
    assert bodies.count(b"x") == 1
