"""SIGKILL while a plugin is being deployed: what is live is always whole, and what was ordered comes about."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import trio

from lab.plugins.authority import Authority
from mra.machines.archives.sums import SUMS_NAME, sha256_of, tree_flaw
from tests.harness.site import Site, open_site
from tests.machines.archives.server import ArtifactServer
from tests.machines.vendor import LOOK_AGAIN_SECONDS, PATIENCE_SECONDS, Vendor, customer_tables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.harness.saas import Saas

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
KILLS = 12
FILLING = random.Random(1).randbytes(300_000)  # makes an archive that takes several reads and writes


@pytest.fixture
def artifacts(tmp_path: Path) -> Iterator[ArtifactServer]:
    with ArtifactServer(Authority.new(tmp_path / "tls")) as server:
        yield server


@pytest.fixture
def vendor(saas: Saas, artifacts: ArtifactServer, tmp_path: Path) -> Vendor:
    made = Vendor(saas, artifacts, tmp_path / "vendor")
    (made.directory / "pump").mkdir(parents=True)
    (made.directory / "pump" / "filling").write_bytes(FILLING)
    return made


@pytest.fixture
async def customer(saas: Saas, artifacts: ArtifactServer, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path / "site", saas.port, saas.site, tables=customer_tables(saas, artifacts)) as made:
        await made.start()
        yield made


async def until(holds: Callable[[], object]) -> None:
    """Wait for something that other processes do to files."""
    with trio.fail_after(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110
            await trio.sleep(LOOK_AGAIN_SECONDS / 10)


def live(site: Site) -> Path:
    return site.state / "machines" / "pump"


def work(site: Site) -> Path:
    """Where a deployment keeps what is not live yet, or not any more."""
    return site.state / "machines" / "tmp" / "mra-pump"


def is_whole(tree: Path) -> bool:
    """Whether a tree is just what its own list of digests says."""
    with (tree / SUMS_NAME).open("rb") as sums:
        return not tree_flaw(tree, SUMS_NAME, sha256_of(sums))


async def test_whenever_the_agent_is_killed_the_last_order_is_carried_out(customer: Site, vendor: Vendor) -> None:
    """Each order is followed by a kill at a moment of its own; the moments cover all of a deployment."""
    moments, seen = random.Random(7), {"old aside": 0, "at work": 0, "live": 0}
    for number in range(1, KILLS + 1):
        await vendor.publish(f"{number}.0.0")
        await trio.sleep(moments.uniform(0.0, 1.5))
        await customer.kill()
        if live(customer).exists():
            assert is_whole(live(customer)), f"a torn tree after kill {number}"
            seen["live"] += 1
        seen["old aside"] += (work(customer) / "old").exists()
        seen["at work"] += work(customer).exists()
        await customer.start()
    print(f"{KILLS} kills during deployments: {seen}")
    assert seen["at work"], "the kills met nothing"
    await vendor.hears_of("pump", f"{KILLS}.0.0", previous_outcome="success")
    await vendor.hears_of("mm_pump", "1.0.0", previous_outcome="downloaded")
    await until(lambda: not work(customer).exists())
    assert is_whole(live(customer))


async def test_a_download_goes_on_where_the_killed_agent_had_left_it(
    customer: Site, vendor: Vendor, artifacts: ArtifactServer
) -> None:
    def stall(handler: Any) -> bool:
        content = artifacts.files[handler.path]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.send_header("ETag", '"v1"')
        handler.end_headers()
        handler.wfile.write(content[:200_000])
        artifacts.released.wait(PATIENCE_SECONDS)
        return True

    artifacts.mischief = stall
    await vendor.publish("1.0.0")
    beginning = work(customer) / "archive.tgz"
    await until(lambda: beginning.exists() and beginning.stat().st_size >= 100_000)
    await customer.kill()
    size = beginning.stat().st_size
    artifacts.mischief = None
    await customer.start()
    await vendor.hears_of("pump", "1.0.0", previous_outcome="success")
    assert artifacts.ranges == [None, f"bytes={size}-"]


async def test_a_version_whose_trial_is_cut_short_is_tried_again(customer: Site, vendor: Vendor) -> None:
    await vendor.publish("1.0.0")
    await vendor.hears_of("mm_pump", "1.0.0", previous_outcome="downloaded")
    await vendor.publish("2.0.0")
    await until((work(customer) / "old").exists)
    await vendor.hears_of("pump", "2.0.0", previous_outcome="success")
    await customer.kill()
    assert "version: 1.0.0" in (work(customer) / "old" / "machine.yaml").read_text()
    assert "version: 2.0.0" in (live(customer) / "machine.yaml").read_text()
    await customer.start()
    await until(lambda: not work(customer).exists() and is_whole(live(customer)))
    assert "version: 2.0.0" in (live(customer) / "machine.yaml").read_text()
    assert customer.log.read_text().count("archive to be deployed") == 3, "it was taken for proven"
