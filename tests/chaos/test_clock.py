"""The wall clock steps by fifty years, both ways, while the agent runs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from mra.outbox.record import Lane
from tests.chaos.ending import count_perfect, drained, until
from tests.harness import clock
from tests.harness.clock import YEAR, make_wall_clock
from tests.harness.ledger import LedgerWriter, Row
from tests.harness.site import open_site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.saas import Saas

pytestmark = [pytest.mark.chaos, pytest.mark.skipif(clock.missing() is not None, reason=str(clock.missing()))]
AGES = {f"lanes.{lane}": {"max_age": "1d"} for lane in ("submissions", "events", "nodes", "metrics")}
QUIET = {"facts": {"enabled": False}}  # its reports supersede each other, which is shedding of another kind


def has_delivered(count: int, status: dict[str, Any]) -> bool:
    return sum(lane["delivered"] for lane in status["lanes"].values()) >= count


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


async def test_delivery_goes_on_through_the_steps_and_nothing_is_taken_for_old(saas: Saas, tmp_path: Path) -> None:
    """The SaaS is there all the while; every step is followed by deliveries, and by rows that carry a ttl."""
    wall = await make_wall_clock(tmp_path)
    async with open_site(
        tmp_path / "site", saas.port, saas.site, tables=AGES | QUIET, environment=wall.environment
    ) as site:
        submitter = LedgerWriter(site.ledger)
        await site.start(load=site.load(group=5, pause=0.05))
        for number, years in enumerate((50, -50, 50, 0), start=1):
            wall.set(years * YEAR)
            row = Row.new(Lane.SUBMISSIONS.value, "mortal", number)
            body = tmp_path / "row"
            body.write_bytes(row.body())
            await site.mra("submit", "tested.rows", str(body), "--ttl", "1h")
            submitter.accepted([row])
            due = len(site.accepted())
            await until(partial(has_delivered, due), site)
            status = await site.status()
            assert 0 <= status["uptime"] < 120
            for lane in status["lanes"].values():
                assert lane["shed"] == 0
                assert not lane["waiting"] or 0 <= lane["oldest_age"] < 60
        submitter.close()
        pid = site.agent.pid
        assert site.agent.returncode is None
        assert (await site.status())["pid"] == pid
        await site.terminate()
        await site.start()
        await drained(site)
        lanes = (await site.status())["lanes"]
        assert all(lane["shed"] == 0 for lane in lanes.values())
        await count_perfect("clock steps during delivery", saas, site.accepted(), at_least=200)


async def test_rows_that_may_grow_old_wait_through_the_steps_and_upkeep(saas: Saas, tmp_path: Path) -> None:
    """A ttl of an hour, a max_age of a day, and a hundred years between two looks; only real time counts."""
    wall = await make_wall_clock(tmp_path)
    async with open_site(
        tmp_path / "site", saas.port, saas.site, tables=AGES | QUIET, environment=wall.environment
    ) as site:
        await saas.kill()
        body = tmp_path / "row"
        submitter = LedgerWriter(site.ledger)
        await site.start()
        for number, years in enumerate((-50, 50, -50), start=1):
            wall.set(years * YEAR)
            row = Row.new(Lane.SUBMISSIONS.value, "mortal", number)
            body.write_bytes(row.body())
            await site.mra("submit", "tested.rows", str(body), "--ttl", "1h")
            submitter.accepted([row])
            await site.produce(site.load(group=10, count=20, pause=0))
            await site.terminate()
            wall.set(-years * YEAR)
            await site.start()  # upkeep runs at once, with the clock a hundred years away from the rows'
        body.write_bytes(b"expires in earnest")
        await site.mra("submit", "tested.rows", str(body), "--ttl", "1s")
        submitter.close()
        await trio.sleep(1)
        await site.terminate()
        await site.start()
        await until(lambda status: status["lanes"]["submissions"]["shed"], site)
        lanes = (await site.status())["lanes"]
        shed = sum(lane["shed"] for lane in lanes.values())
        assert shed == 1, "the row whose second is over, and no other"
        assert all(0 <= lane["oldest_age"] < 60 for lane in lanes.values() if lane["waiting"])
        await saas.start()
        await drained(site)
        await count_perfect("clock steps before delivery", saas, site.accepted(), at_least=240)
