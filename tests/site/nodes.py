"""A site of real processes: nodes that lead or may lead, and followers, with the keys that `mra site` makes."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from mra.site import keys
from tests.harness.ports import free_port
from tests.harness.site import Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from tests.harness.ledger import Row
    from tests.harness.saas import Saas

QUIET = {"facts": {"enabled": False}, "machines": {"enabled": False}}


@dataclass
class Nodes:
    """Every node by its name; `n1` leads at first."""

    sites: Mapping[str, Site]
    ports: Mapping[str, int]  # of the buses of those that may lead

    def __getitem__(self, name: str) -> Site:
        return self.sites[name]

    @property
    def leader(self) -> Site:
        """The first leader."""
        return self.sites["n1"]

    def accepted(self) -> frozenset[Row]:
        """The rows that producers were told are accepted, at all nodes."""
        return frozenset().union(*(site.accepted() for site in self.sites.values()))

    async def start(self, *names: str, **options: Any) -> None:
        """Start nodes; all of them when none is named."""
        async with trio.open_nursery() as nursery:
            for name in names or self.sites:
                nursery.start_soon(self._start, self.sites[name], options)

    async def _start(self, site: Site, options: Mapping[str, Any]) -> None:
        await site.start(**options)

    async def drained(self, *names: str, seconds: float = 60) -> None:
        """Wait until nothing waits at the nodes named, or at any, and no leader holds what is not settled."""
        with trio.fail_after(seconds):
            while True:
                for name in names or self.sites:
                    await self.sites[name].wait_drained()
                # Twice: a row may move on between two looks, from a node to the next or from a table to another.
                if not await self._open(names or tuple(self.sites)) and not await self._open(
                    names or tuple(self.sites)
                ):
                    return
                await trio.sleep(0.05)

    async def _open(self, names: Sequence[str]) -> bool:
        for name in names:
            document = await self.sites[name].status()
            if any(lane["waiting"] for lane in document["lanes"].values()):
                return True
            if any(one["unsettled"] for one in document["site"]["followers"].values()):
                return True
        return False

    def lead(self, name: str, term: int) -> None:
        """Have a node that may lead do so at its next start."""
        self.sites[name].configure({"site": {"role": "leader", "term": term}})


@asynccontextmanager
async def open_nodes(
    directory: Path,
    saas: Saas,
    *,
    followers: int,
    leaders: int = 1,
    saas_port: int | None = None,
    customer: str | None = None,
    tables: Mapping[str, Mapping[str, Any]] | None = None,
) -> AsyncIterator[Nodes]:
    """Nodes that are not started yet: n1 leads, the next `leaders - 1` may lead after it, the others follow."""
    names = [f"n{number}" for number in range(1, leaders + followers + 1)]
    may_lead = names[:leaders]
    first = directory / "n1" / "keys"
    keys.make_site(first, ["127.0.0.1"])
    for name in names[leaders:]:
        keys.write_files(directory / name / "keys", keys.add_follower(first, name).files())
    for name in may_lead[1:]:
        made = keys.prepare_leader(first, ["127.0.0.1"]) | keys.add_follower(first, name).files()
        keys.write_files(directory / name / "keys", made)
    for name in may_lead[1:]:
        for follower, public in keys.roster(first).items():
            keys.add_follower(directory / name / "keys", follower, public)
    ports = {name: free_port() for name in may_lead}
    urls = [f"tls://127.0.0.1:{port}" for port in ports.values()]
    async with AsyncExitStack() as stack:
        sites = {}
        for name in names:
            site = await stack.enter_async_context(
                open_site(directory / name, saas_port or saas.port, saas.site, name=name, tables=tables)
            )
            table: dict[str, Any] = {"role": "leader" if name == "n1" else "follower", "urls": urls,
                                     "keys": str(directory / name / "keys")}  # fmt: skip
            if name in ports:
                table["listen"] = f"127.0.0.1:{ports[name]}"
            else:
                site.tables["saas"] = {}
            if customer:
                site.configure({"saas": {"customer": customer}})
            site.configure({**QUIET, "site": table})
            sites[name] = site
        yield Nodes(sites, ports)
