"""Slots on three replicas: a cluster of the lab's servers, one of which is killed while slots change hands."""

from __future__ import annotations

import itertools
import json
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from mra.aio.session import Access, open_session
from mra.errors import MraError
from mra.governors.governors import Governors
from mra.governors.slots import STREAM, Capacity
from mra.machines.durations import parse_go
from mra.saas import governors as desk
from tests.harness.ports import free_port
from tests.harness.saas import LAB, Saas
from tests.harness.wire import ApiError

pytestmark = pytest.mark.chaos
LONG = parse_go("60s")


@pytest.fixture
async def cluster(tmp_path):
    """Three servers with the lab's accounts, and the governors' stream on all of them."""
    ports = [free_port() for _ in range(3)]
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    nodes = []
    for number, port in enumerate(ports):
        configuration = tmp_path / f"n{number}.conf"
        configuration.write_text(
            (LAB / "nats" / "saas.conf").read_text().replace("server_name: saas", f"server_name: n{number}")
            + f'cluster {{ name: lab, listen: "127.0.0.1:{port}", routes: [{routes}] }}\n'
        )
        nodes.append(Saas(tmp_path / f"n{number}", configuration))
    async with AsyncExitStack() as stack:
        for node in nodes:
            stack.push_async_callback(node.aclose)
        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(node.start)
        definition = json.loads((LAB / "streams" / f"{STREAM}.json").read_text()) | {"num_replicas": 3}
        with trio.fail_after(60):
            while True:
                try:
                    async with nodes[0].connect() as wire:
                        await wire.ask(f"$JS.API.STREAM.CREATE.{STREAM}", definition)
                    break
                except ApiError:  # a peer that has just started counts as offline for a moment
                    await trio.sleep(0.1)
        yield nodes


@asynccontextmanager
async def backend(node):
    async with open_session(Access((node.url,), "saas-tool", node.backend.user, node.backend.password)) as session:
        yield session


async def settled(work):
    """What `work` gives once the cluster can answer: for a while after a death it cannot."""
    with trio.fail_after(60):
        while True:
            try:
                return await work()
            except MraError:
                await trio.sleep(0.1)


async def test_no_more_than_the_slots_are_inside_at_once_though_the_leader_is_killed(cluster):
    inside, most, done = 0, 0, 0
    killed = trio.Event()
    async with AsyncExitStack() as stack:
        async with cluster[0].connect() as wire:
            leader = (await wire.stream_info(STREAM))["cluster"]["leader"]
        doomed = cluster[int(leader.removeprefix("n"))]
        alive = [node for node in cluster if node is not doomed]
        session = await stack.enter_async_context(backend(alive[0]))
        await settled(lambda: desk.put(session, "acme", "REFILL", Capacity(2, 30)))
        nursery = await stack.enter_async_context(trio.open_nursery())
        agents = []
        for number, node in enumerate(alive):
            access = Access((node.url,), f"edge-{number}", node.site.user, node.site.password)
            link = await stack.enter_async_context(open_session(access))
            agents.append(Governors(waits=lambda _: itertools.repeat(0.05)))
            nursery.start_soon(agents[-1].serve, link)

        async def act(number):
            nonlocal inside, most, done
            async with agents[number % 2].slot("REFILL", f"task {number}", LONG):
                inside += 1
                most = max(most, inside)
                if number == 3 and not killed.is_set():
                    killed.set()
                    await doomed.kill()
                await trio.sleep(0.02)
                inside -= 1
                done += 1

        with trio.fail_after(90):
            async with trio.open_nursery() as actors:
                for number in range(12):
                    actors.start_soon(act, number)
            for each in agents:
                await each.wait_returned()
        assert killed.is_set()
        assert (most, done) == (2, 12)
        (governor,) = await settled(lambda: desk.ls(session))
        assert governor.held == []
        nursery.cancel_scope.cancel()
