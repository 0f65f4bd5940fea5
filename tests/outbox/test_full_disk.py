"""A disk that somebody else has filled: producers are refused, the draining goes on, and room is all it takes."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from mra.clock import NANOSECONDS, Stamp, now
from mra.errors import MraError, OutboxFull
from mra.outbox import drain, inspection, lanes, operator, parking, salvage, service, sqlite, upkeep, verification
from mra.outbox.ballast import Ballast
from mra.outbox.opening import prepare
from mra.outbox.outbox import open_outbox
from mra.outbox.policy import OutboxSettings
from mra.outbox.record import Draft, Lane
from tests.harness import disks
from tests.harness.disks import open_disk, open_memory_disk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mra.outbox.outbox import Outbox
    from tests.harness.disks import Disk

pytestmark = pytest.mark.skipif(disks.missing() is not None, reason=str(disks.missing()))

MIB = 1 << 20
LANE = Lane.SUBMISSIONS
SETTINGS = OutboxSettings(min_free=0, ballast=4 * MIB, replay_window=3600)
ROW = Draft(LANE, "a.b", b"x" * 2000)


@asynccontextmanager
async def memory(folder: Path) -> AsyncIterator[Disk]:
    async with open_memory_disk(folder / "disk", 48) as disk:
        yield disk


@asynccontextmanager
async def ext4(folder: Path) -> AsyncIterator[Disk]:
    async with open_disk(folder, 48) as disk:
        yield disk


@pytest.fixture(params=[memory, ext4])
async def disk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Disk]:
    async with request.param(tmp_path) as disk:
        yield disk


async def state(outbox: Outbox) -> lanes.LaneState:
    return await outbox.read(lanes.load, LANE)


async def deliver(outbox: Outbox, through_seq: int) -> None:
    here = await state(outbox)
    total = here.epoch_total + through_seq - here.settled_through
    rows = await outbox.read(drain.count_between, LANE, here.claimed_through, through_seq)
    await outbox.run_unit(
        drain.advance,
        LANE,
        settled=drain.Settlement(here.epoch, through_seq, total, total + 1),
        claim=drain.Claim(here.claimed_through, through_seq, rows),
    )


async def append_until_refused(outbox: Outbox) -> MraError:
    while True:
        try:
            await outbox.append_many([ROW] * 50)
        except MraError as error:
            return error


async def test_the_disk_fills_drains_and_recovers_without_a_restart(disk: Disk) -> None:
    path = disk.path / "state" / "outbox.db"
    async with open_outbox(path, SETTINGS) as outbox:
        assert outbox.ballast.is_set
        await outbox.append_many([ROW] * 1000)
        await outbox.run_unit(parking.park, LANE, [1], "refused")
        disk.fill()
        error = await append_until_refused(outbox)
        assert isinstance(error, sqlite.DiskFull)
        assert "free disk space" in error.sentence
        accepted = (await state(outbox)).accepted

        # What makes room must get through, for as long as it takes.
        for through in range(100, 1001, 100):
            await deliver(outbox, through)
        await outbox.run_unit(parking.park, LANE, [accepted], "refused, too")
        numbers = [row["no"] for row in await outbox.read(inspection.parked)]
        await outbox.run_unit(operator.requeue, numbers, actor="test")
        late = replace(SETTINGS, replay_bytes=0)
        stamp_later = stamp_in(1200)
        while await outbox.run_unit(upkeep.prune, late, stamp_later):
            pass
        assert (await state(outbox)).delivered == 999
        assert not outbox.ballast.is_set

        # Pruned pages are room for new rows even while the disk stays full.
        await outbox.append_many([ROW] * 100)
        disk.give_back()
        await outbox.append_many([ROW] * 1000)
        await service.keep_up(outbox)
        assert outbox.ballast.is_set
        assert await outbox.read(verification.verify) == []


def stamp_in(seconds: float) -> Stamp:
    stamp = now()
    return stamp._replace(mono=stamp.mono + int(seconds * NANOSECONDS))


@pytest.mark.parametrize("end", ["orderly", "killed"])
async def test_a_daemon_that_starts_on_a_full_disk_gives_up_its_ballast_and_drains(disk: Disk, end: str) -> None:
    path = disk.path / "state" / "outbox.db"
    async with open_outbox(path, SETTINGS) as outbox:
        await outbox.append_many([ROW] * 1000)
        if end == "killed":
            log = path.with_name("outbox.db-wal")
            shutil.copy(path, disk.path / "copy.db")
            shutil.copy(log, disk.path / "copy.db-wal")
    if end == "killed":
        (disk.path / "copy.db").rename(path)
        (disk.path / "copy.db-wal").rename(log)
    disk.fill()
    async with open_outbox(path, SETTINGS) as outbox:
        await deliver(outbox, 1000)
        assert (await state(outbox)).delivered == 1000
        assert await outbox.read(verification.verify) == []


async def test_space_kept_for_the_host_refuses_rows_before_the_disk_is_full(disk: Disk) -> None:
    path = disk.path / "state" / "outbox.db"
    async with open_outbox(path, replace(SETTINGS, min_free=16 * MIB)) as outbox:
        await outbox.append(ROW)
        disk.fill(leave=10 * MIB)
        with pytest.raises(OutboxFull, match="min_free"):
            await outbox.append(ROW)
        assert outbox.ballast.is_set
        await deliver(outbox, 1)
        disk.give_back()
        await outbox.append(ROW)


async def test_an_outbox_cannot_be_made_on_a_full_disk_and_says_so(disk: Disk) -> None:
    disk.fill()
    with pytest.raises(MraError) as caught:
        prepare(disk.path / "state" / "outbox.db", SETTINGS)
    assert "free disk space" in caught.value.sentence


async def test_a_salvage_without_space_keeps_the_damaged_file_and_is_repeated(disk: Disk) -> None:
    path = disk.path / "state" / "outbox.db"
    async with open_outbox(path, SETTINGS) as outbox:
        await outbox.append_many([ROW] * 4000)
    with path.open("r+b") as file:
        file.write(bytes(4096))
    disk.fill(leave=2 * MIB)
    image = path.read_bytes()
    with pytest.raises(MraError) as caught:
        await trio.to_thread.run_sync(salvage.salvage, path)
    assert "free disk space" in caught.value.sentence
    assert path.read_bytes() == image
    assert {file.name for file in path.parent.iterdir()} <= {"outbox.db", "outbox.db.ballast"}
    disk.give_back()
    assert (await trio.to_thread.run_sync(salvage.salvage, path)).rows == 4000


# -- the ballast itself ------------------------------------------------------------------------------------------------


async def test_the_ballast_is_set_aside_only_when_the_host_can_spare_it(disk: Disk) -> None:
    ballast = Ballast(disk.path / "ballast", 4 * MIB, min_free=30 * MIB)
    disk.fill(leave=20 * MIB)
    assert not ballast.set_aside()
    disk.give_back()
    free = disk.free
    assert ballast.set_aside()
    assert disk.free <= free - 4 * MIB
    assert (ballast.release(), ballast.release()) == (True, False)
    assert disk.free >= free - MIB


async def test_a_ballast_that_is_not_wanted_is_removed(disk: Disk) -> None:
    path = disk.path / "ballast"
    assert Ballast(path, 4 * MIB, 0).set_aside()
    assert not Ballast(path, 0, 0).set_aside()
    assert not path.exists()


async def test_a_ballast_never_raises(disk: Disk) -> None:
    nowhere = Ballast(disk.path / "nothing" / "ballast", 4 * MIB, 0)
    assert (nowhere.is_set, nowhere.set_aside(), nowhere.release()) == (False, False, False)
