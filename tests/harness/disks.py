"""Small disks of a test's own: filled, flipped to read-only, and copied at one instant as a power failure leaves them.

A disk is an ext4 file system in an image file, which lies in a second, outer file system:

    path         ext4, where the product writes
      image        its blocks, on a loop device
    host         ext4 that holds nothing but the image
      host image   on a loop device, in the test's directory

The outer one makes honest snapshots possible. Copying an image while it is written mixes blocks of different moments,
a state that no power failure leaves: a database page from before a checkpoint beside a log from after it would be
reported as a loss that never was. Freezing the outer file system holds every write of the inner disk, those in the
middle of an fsync included, for the tens of milliseconds that a copy takes. What the product has written but not
synced is still in memory then, so it is missing from the copy, as after a power failure.

Needs root, loop devices and the commands of util-linux and e2fsprogs; `missing()` names what is not there. Whatever
happens to the tests, mounts are undone: by leaving the block, or else by a watchman that waits for them to die.
Processes on the disk must have ended before.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MEBIBYTE = 1 << 20
HOST_SLACK_MEBIBYTES = 16
COMMANDS = ("mkfs.ext4", "mount", "umount", "findmnt", "fsfreeze")
ADMIN_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))

# Outlives the tests for a moment: its standard input ends with them.
WATCHMAN = 'read -r _; for path; do fsfreeze --unfreeze "$path"; umount --lazy "$path"; done 2>/dev/null; true'


@functools.cache
def missing() -> str | None:
    """Why disks cannot be made here, or None when they can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    for command in COMMANDS:
        if shutil.which(command, path=ADMIN_PATH) is None:
            return f"there is no {command} command"
    with tempfile.TemporaryDirectory() as directory:
        image, path = Path(directory, "image"), Path(directory, "path")
        path.mkdir()
        with image.open("wb") as file:
            file.truncate(2 * MEBIBYTE)
        steps: list[list[str | Path]] = [
            ["mkfs.ext4", "-qF", image],
            ["mount", "-o", "loop", image, path],
            ["umount", path],
        ]
        for step in steps:
            done = subprocess.run(step, env=admin_environment(), capture_output=True, check=False, text=True)
            if done.returncode:
                return f"{step[0]} does not work here: {done.stderr.strip()}"
    return None


def admin_environment() -> dict[str, str]:
    """Where the administrator's commands are found, and in plain English."""
    return {**os.environ, "PATH": ADMIN_PATH, "LC_ALL": "C"}


async def _run(*command: str | Path) -> str:
    done = await trio.run_process(
        [str(word) for word in command],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=admin_environment(),
    )
    if done.returncode:
        raise OSError(f"{command[0]} failed with {done.returncode}: {done.stderr.decode().strip()}")
    return done.stdout.decode().strip()


@asynccontextmanager
async def _mounted(path: Path, *arguments: str | Path) -> AsyncIterator[None]:
    """Mount at `path` for the length of the block; a loop device made for it goes with it."""
    await trio.Path(path).mkdir(parents=True, exist_ok=True)
    watchman = await trio.lowlevel.open_process(
        ["sh", "-c", WATCHMAN, "watchman", str(path)],
        stdin=subprocess.PIPE,
        env=admin_environment(),
        start_new_session=True,
    )
    assert watchman.stdin is not None
    try:
        await _run("mount", *arguments, path)
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await _run("umount", path)
    finally:
        with trio.CancelScope(shield=True):
            await watchman.stdin.aclose()
            await watchman.wait()


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted file system of fixed size; the product's files go under `path`."""

    path: Path

    @property
    def free(self) -> int:
        """Bytes that can still be written."""
        space = os.statvfs(self.path)
        return space.f_bavail * space.f_frsize

    @property
    def _filler(self) -> Path:
        return self.path / "filler"

    def fill(self, *, leave: int = 0) -> None:
        """Let someone else take the space, but for about `leave` bytes."""
        with self._filler.open("ab") as filler:
            for step in (MEBIBYTE, 4096):
                while self.free >= leave + step:
                    try:
                        os.posix_fallocate(filler.fileno(), os.fstat(filler.fileno()).st_size, step)
                    except OSError:
                        break

    def give_back(self) -> None:
        """Free what `fill` took."""
        self._filler.unlink()


@dataclass(frozen=True, slots=True)
class LoopDisk(Disk):
    """An ext4 disk whose blocks are in reach. Made by `open_disk`."""

    host: Path
    image: Path

    @asynccontextmanager
    async def hang(self) -> AsyncIterator[None]:
        """Let writes reach the disk no more for the length of the block: whoever syncs waits, beyond any signal."""
        await _run("fsfreeze", "--freeze", self.host)
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await _run("fsfreeze", "--unfreeze", self.host)

    async def snapshot(self, to: Path) -> None:
        """Copy every block as it is at one instant, under whatever load; writers wait meanwhile."""
        async with self.hang():
            await _run("cp", "--sparse=always", "--", self.image, to)

    async def fail_read_only(self) -> None:
        """Let ext4 find an error: it turns read-only at once, open files included, for as long as it is mounted."""
        device = Path(await _run("findmnt", "--noheadings", "--output", "SOURCE", self.path)).name
        await trio.Path("/sys/fs/ext4", device, "trigger_fs_error").write_text("1")


@asynccontextmanager
async def open_disk(directory: Path, mebibytes: int) -> AsyncIterator[LoopDisk]:
    """A new, empty ext4 disk for the length of the block. Close every file on it before leaving."""
    host, host_image = directory / "host", directory / "host.img"
    path, image = directory / "disk", host / "disk.img"
    await trio.Path(directory).mkdir(parents=True, exist_ok=True)
    await _make_ext4(host_image, mebibytes + HOST_SLACK_MEBIBYTES)
    async with _mounted(host, "-o", "loop,noatime", host_image):
        await _make_ext4(image, mebibytes)
        async with _mounted(path, "-o", "loop,noatime,errors=remount-ro", image):
            yield LoopDisk(path, host, image)


async def _make_ext4(image: Path, mebibytes: int) -> None:
    with image.open("wb") as file:
        file.truncate(mebibytes * MEBIBYTE)
    await _run("mkfs.ext4", "-q", "-F", "-m", "0", image)


@asynccontextmanager
async def open_snapshot(image: Path, at: Path) -> AsyncIterator[Path]:
    """What a computer finds that starts after the power failure: the copy mounted, its journal replayed."""
    async with _mounted(at, "-o", "loop", image):
        yield at


@asynccontextmanager
async def open_memory_disk(at: Path, mebibytes: int) -> AsyncIterator[Disk]:
    """A tmpfs of fixed size for the length of the block: quick, for tests that need no blocks."""
    async with _mounted(at, "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=700", "tmpfs"):
        yield Disk(at)
