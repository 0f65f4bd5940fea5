"""The SaaS as a cluster: three real servers on one machine, and streams of three replicas.

Each server is a `Saas` that can be killed and suspended like one alone, with `lab/nats/cluster.conf`, the file that an
operator copies. What only a cluster has is here: leaders that move, a quorum that is lost, replicas that lag.

With `links` every server reaches every other through a proxy, so that one can be cut off from the others while clients
still reach it. Its routes look alive to it, and it answers from what it has: the source of stale reads.
"""

from __future__ import annotations

import json
import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import permutations
from typing import TYPE_CHECKING, Any

import trio

from tests.harness.ports import free_port
from tests.harness.proxy import Proxy, open_proxy
from tests.harness.saas import ASK_AGAIN_SECONDS, LAB, READY_SECONDS, STREAMS, Saas
from tests.harness.wire import WireError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.harness.wire import Wire

SIZE = 3
NOBODY = "127.0.0.1:1"  # what servers tell of themselves when their links go through proxies: nobody dials past those
LEADERLESS = (OSError, WireError, trio.TooSlowError, trio.BrokenResourceError)


class Cluster:
    """Three servers, running or not. Made by `open_cluster`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.servers = [Saas(directory / f"saas-{number}", LAB / "nats" / "cluster.conf") for number in range(SIZE)]
        self.site = self.servers[0].site
        self.links: dict[tuple[Saas, Saas], Proxy] = {}
        self._ports = {server: free_port() for server in self.servers}
        for number, server in enumerate(self.servers):
            server.environment |= {
                "MRA_NATS_NAME": f"saas-{number}",
                "MRA_NATS_CLUSTER_PORT": str(self._ports[server]),
                "MRA_NATS_ROUTE_PASSWORD": "route-of-a-test",
                "MRA_NATS_ROUTES": _routes(self._ports.values()),
            }

    @property
    def urls(self) -> list[str]:
        """Where agents find the SaaS: each of its servers."""
        return [server.url for server in self.servers]

    @property
    def running(self) -> list[Saas]:
        """The servers that have a process."""
        return [server for server in self.servers if server.running]

    def at(self, port: int) -> Saas:
        """The server that clients reach on `port`."""
        return next(server for server in self.servers if server.port == port)

    async def start(self) -> None:
        """Start every server that does not run; returns when they take part. Raises `NotReady`."""
        async with trio.open_nursery() as nursery:
            for server in self.servers:
                if not server.running:
                    nursery.start_soon(server.start)

    async def aclose(self) -> None:
        """Leave no process behind."""
        for server in self.servers:
            await server.aclose()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Wire]:
        """A connection of the tests' own client to some server, as the backend."""
        async with self.running[0].connect() as wire:
            yield wire

    async def ask(self, subject: str, question: dict[str, Any] | None = None, *, patience: float = 1) -> dict[str, Any]:
        """Ask a JetStream API until a leader answers, within the caller's deadline."""
        while True:
            for server in self.running:
                try:
                    with trio.fail_after(patience):
                        async with server.connect() as wire:
                            return await wire.ask(subject, question)
                except LEADERLESS:
                    await trio.sleep(ASK_AGAIN_SECONDS)

    async def create_streams(self) -> None:
        """Every stream of `lab/streams`, on all servers."""
        for file in sorted((LAB / "streams").glob("*.json")):
            configuration = json.loads(file.read_text()) | {"num_replicas": SIZE}
            await self.ask(f"$JS.API.STREAM.CREATE.{configuration['name']}", configuration, patience=10)

    # What a cluster knows of itself.

    async def leader(self, stream: str) -> Saas:
        """The server that leads the stream."""
        while not (name := (await self.ask(f"$JS.API.STREAM.INFO.{stream}"))["cluster"].get("leader")):  # noqa: ASYNC110
            await trio.sleep(ASK_AGAIN_SECONDS)
        return self.servers[int(name.removeprefix("saas-"))]

    async def wait_current(self) -> None:
        """Wait until every replica of every stream of rows is on all servers, and holds what its leader holds."""
        for stream in STREAMS:
            while not _is_current(await self.ask(f"$JS.API.STREAM.INFO.{stream}")):  # noqa: ASYNC110
                await trio.sleep(ASK_AGAIN_SECONDS)

    # What a test breaks.

    async def step_down(self, stream: str) -> None:
        """Make another server the leader of the stream."""
        await self.ask(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}")

    async def lead_elsewhere(self, than: Saas) -> None:
        """Step down until `than` leads no stream of rows."""
        for stream in STREAMS:
            while await self.leader(stream) is than:
                await self.step_down(stream)

    def isolate(self, server: Saas) -> None:
        """Let what this server and the others send each other vanish; needs `links`."""
        for link in self._links_of(server):
            link.drop_upstream()
            link.drop_downstream()

    def rejoin(self, server: Saas) -> None:
        """Undo `isolate`: the servers connect anew."""
        for link in self._links_of(server):
            link.cut()
            link.heal()

    def _links_of(self, server: Saas) -> list[Proxy]:
        return [link for ends, link in self.links.items() if server in ends]

    async def _use_links(self, stack: AsyncExitStack, directory: Path) -> None:
        text = (LAB / "nats" / "cluster.conf").read_text()
        shutil.copy(LAB / "nats" / "saas.conf", directory)  # what the other file includes beside itself
        text = text.replace("  routes:", f'  advertise: "{NOBODY}"\n  routes:')
        configuration = directory / "cluster.conf"
        configuration.write_text(text)
        for ends in permutations(self.servers, 2):
            self.links[ends] = await stack.enter_async_context(open_proxy(self._ports[ends[1]]))
        for server in self.servers:
            server.configuration = configuration
            own = [link.port for (here, _), link in self.links.items() if here is server]
            server.environment["MRA_NATS_ROUTES"] = _routes(own)


def _routes(ports: Any) -> str:
    return json.dumps([f"nats://route:route-of-a-test@127.0.0.1:{port}" for port in ports])


def _is_current(info: dict[str, Any]) -> bool:
    replicas = info["cluster"].get("replicas") or []
    return len(replicas) == SIZE - 1 and all(
        replica["current"] and not replica.get("offline") and not replica.get("lag") for replica in replicas
    )


@asynccontextmanager
async def open_cluster(directory: Path, *, links: bool = False, streams: bool = True) -> AsyncIterator[Cluster]:
    """A started cluster for the length of the block, with the lab's streams unless told otherwise."""
    cluster = Cluster(directory)
    async with AsyncExitStack() as stack:
        if links:
            await cluster._use_links(stack, directory)
        try:
            await cluster.start()
            if streams:
                with trio.fail_after(READY_SECONDS):
                    await cluster.create_streams()
                    await cluster.wait_current()
            yield cluster
        finally:
            await cluster.aclose()
