"""A SaaS with customers on real processes, as its operator lives it: from the first key to a suspended customer.

Every step is a command that an operator would type; the rows are counted from the streams, customer by customer.
"""

from __future__ import annotations

import json
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import trio

from mra.cli.saas_plugins import public_half
from tests.chaos.ending import drained, until
from tests.harness.counting import STREAM_OF
from tests.harness.ledger import Row, reconcile
from tests.harness.processes import open_child
from tests.harness.proxy import Proxy, open_proxy
from tests.harness.saas import EVENTS
from tests.harness.site import ROOT, Site
from tests.harness.tenancy import Tenancy, open_tenancy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.plugins.server import ArtifactServer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]
NODES = ("n1", "n2", "n3")
ROWS = 150
WINDOW_SECONDS = 1  # of the streams' memory for message ids, so that the outage outlasts it


class Vendor:
    """The operator's desk."""

    def __init__(self, saas: Tenancy, directory: Path, stack: AsyncExitStack) -> None:
        self.saas = saas
        self.directory = directory
        self._stack = stack
        self.nodes: dict[str, list[Site]] = {}

    @asynccontextmanager
    async def provisioning(self, url: str) -> AsyncIterator[None]:
        """`mra saas provisioner`, which tells nodes that the SaaS is at `url`."""
        command = [sys.executable, "-m", "mra.cli.main", "saas", "provisioner", "--url", url]
        log = self.directory / "provisioner.log"
        environment = {"PYTHONPATH": str(ROOT)}
        async with open_child([*command, "--saas", str(self.saas.path)], log, environment):
            yield

    async def enrol(self, customer: str, **tables: object) -> None:
        """A token for a customer's nodes, and three of them, each delivering its first rows."""
        token = self.directory / f"{customer}.jwt"
        await self.saas.mra("token", customer, "--nodes", str(len(NODES)), "--output", str(token))
        self.nodes[customer] = []
        for name in NODES:
            site = Site(self.directory / customer / name, self.saas.port, None, name=name)
            self._stack.push_async_callback(site.aclose)
            site.configure({"facts": {"enabled": False}, **tables})  # type: ignore[dict-item]
            (site.directory / "provisioning.jwt").write_text(token.read_text())
            await site.start()
            await connected(site)
            self.nodes[customer].append(site)

    async def produce(self, *customers: str) -> None:
        """More rows at every node of these customers."""
        async with trio.open_nursery() as nursery:
            for customer in customers:
                for site in self.nodes[customer]:
                    nursery.start_soon(site.produce, site.load(count=ROWS, group=25, pause=0.01))

    async def count(self, customer: str) -> int:
        """Rows of a customer, which must all be there, once and in order, and under no other customer's subjects."""
        account = self.saas.customer(customer).account
        accepted: set[Row] = set()
        for site in self.nodes[customer]:
            await drained(site)
            accepted |= site.accepted()
        mine: list[Row] = []
        async with self.saas.connect(self.saas.backend) as wire:
            for stream in sorted(set(STREAM_OF.values())):
                for message in await wire.read_stream(stream):
                    row = Row.from_body(message.body)
                    if row is not None and row in accepted:
                        assert message.subject.split(".")[2] == account, f"{message.subject} is not {customer}'s"
                        mine.append(row)
        counts = reconcile(accepted, mine)
        for lane, found in counts.items():
            print(
                f"{customer}: {lane}: accepted {found.accepted}, delivered {found.delivered}, lost {found.lost},"
                f" duplicated {found.duplicated}, reordered {found.reordered}"
            )
        assert all(found.perfect for found in counts.values()), counts
        verified = json.loads(await self.saas.mra("verify", "--customer", customer, "--json"))
        assert verified["complete"], verified
        return sum(found.delivered for found in counts.values())

    async def greeted(self, customer: str) -> set[str]:
        """Nodes of a customer whose `greeter` has said something."""
        subject = f"machine_room.events.{self.saas.customer(customer).account}.machine.watcher.exec.state"
        async with self.saas.connect(self.saas.backend) as wire:
            stored = await wire.read_stream(EVENTS)
        return {json.loads(each.body)["data"]["identity"] for each in stored if each.subject == subject}


async def connected(site: Site, seconds: float = 60) -> None:
    """Wait until the agent has enrolled and its link stands; between the two its socket is gone for a moment."""
    with trio.fail_after(seconds):
        while True:
            with suppress(OSError, ValueError):
                if (await site.status())["link"]["state"] == "connected":
                    return
            await trio.sleep(0.05)


@pytest.fixture
async def vendor(tmp_path: Path) -> AsyncIterator[Vendor]:
    async with open_tenancy(tmp_path, "acme", "globex") as saas, AsyncExitStack() as stack:
        async with saas.connect(saas.backend) as wire:
            for stream in sorted(set(STREAM_OF.values())):
                made = (await wire.ask(f"$JS.API.STREAM.INFO.{stream}"))["config"]
                made["duplicate_window"] = WINDOW_SECONDS * 10**9
                await wire.ask(f"$JS.API.STREAM.UPDATE.{stream}", made)
        yield Vendor(saas, tmp_path, stack)


@pytest.fixture
async def way(vendor: Vendor) -> AsyncIterator[Proxy]:
    """acme's way to the SaaS, which can be cut without touching the others."""
    async with open_proxy(vendor.saas.port) as proxy:
        yield proxy


async def test_customers_come_are_cut_off_and_go_and_nobody_else_notices(
    vendor: Vendor, way: Proxy, artifacts: tuple[ArtifactServer, Path]
) -> None:
    server, authority = artifacts
    key = public_half(bytes.fromhex((ROOT / "lab/plugins/signer.seed").read_text().strip()))
    machines = {"signing_key": key, "extra_ca": str(authority)}

    async with vendor.provisioning(f"nats://127.0.0.1:{way.port}"):
        await vendor.enrol("acme", machines=machines)
    async with vendor.provisioning(vendor.saas.url):
        await vendor.enrol("globex", machines=machines)
        await vendor.produce("acme", "globex")

        await vendor.saas.publish("acme", ROOT / "lab/plugins/greeter", server, vendor.directory)
        with trio.fail_after(60):
            while await vendor.greeted("acme") != set(NODES):  # noqa: ASYNC110 - a stream of another process
                await trio.sleep(0.1)
        assert await vendor.greeted("globex") == set(), "a plugin of another customer"

        way.cut()
        way.refuse()
        await vendor.produce("acme", "globex")
        assert await vendor.count("globex") == 2 * len(NODES) * len(STREAM_OF) * ROWS
        await vendor.saas.mra("customer", "add", "initech")
        await vendor.enrol("initech")
        await vendor.produce("initech")
        assert await vendor.count("initech") == len(NODES) * len(STREAM_OF) * ROWS
        await trio.sleep(2 * WINDOW_SECONDS)
        for site in vendor.nodes["acme"]:
            lanes = (await site.status())["lanes"].values()
            assert sum(lane["waiting"] for lane in lanes) >= len(STREAM_OF) * ROWS

        way.heal()
        way.accept()
        assert await vendor.count("acme") == 2 * len(NODES) * len(STREAM_OF) * ROWS

        await vendor.saas.mra("customer", "suspend", "globex")
        for site in vendor.nodes["globex"]:
            await until(lambda status: status["link"]["state"] != "connected", site, 30)
        await vendor.produce("acme", "globex", "initech")
        assert await vendor.count("acme") == 3 * len(NODES) * len(STREAM_OF) * ROWS
        assert await vendor.count("initech") == 2 * len(NODES) * len(STREAM_OF) * ROWS

        await vendor.saas.mra("customer", "resume", "globex")
        assert await vendor.count("globex") == 3 * len(NODES) * len(STREAM_OF) * ROWS
