"""A fleet that loses its SaaS at one moment and comes back: real agents, and many more simulated ones."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import trio

from mra.uplink.service import UplinkSettings
from tests.harness.counting import count
from tests.harness.fleet import open_fleet
from tests.harness.herd import peak_over_mean, simulate
from tests.harness.saas import open_saas

AGENTS, SIMULATED = 200, 10_000  # with fewer, chance decides the busiest second
SETTINGS = UplinkSettings()
OUTAGES = (0.5, 2.0, 7.0, 15.0, 30.0, 60.0)
RATE = 500  # connections a second that the simulated server takes


async def _restart(folder: Path) -> dict[str, float]:
    async with open_saas(folder / "saas") as saas:
        async with open_fleet(folder / "fleet", saas, AGENTS, SETTINGS) as fleet:
            await fleet.accept(5)
            await fleet.wait_drained()
            await saas.kill()
            await fleet.accept(20)
            await saas.start()
            back = trio.current_time()
            await fleet.wait_connected(2 * AGENTS)
            await fleet.wait_drained()
            seconds = trio.current_time() - back
            ratio = peak_over_mean(fleet.connections[AGENTS:], back)
        counts = (await count(saas, fleet.accepted))["events"]
    return {
        "seconds": seconds,
        "ratio": ratio,
        "delivered": counts.delivered,
        "wrong": counts.lost + counts.duplicated + counts.reordered,
    }


def measure_restart(where: Path) -> dict[str, float]:
    """Real agents, each with an outbox of its own, around a restart of a real server."""
    folder = Path(tempfile.mkdtemp(dir=where))
    try:
        return trio.run(_restart, folder)
    finally:
        shutil.rmtree(folder)


def measure_simulation() -> dict[str, float]:
    """Simulated agents under a mock clock, for outages of several lengths; the worst of them."""
    returns = {outage: simulate(SETTINGS, agents=SIMULATED, outage=outage, rate=RATE) for outage in OUTAGES}
    return {
        "seconds": max(max(seen.greeted) - outage for outage, seen in returns.items()),
        "ratio": max(peak_over_mean(seen.attempts, outage) for outage, seen in returns.items()),
        "wasted": sum(seen.wasted for seen in returns.values()),
    }
