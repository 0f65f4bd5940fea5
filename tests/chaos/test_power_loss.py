"""Power failures: of a whole site (agent, producers inside and beside it, deliveries under way), and of a writer alone.

Every failure of a site stops the disk, then the processes, and then copies the blocks: what had not been synced is
gone, as are all who could have known it. The agent starts again on what is left, against a SaaS that went on.
"""

from __future__ import annotations

import random
import shutil
import signal
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import trio

from mra.outbox import verification
from mra.outbox.opening import prepare
from mra.outbox.policy import OutboxSettings
from tests.chaos.ending import count_perfect, drained
from tests.harness.counting import count
from tests.harness.disks import open_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.disks import LoopDisk
    from tests.harness.processes import Child
    from tests.harness.saas import Saas
    from tests.harness.site import Site

pytestmark = pytest.mark.chaos
FAILURES = 8
CONTROLS = 4
SNAPSHOTS = 12


@pytest.fixture
def powered(disk_site: Site) -> Site:
    """A site that is small enough for its disk to be copied many times."""
    disk_site.configure({"outbox": {"max_bytes": "32MiB", "min_free": "1MiB", "ballast": "1MiB"}})
    return disk_site


async def fail_power(disk: LoopDisk, site: Site, beside: Child, folder: Path) -> None:
    """Stop everything at one instant; the site's state is then what the blocks of the disk held."""
    image, mounted = folder / "snapshot", folder / "mounted"
    async with disk.hang():
        for process in (site.agent, beside):
            process.signal(signal.SIGKILL)
        await trio.to_thread.run_sync(shutil.copyfile, disk.image, image)
    await beside.kill()
    await site.kill()
    async with open_snapshot(image, mounted) as found:
        await trio.to_thread.run_sync(_replace, found / "state", site.state)
    image.unlink()


def _replace(found: Path, state: Path) -> None:
    shutil.rmtree(state)
    shutil.copytree(found, state, ignore=shutil.ignore_patterns("*.sock", "*-shm", "*.ballast"))


def rows_in(path: Path) -> set[str]:
    """Ids of all rows of an outbox; SQLite reads its log first, and it has to add up."""
    with closing(prepare(path, OutboxSettings(ballast=0, min_free=0))) as connection:
        assert verification.verify(connection) == []
        return {id_ for (id_,) in connection.execute("SELECT id FROM v_rows")}


@pytest.mark.timeout(150)
async def test_power_failures_during_delivery_lose_and_repeat_nothing(
    saas: Saas, disk: LoopDisk, powered: Site, tmp_path: Path
) -> None:
    moments = random.Random(5)
    for number in range(FAILURES):
        beside = powered.start_producer(powered.load(group=3, pause=0.02))
        await powered.start(load=powered.load(group=3, pause=0.05))
        await trio.sleep(moments.uniform(0.2, 0.8))
        if number % 3 == 2:  # sometimes rows pile up first, and the failure falls into the drain
            await saas.suspend()
            await trio.sleep(moments.uniform(0.1, 0.4))
            saas.resume()
        await fail_power(disk, powered, beside, tmp_path)
        await trio.to_thread.run_sync(rows_in, powered.database)
    await powered.start()
    await drained(powered)
    held = {name: lane["held"] for name, lane in (await powered.status())["lanes"].items() if lane["held"]}
    assert not held
    await count_perfect(f"{FAILURES} power failures", saas, powered.accepted(), at_least=1000)
    assert (await powered.mra("outbox", "verify")).returncode == 0


@pytest.mark.timeout(150)
async def test_without_the_sync_at_commit_such_failures_lose_rows(
    saas: Saas, disk: LoopDisk, powered: Site, tmp_path: Path
) -> None:
    """Negative control: the same failures, told to be survivable too early. Nothing was sent yet, so nothing helps."""
    await saas.suspend()
    moments = random.Random(5)
    for _ in range(CONTROLS):
        # Slowly: SQLite syncs its log at every checkpoint, a thousand pages apart, and that would hide the loss.
        slow = powered.load(group=1, pause=0.05, synchronous="NORMAL")
        beside = powered.start_producer(slow)
        await powered.start(load=slow)
        await trio.sleep(moments.uniform(0.5, 1.0))
        await fail_power(disk, powered, beside, tmp_path)
    saas.resume()
    await powered.start()
    await drained(powered)
    counts = await count(saas, powered.accepted())
    lost = sum(found.lost for found in counts.values())
    print(f"{CONTROLS} power failures with synchronous=NORMAL: accepted {len(powered.accepted())}, lost {lost}")
    assert lost > 0


async def lost_by_power_failures(disk: LoopDisk, site: Site, folder: Path, synchronous: str) -> tuple[int, int]:
    """(acknowledged rows, rows missing) over snapshots of the disk at random moments under load."""
    moments = random.Random(7)
    # Slowly enough that SQLite's own syncs, one every thousand pages, do not hide what a missing sync loses.
    producer = site.start_producer(site.load(group=2, pause=0.02, synchronous=synchronous))
    acknowledged = missing = 0
    for number in range(SNAPSHOTS):
        await trio.sleep(moments.uniform(0.05, 0.4))
        before = {row.id for row in site.accepted()}
        image = folder / f"snapshot{number}"
        await disk.snapshot(image)
        async with open_snapshot(image, folder / f"mounted{number}") as mounted:
            found = await trio.to_thread.run_sync(rows_in, mounted / "state" / "outbox.db")
        image.unlink()
        acknowledged += len(before)
        missing += len(before - found)
    await producer.kill()
    return acknowledged, missing


@pytest.mark.timeout(200)
async def test_power_loss_takes_no_acknowledged_row(disk: LoopDisk, disk_site: Site, tmp_path: Path) -> None:
    acknowledged, missing = await lost_by_power_failures(disk, disk_site, tmp_path, "FULL")
    print(f"power loss, synchronous=FULL: {SNAPSHOTS} snapshots, acknowledged {acknowledged}, lost {missing}")
    assert acknowledged > 500
    assert missing == 0


@pytest.mark.timeout(200)
async def test_the_power_loss_test_can_fail(disk: LoopDisk, disk_site: Site, tmp_path: Path) -> None:
    """Negative control: without the sync at commit, acknowledged rows are missing."""
    acknowledged, missing = await lost_by_power_failures(disk, disk_site, tmp_path, "NORMAL")
    print(f"power loss, synchronous=NORMAL: {SNAPSHOTS} snapshots, acknowledged {acknowledged}, lost {missing}")
    assert missing > 0
