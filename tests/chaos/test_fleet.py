"""Two hundred agents lose their SaaS at one moment, and come back without a rush."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from mra.uplink.service import UplinkSettings
from tests.chaos.ending import count_perfect
from tests.harness.fleet import open_fleet
from tests.harness.herd import peak_over_mean

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.saas import Saas

pytestmark = pytest.mark.chaos
AGENTS = 200
SETTINGS = UplinkSettings(retry_first=8, retry_cap=12)  # in the proportion of the defaults, so that a test can wait


async def test_two_hundred_agents_return_after_a_restart_and_deliver_everything_once(
    saas: Saas, tmp_path: Path
) -> None:
    async with open_fleet(tmp_path / "fleet", saas, AGENTS, SETTINGS) as fleet:
        await fleet.accept(5)
        await fleet.wait_drained()
        await saas.kill()
        await fleet.accept(20)
        await saas.start()
        back = trio.current_time()
        with trio.fail_after(60):
            await fleet.wait_connected(2 * AGENTS)
            await fleet.wait_drained()
        returned = fleet.connections[AGENTS:]
        ratio = peak_over_mean(returned, back)
        print(f"{AGENTS} agents back within {max(returned) - back:.1f} s, peak over mean {ratio:.2f}")
        assert ratio < 3
    await count_perfect("fleet", saas, fleet.accepted, at_least=25 * AGENTS)
