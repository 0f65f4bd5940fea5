"""What an agent costs that hosts many machines which find nothing to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from lab.bench.daemon import configuration, cpu_seconds
from mra.control import ask_daemon
from mra.errors import Unavailable
from tests.harness.processes import open_child
from tests.harness.saas import open_saas

if TYPE_CHECKING:
    from tests.harness.processes import Child

MACHINES = 500
INTERVAL = 30
SETTLING = 40.0  # s: starts and first looks are spread over an interval
WINDOW = 60.0  # s

_MANIFEST = """\
name: {name}
version: 1.0.0
initial_state: steady
transitions:
  - {{name: alarm, from: [steady], destination: alarmed}}
  - {{name: clear, from: [alarmed], destination: steady}}
watchers:
  - name: limits
    type: file
    interval: {interval}s
    state_match: [steady]
    properties: {{path: limits.json, gather_initial_state: true}}
  - name: rest
    type: timer
    state_match: [alarmed, steady]
    fail_transition: clear
    properties: {{timer: 12h}}
  - name: probe
    type: exec
    interval: {interval}s
    state_match: [steady]
    fail_transition: alarm
    properties: {{command: /bin/true, timeout: 10s, gather_initial_state: true, suppress_success_announce: true}}
"""


def write_machines(store: Path, count: int) -> None:
    """Machines of three watchers each: one looks at a file, one runs a program, one waits."""
    for number in range(count):
        directory = store / f"machine_{number}"
        directory.mkdir(parents=True)
        (directory / "limits.json").write_text("{}")
        (directory / "machine.yaml").write_text(_MANIFEST.format(name=directory.name, interval=INTERVAL))


def resident_memory(pid: int) -> int:
    """What a process has in memory now, bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def bare_starts(count: int) -> float:
    """Processor seconds of this process for starting a program and waiting for it, so many times: the limit."""
    before = time.process_time()
    for _ in range(count):
        subprocess.run(["/bin/true"], check=True)
    return time.process_time() - before


async def _machines(socket: Path) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = await trio.to_thread.run_sync(ask_daemon, socket, "machines.ls")
    except Unavailable:
        return []
    return found


async def _until_running(folder: Path, count: int) -> None:
    with trio.fail_after(300):
        while True:
            found = await _machines(folder / "mra.sock")
            if problems := [machine["problem"] for machine in found if machine["problem"]]:
                raise RuntimeError(problems[0])
            if len(found) == count and all(machine["condition"] == "running" for machine in found):
                return
            await trio.sleep(0.5)


async def _load(child: Child, seconds: float) -> float:
    before, started = cpu_seconds(child.pid), time.perf_counter()
    await trio.sleep(seconds)
    return (cpu_seconds(child.pid) - before) / (time.perf_counter() - started)


async def _agent(folder: Path, count: int, window: float) -> dict[str, float]:
    write_machines(folder / "machines", count)
    async with open_saas(folder) as saas:
        command = [sys.executable, "-m", "mra.cli.main", "run", "--config", str(configuration(folder, saas))]
        async with open_child(command, folder / "agent.log") as child:
            started = time.perf_counter()
            await _until_running(folder, count)
            starting = time.perf_counter() - started
            await trio.sleep(SETTLING if count else 5)
            load = await _load(child, window)
            memory = resident_memory(child.pid)
            await child.terminate()
    return {"machines": count, "start": starting, "load": load, "memory": memory}


def measure(where: Path, scale: float = 1.0) -> dict[str, float]:
    """An agent with 500 machines beside the same one with none: load of one core, resident memory, time to start."""
    count = max(1, int(MACHINES * scale))
    window = max(INTERVAL, WINDOW * min(scale, 1.0))
    found = []
    for machines in (0, count):
        folder = Path(tempfile.mkdtemp(dir=where))
        try:
            found.append(trio.run(_agent, folder, machines, window))
        finally:
            shutil.rmtree(folder)
    empty, full = found
    starts = count / INTERVAL
    return {
        **full,
        "empty load": empty["load"],
        "empty memory": empty["memory"],
        "starts": starts,  # of programs per second
        "bare load": bare_starts(200) / 200 * starts,
    }
