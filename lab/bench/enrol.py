"""A crowd of nodes that enrol at once: a SaaS as `mra saas init` makes it, and one `mra saas provisioner`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from tests.harness.processes import open_child
from tests.harness.provisioning import Node, token
from tests.harness.tenancy import open_tenancy

if TYPE_CHECKING:
    from tests.harness.tenancy import Tenancy

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300.0


def measure(folder: Path, scale: float) -> dict[str, float]:
    """Seconds until all of a crowd are enrolled, and until half and the last of them are."""
    return trio.run(_measure, folder, max(2, round(200 * scale)))


async def _measure(folder: Path, count: int) -> dict[str, float]:
    async with open_tenancy(folder, "acme") as saas:
        command = [sys.executable, "-m", "mra.cli.main", "saas", "provisioner", "--saas", str(saas.path)]
        async with open_child(command, folder / "provisioner.log", {"PYTHONPATH": str(ROOT)}):
            await Node(folder / "first", "first", token(saas)).enrol(PATIENCE)  # the service listens
            times = await _crowd(folder, saas, count)
    return {"nodes": count, "half": sorted(times)[count // 2], "all": max(times)}


async def _crowd(folder: Path, saas: Tenancy, count: int) -> list[float]:
    text, times = token(saas), []
    nodes = [Node(folder / f"n{number}", f"n{number}", text) for number in range(count)]
    started = time.perf_counter()

    async def enrol(node: Node) -> None:
        await node.enrol(PATIENCE)
        times.append(time.perf_counter() - started)

    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(enrol, node)
    return times
