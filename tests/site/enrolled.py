"""A site that the SaaS has made: a provisioning service with rules, one token, and nodes that know nothing else."""

from __future__ import annotations

import json
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import trio

from tests.harness.counting import STREAM_OF
from tests.harness.ledger import Row, reconcile
from tests.harness.ports import free_port
from tests.harness.processes import open_child
from tests.harness.site import NO_ANSWER, ROOT, Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from tests.harness.tenancy import Tenancy

QUIET = {"facts": {"enabled": False}, "machines": {"enabled": False}}
SITE = "berlin"


class EnrolledSite:
    """The nodes n1, n2, ... of one customer's site; n1 leads at first, by the rules."""

    def __init__(self, saas: Tenancy, customer: str, ports: dict[str, int]) -> None:
        self.saas = saas
        self.customer = customer
        self.ports = ports  # of the buses of those that may lead
        self.nodes: dict[str, Site] = {}

    def __getitem__(self, name: str) -> Site:
        return self.nodes[name]

    def url(self, name: str = "n1") -> str:
        """Where the bus of a node is."""
        return f"tls://127.0.0.1:{self.ports[name]}"

    async def start(self, *names: str) -> None:
        """Start nodes; all of them when none is named."""
        async with trio.open_nursery() as nursery:
            for name in names or self.nodes:
                nursery.start_soon(self.nodes[name].start)

    async def until(self, name: str, holds: Callable[[dict[str, Any]], object], seconds: float = 40) -> dict[str, Any]:
        """The status of a node, once it `holds`; while it enrols or changes its place, it may have none."""
        with trio.fail_after(seconds):
            while True:
                with suppress(*NO_ANSWER, TypeError):
                    status = await self.nodes[name].status()
                    if holds(status):
                        return status
                await trio.sleep(0.05)

    async def produce(self, count: int, *names: str) -> None:
        """Rows on all lanes of these nodes, or of all."""
        async with trio.open_nursery() as nursery:
            for name in names or self.nodes:
                nursery.start_soon(self.nodes[name].produce, self.nodes[name].load(count=count))

    async def count_perfect(self) -> int:
        """Wait until nothing waits at any node; every accepted row stands once at the SaaS, in order. Their number."""
        with trio.fail_after(60):
            while True:  # rows move from one node to another, so all have to be empty in one round after another
                for name in self.nodes:
                    await self.until(name, _is_empty)
                # Twice, because a row may move from a table to another between two looks at the same node.
                rounds = [_is_empty(await node.status()) for _ in range(2) for node in self.nodes.values()]
                if all(rounds):
                    break
        accepted = frozenset[Row]().union(*(site.accepted() for site in self.nodes.values()))
        stored = [row for body in await self._stored() if (row := Row.from_body(body)) in accepted]
        counts = reconcile(accepted, [row for row in stored if row])
        assert all(found.perfect for found in counts.values()), counts
        return sum(found.delivered for found in counts.values())

    async def _stored(self) -> list[bytes]:
        async with self.saas.connect(self.saas.backend) as wire:
            streams = [await wire.read_stream(stream) for stream in sorted(set(STREAM_OF.values()))]
        return [message.body for stream in streams for message in stream]


def _is_empty(status: dict[str, Any]) -> bool:
    waiting = any(lane["waiting"] for lane in status["lanes"].values())
    return not waiting and not any(one["unsettled"] for one in status["site"]["followers"].values())


def write_rules(saas: Tenancy, sites: Sequence[tuple[str, str, str, dict[str, int]]], relay: int = 0) -> None:
    """Rules for sites: customer, name, leader, and the ports of the buses of the nodes that may lead.

    The first leaders pass connections on at port `relay`, if there is one.
    """
    text = ""
    for customer, name, leader, ports in sites:
        buses = ", ".join(f'{node} = "127.0.0.1:{port}"' for node, port in ports.items())
        text += f'[customers.{customer}.sites.{name}]\nleader = "{leader}"\nbuses = {{ {buses} }}\n'
        text += f'relays = {{ {leader} = "127.0.0.1:{relay}" }}\n' if relay else ""
    (saas.path / "rules.toml").write_text(text)


@asynccontextmanager
async def provisioning(saas: Tenancy, *options: str) -> AsyncIterator[None]:
    """`mra saas provisioner`."""
    command = [sys.executable, "-m", "mra.cli.main", "saas", "provisioner", "--saas", str(saas.path), *options]
    async with open_child(command, saas.path / "provisioner.log", {"PYTHONPATH": str(ROOT)}):
        yield


@asynccontextmanager
async def open_enrolled_site(
    saas: Tenancy, directory: Path, customer: str = "acme", *, nodes: int = 3, leaders: int = 1
) -> AsyncIterator[EnrolledSite]:
    """Nodes that are not started yet, each with the same token for the site and no other word of it."""
    names = [f"n{number}" for number in range(1, nodes + 1)]
    site = EnrolledSite(saas, customer, {name: free_port() for name in names[:leaders]})
    write_rules(saas, [(customer, SITE, "n1", site.ports)])
    token = directory / f"{customer}.jwt"
    made = json.loads(await saas.mra("token", customer, "--site", SITE, "--output", str(token), "--json"))
    assert made["site"] == SITE
    async with AsyncExitStack() as stack:
        for name in names:
            node = Site(directory / customer / name, saas.port, None, name=name)
            stack.push_async_callback(node.aclose)
            node.configure(QUIET)
            (node.directory / "provisioning.jwt").write_text(token.read_text())
            site.nodes[name] = node
        yield site
