"""SIGKILL, again and again, under load."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from tests.chaos.ending import count_perfect, drained
from tests.harness.counting import count

if TYPE_CHECKING:
    from tests.harness.saas import Saas
    from tests.harness.site import Site

pytestmark = pytest.mark.chaos
KILLS = 200


@pytest.mark.timeout(400)
async def test_two_hundred_kills_of_agent_and_saas_in_turn_lose_nothing(saas: Saas, site: Site) -> None:
    """Producers write beside the daemon and inside it; every kill falls at a moment of its own."""
    site.configure({"facts": {"enabled": False}})  # a quick start, so that two hundred fit into a test
    moments = random.Random(20)  # the same moments in every run, as far as the machine's pace lets them be the same
    # A hundred starts: most of each would go into compiling again where Python is told not to keep bytecode.
    site.environment |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(site.directory / "bytecode")}
    load = site.load(group=5, pause=0.05)
    beside = site.start_producer(load)
    await site.start(load=load)
    for _ in range(KILLS // 2):
        await trio.sleep(moments.uniform(0.02, 0.2))
        await site.kill()
        async with trio.open_nursery() as again:  # the agent comes back to a SaaS that is going
            again.start_soon(partial(site.start, load=load))
            await trio.sleep(moments.uniform(0.02, 0.4))
            await saas.kill()
            await saas.start()
    before = sum(found.delivered for found in (await count(saas, site.accepted())).values())
    print(f"delivered between kills: {before}")
    assert before > 0, "nothing moved, so the kills met nothing"
    await beside.kill()
    await site.kill()
    await site.start()
    await drained(site)
    await count_perfect(f"{KILLS} kills", saas, site.accepted(), at_least=1000)
    assert (await site.mra("outbox", "verify")).returncode == 0


async def test_a_killed_producer_leaves_whole_rows_only(saas: Saas, site: Site) -> None:
    """Ten producer processes, each killed in the middle of its work; what they were told stands."""
    await site.start()
    for _ in range(10):
        producer = site.start_producer(site.load(group=20, pause=0))
        before = len(site.accepted())
        with trio.fail_after(20):
            while len(site.accepted()) == before:  # noqa: ASYNC110 - the producer is another process
                await trio.sleep(0.01)
        await producer.kill()
    await drained(site)
    await count_perfect("killed producers", saas, site.accepted(), at_least=200)
