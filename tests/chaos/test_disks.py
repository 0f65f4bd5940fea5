"""Power loss, a full disk, a disk that turns read-only: on real file systems."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio

from mra.clock import now
from mra.errors import OutboxFull
from mra.outbox import inspection
from mra.outbox.outbox import prepare
from mra.outbox.policy import OutboxSettings
from mra.outbox.record import Draft, Lane
from mra.outbox.store import Request, accept
from tests.chaos.ending import count_perfect, drained, until
from tests.harness import disks
from tests.harness.disks import LoopDisk, open_disk, open_snapshot
from tests.harness.site import Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.harness.saas import Saas

pytestmark = [pytest.mark.chaos, pytest.mark.skipif(disks.missing() is not None, reason=str(disks.missing()))]
SNAPSHOTS = 12


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[LoopDisk]:
    async with open_disk(tmp_path / "disk", 64) as mounted:
        yield mounted


@pytest.fixture
async def small(saas: Saas, disk: LoopDisk, tmp_path: Path) -> AsyncIterator[Site]:
    """A site whose state lies on the small disk."""
    tables = {"outbox": {"max_bytes": "512MiB", "min_free": "4MiB", "ballast": "8MiB"}, "facts": {"enabled": False}}
    async with open_site(tmp_path / "site", saas.port, saas.site, state=disk.path / "state", tables=tables) as made:
        yield made


def rows_in(path: Path) -> set[str]:
    """Ids of all rows of an outbox; raises unless it adds up."""
    connection = prepare(path, OutboxSettings(ballast=0, min_free=0))
    try:
        assert inspection.verify(connection) == []
        return {id_ for (id_,) in connection.execute("SELECT id FROM v_rows")}
    finally:
        connection.close()


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
async def test_power_loss_takes_no_acknowledged_row(disk: LoopDisk, small: Site, tmp_path: Path) -> None:
    acknowledged, missing = await lost_by_power_failures(disk, small, tmp_path, "FULL")
    print(f"power loss, synchronous=FULL: {SNAPSHOTS} snapshots, acknowledged {acknowledged}, lost {missing}")
    assert acknowledged > 500
    assert missing == 0


@pytest.mark.timeout(200)
async def test_the_power_loss_test_can_fail(disk: LoopDisk, small: Site, tmp_path: Path) -> None:
    """Negative control: without the sync at commit, acknowledged rows are missing."""
    acknowledged, missing = await lost_by_power_failures(disk, small, tmp_path, "NORMAL")
    print(f"power loss, synchronous=NORMAL: {SNAPSHOTS} snapshots, acknowledged {acknowledged}, lost {missing}")
    assert missing > 0


async def test_a_full_disk_refuses_rows_drains_and_recovers_without_a_restart(
    saas: Saas, disk: LoopDisk, small: Site
) -> None:
    await small.produce(small.load(group=20, count=1000, pause=0, size=1024))
    await small.start()
    await drained(small)
    await saas.kill()
    await small.produce(small.load(group=20, count=1000, pause=0, size=1024))
    disk.fill(leave=0)
    refused = await small.mra("submit", "app.refused", str(small.config), check=False)
    assert refused.returncode == 75
    assert b"free disk space" in refused.stderr
    assert refused.stderr.count(b"\n") == 1
    await saas.start()
    await drained(small)  # the disk is still full
    disk.give_back()
    await small.produce(small.load(group=20, count=200, pause=0, size=1024))
    await drained(small)
    await count_perfect("full disk", saas, small.accepted(), at_least=8800)


async def test_a_disk_that_turns_read_only_loses_nothing_that_was_acknowledged(
    saas: Saas, disk: LoopDisk, small: Site, tmp_path: Path
) -> None:
    await saas.suspend()
    await small.start()
    await small.produce(small.load(group=20, count=200, pause=0))
    await disk.fail_read_only()
    refused = await small.mra("submit", "app.refused", str(small.config), check=False)
    assert refused.returncode not in (0, 1)
    assert b"Traceback" not in refused.stderr
    await small.kill()
    saas.resume()
    image = tmp_path / "after"
    await disk.snapshot(image)
    async with (
        open_snapshot(image, tmp_path / "mounted") as mounted,
        open_site(tmp_path / "again", saas.port, saas.site, state=mounted / "state") as again,
    ):
        await again.start()
        await drained(again)
    await count_perfect("read-only disk", saas, small.accepted(), at_least=800)


async def test_an_outbox_at_its_bound_still_drains(saas: Saas, small: Site) -> None:
    """The file's own limit, not the disk's: rows are refused, and settling and pruning have pages left to work with."""
    small.configure({"outbox": {"max_bytes": "4MiB"}, "lanes.events": {"overflow": "reject"}})
    connection = prepare(small.database, OutboxSettings(max_bytes=4 << 20, ballast=0, min_free=0))
    try:
        settings = OutboxSettings(max_bytes=4 << 20, ballast=0, min_free=0)
        accepted = 0
        drafts = [Draft(Lane.SUBMISSIONS, "app.row", b"x" * 1024) for _ in range(50)]
        while True:
            (outcome,) = accept(connection, small.database, [Request(drafts)], settings, now())
            if isinstance(outcome, OutboxFull):
                break
            assert isinstance(outcome, list)
            accepted += len(outcome)
    finally:
        connection.close()
    assert accepted > 1000
    await small.start()
    await until(lambda status: status["lanes"]["submissions"]["delivered"] == accepted, small)
