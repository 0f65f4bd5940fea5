"""A SaaS, and a site that reaches it directly, through a proxy, or lives on a small disk of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from lab.plugins.authority import Authority
from lab.plugins.server import ArtifactServer
from tests.harness import disks
from tests.harness.disks import LoopDisk, open_disk
from tests.harness.proxy import Proxy, open_proxy
from tests.harness.saas import Saas, open_saas
from tests.harness.site import Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def artifacts(tmp_path: Path) -> AsyncIterator[tuple[ArtifactServer, Path]]:
    """The vendor's HTTPS server, and the authority that its certificate is from."""
    authority = Authority.new(tmp_path / "tls")
    (tmp_path / "artifacts").mkdir()
    server = ArtifactServer(tmp_path / "artifacts", authority.certificate)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, server.serve_forever)
        yield server, authority.ca_file
        await trio.to_thread.run_sync(server.shutdown)
        server.server_close()


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Saas]:
    async with open_saas(tmp_path / "saas") as running:
        yield running


@pytest.fixture
async def site(saas: Saas, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path / "site", saas.port, saas.site) as made:
        yield made


@pytest.fixture
async def proxy(saas: Saas) -> AsyncIterator[Proxy]:
    async with open_proxy(saas.port) as open_:
        yield open_


@pytest.fixture
async def distant(saas: Saas, proxy: Proxy, tmp_path: Path) -> AsyncIterator[Site]:
    """A site whose only way to the SaaS is the proxy; it takes a missing answer for lost after a second."""
    uplink = {"uplink": {"retry_first": "50ms", "retry_cap": "300ms", "patience": "1s"}}
    async with open_site(tmp_path / "site", proxy.port, saas.site, tables=uplink) as made:
        yield made


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[LoopDisk]:
    """A real file system of 64 MiB that can be filled, stopped, copied and broken."""
    if reason := disks.missing():
        pytest.skip(reason)
    async with open_disk(tmp_path / "disk", 64) as mounted:
        yield mounted


@pytest.fixture
async def disk_site(saas: Saas, disk: LoopDisk, tmp_path: Path) -> AsyncIterator[Site]:
    """A site whose state lies on the small disk; its ledger does not.

    The space kept for the host is more than what draining sets aside for itself.
    """
    tables = {"outbox": {"min_free": "12MiB", "ballast": "8MiB"}, "facts": {"enabled": False}}
    async with open_site(tmp_path / "site", saas.port, saas.site, state=disk.path / "state", tables=tables) as made:
        yield made
