"""Small disks: full, read-only, and as a power failure leaves them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.harness import disks
from tests.harness.disks import open_disk, open_memory_disk, open_snapshot
from tests.harness.processes import Child, open_child

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.skipif(disks.missing() is not None, reason=str(disks.missing()))

ROOT = Path(__file__).parents[2]
LONG_ENOUGH_SECONDS = 0.1  # for many turns of a writer


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[disks.LoopDisk]:
    async with open_disk(tmp_path / "a disk", 24) as mounted:
        yield mounted


def mounts() -> str:
    return Path("/proc/self/mounts").read_text()


async def test_mounts_are_undone(tmp_path: Path) -> None:
    async with open_disk(tmp_path, 8) as disk:
        assert str(disk.path) in mounts()
    assert str(tmp_path) not in mounts()
    loops = await trio.run_process(["losetup", "--list"], capture_stdout=True, env=disks.admin_environment())
    assert str(tmp_path) not in loops.stdout.decode()


KILLED = """
import sys
from contextlib import asynccontextmanager
from pathlib import Path
import trio
from tests.harness.disks import open_disk
async def main():
    async with open_disk(Path(sys.argv[1]), 8):
        print("mounted", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


async def test_mounts_are_undone_when_the_tests_are_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    tests = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert tests.stdout is not None
    await tests.stdout.receive_some()
    assert str(tmp_path) in mounts()
    tests.send_signal(signal.SIGKILL)
    await tests.wait()
    await tests.stdout.aclose()
    with trio.fail_after(10):
        while str(tmp_path) in mounts():
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
async def test_full_disk_takes_nothing_until_space_is_given_back(tmp_path: Path, kind: str) -> None:
    async with open_disk(tmp_path, 8) if kind == "ext4" else open_memory_disk(tmp_path / "disk", 8) as disk:
        disk.fill(leave=64 << 10)
        assert disk.free < 80 << 10
        disk.fill()
        with pytest.raises(OSError, match="No space") as full:
            (disk.path / "file").write_bytes(bytes(64 << 10))
        assert full.value.errno == errno.ENOSPC
        disk.give_back()
        (disk.path / "file").write_bytes(bytes(64 << 10))


async def test_disk_that_fails_is_read_only_for_open_files_too(disk: disks.LoopDisk) -> None:
    file = os.open(disk.path / "file", os.O_WRONLY | os.O_CREAT)
    try:
        os.write(file, b"before")
        await disk.fail_read_only()
        with pytest.raises(OSError, match="Read-only") as refused:
            os.write(file, b"after")
        assert refused.value.errno == errno.EROFS
    finally:
        os.close(file)


# Appends numbers, syncs each or not, and only then tells a file elsewhere: the acknowledgement.
APPENDING = """
import os, sys
path, told, sync = sys.argv[1:]
file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
answers = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
number = 0
while True:
    number += 1
    os.write(file, b"%9d\\n" % number)
    if sync == "sync":
        os.fsync(file)
    os.write(answers, b"%9d\\n" % number)
"""

# Writes both ends of a long file in turn, each synced: at any instant the first is equal or one ahead.
TAKING_TURNS = """
import os, sys
path, told, _ = sys.argv[1:]
file = os.open(path, os.O_RDWR | os.O_CREAT)
os.pwrite(file, bytes(12 << 20), 0)
number = 0
while True:
    number += 1
    for place in 0, (12 << 20) - 4096:
        os.pwrite(file, b"%4096d" % number, place)
        os.fsync(file)
    if number == 1:
        os.close(os.open(told, os.O_CREAT))
"""


@asynccontextmanager
async def write_on(disk: disks.LoopDisk, program: str, told: Path, sync: str) -> AsyncIterator[Child]:
    command = [sys.executable, "-c", program, str(disk.path / "file"), str(told), sync]
    async with open_child(command, told.with_suffix(".log")) as writer:
        while not await trio.Path(told).exists():
            assert writer.returncode is None, writer.log.read_text()
        yield writer


def numbers(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split("\n")[:-1]] if file.exists() else []


async def lost_after_power_failures(disk: disks.LoopDisk, directory: Path, sync: str) -> list[int]:
    """How many acknowledged numbers are missing in each of some snapshots under load."""
    told, lost = directory / "told", list[int]()
    async with write_on(disk, APPENDING, told, sync):
        for number in range(5):
            acknowledged = numbers(told)
            image = directory / f"{number}.img"
            await disk.snapshot(image)
            async with open_snapshot(image, directory / f"{number}") as found:
                lost.append(len(set(acknowledged) - set(numbers(found / "file"))))
    return lost


async def test_what_was_synced_survives_a_power_failure(disk: disks.LoopDisk, tmp_path: Path) -> None:
    assert await lost_after_power_failures(disk, tmp_path, "sync") == [0] * 5


async def test_what_was_not_synced_is_lost(disk: disks.LoopDisk, tmp_path: Path) -> None:
    assert sum(await lost_after_power_failures(disk, tmp_path, "no sync")) > 0


async def test_hanging_disk_changes_no_block(disk: disks.LoopDisk, tmp_path: Path) -> None:
    async with write_on(disk, TAKING_TURNS, tmp_path / "told", ""):
        blocks = disk.image.read_bytes()
        while disk.image.read_bytes() == blocks:
            await trio.lowlevel.checkpoint()
        async with disk.hang():
            blocks = disk.image.read_bytes()
            await trio.sleep(LONG_ENOUGH_SECONDS)
            assert disk.image.read_bytes() == blocks
        while disk.image.read_bytes() == blocks:
            await trio.lowlevel.checkpoint()


async def test_snapshots_show_one_instant_each(disk: disks.LoopDisk, tmp_path: Path) -> None:
    seen = list[int]()
    async with write_on(disk, TAKING_TURNS, tmp_path / "told", ""):
        for number in range(5):
            image = tmp_path / f"{number}.img"
            await disk.snapshot(image)
            async with open_snapshot(image, tmp_path / f"{number}") as found:
                blocks = (found / "file").read_bytes()
            first, last = int(blocks[:4096]), int(blocks[-4096:])
            assert first - last in (0, 1)
            seen.append(first)
    assert seen == sorted(set(seen)), "the writer stood still, so any copy would have passed"
