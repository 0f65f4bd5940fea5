"""The batch is stored and its answer never comes; the stream's duplicate window is long over when the agent returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from mra.outbox.record import Lane
from tests.chaos.ending import count_perfect, drained
from tests.harness.counting import count
from tests.harness.saas import EVENTS

if TYPE_CHECKING:
    from tests.harness.proxy import Proxy
    from tests.harness.saas import Saas
    from tests.harness.site import Site

pytestmark = pytest.mark.chaos
WINDOW_NS = 100_000_000
BEYOND_THE_WINDOW = 0.5


async def test_a_batch_whose_answer_is_lost_is_not_stored_twice(saas: Saas, proxy: Proxy, distant: Site) -> None:
    await saas.change_stream(EVENTS, duplicate_window=WINDOW_NS)
    await distant.produce(distant.load(Lane.EVENTS, group=100, count=3000, pause=0))
    for _ in range(5):
        lost = proxy.lose_answer(b'"batch":', refuse=True)
        if distant._agent is None:
            await distant.start()
        with trio.fail_after(20):
            await lost.wait()
        await trio.sleep(BEYOND_THE_WINDOW)
        await distant.produce(distant.load(Lane.EVENTS, group=100, count=500, pause=0))
        proxy.heal()
    await drained(distant)
    await count_perfect("5 lost answers", saas, distant.accepted(), at_least=5500)


async def test_the_agent_dies_with_the_answer(saas: Saas, proxy: Proxy, distant: Site) -> None:
    """Nothing in memory survives; the checkpoint at the SaaS and the rows on disk are enough."""
    await saas.change_stream(EVENTS, duplicate_window=WINDOW_NS)
    for _ in range(4):
        await distant.produce(distant.load(Lane.EVENTS, group=100, count=1500, pause=0))
        lost = proxy.lose_answer(b'"batch":', refuse=True)
        await distant.start()
        with trio.fail_after(20):
            await lost.wait()
        await distant.kill()
        await trio.sleep(BEYOND_THE_WINDOW)
        proxy.heal()
    await distant.start()
    await drained(distant)
    await count_perfect("4 lost answers and kills", saas, distant.accepted(), at_least=6000)


async def test_without_atomic_batches_the_status_says_what_is_promised_less(saas: Saas, site: Site) -> None:
    await saas.change_stream(EVENTS, allow_atomic=False)
    await site.produce(site.load(Lane.EVENTS, group=100, count=500, pause=0))
    await site.start()
    await drained(site)
    assert (await site.status())["lanes"]["events"]["mode"] == "single"
    await count_perfect("one by one", saas, site.accepted(), at_least=500)


async def test_one_by_one_the_same_fault_stores_rows_twice(saas: Saas, proxy: Proxy, distant: Site) -> None:
    """The control: message ids protect within the duplicate window only, and the counts are able to show it."""
    await saas.change_stream(EVENTS, duplicate_window=WINDOW_NS, allow_atomic=False)
    await distant.produce(distant.load(Lane.EVENTS, group=100, count=500, pause=0))
    lost = proxy.cut_when(proxy.downstream, _answers_rows, deliver=False, refuse=True)
    await distant.start()
    with trio.fail_after(20):
        await lost.wait()
    await trio.sleep(BEYOND_THE_WINDOW)
    proxy.heal()
    await drained(distant)
    assert (await distant.status())["lanes"]["events"]["mode"] == "single"
    found = (await count(saas, distant.accepted()))["events"]
    print(f"one by one, beyond the window: {found}")
    assert found.delivered == found.accepted == 500
    assert found.duplicated > 0


def _answers_rows(recent: bytes) -> bool:
    """More answers than checkpoints alone could cause."""
    return recent.count(b'"seq":') >= 20
