"""What a real `mra run` process costs: a 2-million-row backlog, and doing nothing."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import trio

from lab.bench.drain import SETTINGS, fill, percent_rates
from mra.control import ask_daemon
from mra.errors import Unavailable
from mra.outbox.outbox import open_outbox
from tests.harness.processes import Child, open_child
from tests.harness.saas import EVENTS, Saas, open_saas

SMALL = b"x" * 64


def configuration(folder: Path, saas: Saas) -> Path:
    """The file of an agent that keeps everything in `folder` and delivers to `saas`."""
    (folder / "password").write_text(saas.site.password)
    file = folder / "agent.toml"
    file.write_text(
        f"""[agent]
name = "bench"
state = "{folder}"
[saas]
urls = ["{saas.url}"]
user = "{saas.site.user}"
password_file = "password"
[outbox]
max_bytes = "16GiB"
replay_bytes = "64GiB"
[lanes.events]
max_bytes = "16GiB"
"""
    )
    return file


async def _status(folder: Path) -> dict[str, object]:
    while True:
        try:
            return await trio.to_thread.run_sync(ask_daemon, folder / "mra.sock", "status")  # type: ignore[no-any-return]
        except Unavailable:
            await trio.sleep(0.05)


def peak_memory(pid: int) -> int:
    """Highest resident size of a process, bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _opening(path: Path) -> float:
    started = time.perf_counter()
    async with open_outbox(path, SETTINGS):
        return time.perf_counter() - started


async def _daemon(folder: Path, rows: int, idle: float) -> dict[str, float]:
    path = folder / "outbox.db"
    await trio.to_thread.run_sync(fill, path, rows)
    opening = await _opening(path)
    async with open_saas(folder) as saas:
        command = [sys.executable, "-m", "mra.cli.main", "run", "--config", str(configuration(folder, saas))]
        async with open_child(command, folder / "agent.log") as child:
            started = time.perf_counter()
            await _until_drained(folder)
            seconds = time.perf_counter() - started
            memory = peak_memory(child.pid)
            load = await _idle(child, idle)
            await child.terminate()
    first, last = percent_rates(path, rows)
    return {
        "rows": rows,
        "open": opening,
        "drain": rows / seconds,
        "first percent": first,
        "last percent": last,
        "peak memory": memory,
        "idle": load,
    }


async def _backlog(folder: Path, rows: int) -> tuple[float, float, float]:
    path = folder / "outbox.db"
    await trio.to_thread.run_sync(fill, path, rows, SMALL)
    opening = await _opening(path)
    async with open_saas(folder / "saas") as saas:
        command = [sys.executable, "-m", "mra.cli.main", "run", "--config", str(configuration(folder, saas))]
        async with open_child(command, folder / "agent.log") as child:
            await _until_drained(folder)
            return opening, peak_memory(child.pid), await _stored(saas)


async def _stored(saas: Saas) -> float:
    async with saas.connect() as wire:
        return sum(message.body == SMALL for message in await wire.read_stream(EVENTS))


def measure_backlogs(where: Path, scale: float = 1.0) -> dict[str, float]:
    """A few small rows and a great many, each on a real daemon: what the difference costs."""
    found: dict[str, float] = {"few": 10_000, "many": max(20_000, int(1_000_000 * scale))}
    for name in ("few", "many"):
        folder = Path(tempfile.mkdtemp(dir=where))
        try:
            opening, memory, stored = trio.run(_backlog, folder, int(found[name]))
        finally:
            shutil.rmtree(folder)
        found |= {f"open {name}": opening, f"memory {name}": memory, f"stored {name}": stored}
    return found


async def _until_drained(folder: Path) -> None:
    while True:
        lanes = (await _status(folder))["lanes"]
        if not lanes["events"]["waiting"]:  # type: ignore[index]
            return
        await trio.sleep(0.5)


async def _idle(child: Child, seconds: float) -> float:
    await trio.sleep(20)  # let upkeep finish what the drain left
    before = cpu_seconds(child.pid)
    await trio.sleep(seconds)
    return (cpu_seconds(child.pid) - before) / seconds


def measure(where: Path, scale: float = 1.0) -> dict[str, float]:
    """A backlog of 2 million rows on a real daemon: opening, speed at both ends, memory; then its idle load."""
    folder = Path(tempfile.mkdtemp(dir=where))
    try:
        return trio.run(_daemon, folder, int(2_000_000 * scale), 30.0)
    finally:
        shutil.rmtree(folder)
