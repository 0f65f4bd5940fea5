"""The wall clock steps by fifty years, both ways, while the agent runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.chaos.ending import count_perfect, drained
from tests.harness import clock
from tests.harness.clock import YEAR, make_wall_clock
from tests.harness.site import open_site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.saas import Saas

pytestmark = [pytest.mark.chaos, pytest.mark.skipif(clock.missing() is not None, reason=str(clock.missing()))]
AGES = {f"lanes.{lane}": {"max_age": "1d"} for lane in ("submissions", "events", "nodes", "metrics")}
QUIET = {"facts": {"enabled": False}}  # its reports supersede each other, which is shedding of another kind


async def test_steps_of_fifty_years_expire_nothing_and_keep_the_order(saas: Saas, tmp_path: Path) -> None:
    wall = await make_wall_clock(tmp_path)
    async with open_site(
        tmp_path / "site", saas.port, saas.site, tables=AGES | QUIET, environment=wall.environment
    ) as site:
        await saas.kill()
        await site.start(load=site.load(group=5, pause=0.02))
        for years in (50, -50, 0, -20, 50):
            wall.set(years * YEAR)
            await trio.sleep(0.5)
        await site.terminate()
        await site.start()  # upkeep looks for rows that are too old
        await trio.sleep(1)
        lanes = (await site.status())["lanes"]
        assert all(lane["shed"] == 0 for lane in lanes.values())
        assert all(lane["oldest_age"] < 60 for lane in lanes.values() if lane["waiting"])
        await saas.start()
        await drained(site)
        await count_perfect("clock steps", saas, site.accepted(), at_least=200)
