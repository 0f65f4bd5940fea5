"""Cuts, stalls, silence, one direction only, a thin line: delivery goes on by itself, and nothing comes twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.chaos.ending import count_perfect, drained, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.proxy import Proxy
    from tests.harness.saas import Saas
    from tests.harness.site import Site

pytestmark = pytest.mark.chaos

FAULTS: dict[str, Callable[[Proxy], object]] = {
    "cut": lambda proxy: proxy.cut(),
    "stall": lambda proxy: proxy.stall(),
    "no-bytes-to-the-saas": lambda proxy: proxy.drop_upstream(),
    "no-bytes-from-the-saas": lambda proxy: proxy.drop_downstream(),
    "half-open": lambda proxy: proxy.half_open(),
    "refuse": lambda proxy: _refuse(proxy),
}


def _refuse(proxy: Proxy) -> None:
    proxy.refuse()
    proxy.cut()


@pytest.mark.parametrize("fault", FAULTS)
async def test_delivery_survives(fault: str, saas: Saas, proxy: Proxy, distant: Site) -> None:
    """The agent is never restarted: it notices, connects again and goes on by itself."""
    producer = distant.start_producer(distant.load(group=10, pause=0.02))
    await distant.start()
    for made in range(1, 4):
        await connected(distant, made)
        await trio.sleep(0.5)
        FAULTS[fault](proxy)
        await until(lambda status, made=made: noticed(status, made), distant)
        proxy.heal()
    await producer.kill()
    await drained(distant)
    await count_perfect(fault, saas, distant.accepted(), at_least=500)


def noticed(status: dict[str, Any], made: int) -> bool:
    """Whether the agent knows that its connection number `made` is of no use any more."""
    link = status["link"]
    return link["state"] != "connected" or link["connections"] > made


async def connected(site: Site, times: int) -> None:
    """Wait until the agent has reached the SaaS that many times."""
    await until(lambda status: status["link"]["connections"] >= times, site)


async def test_a_thin_line_carries_everything(saas: Saas, proxy: Proxy, distant: Site) -> None:
    distant.configure({"uplink": {"patience": "20s"}})
    proxy.upstream.bytes_per_second = 128 * 1024
    proxy.upstream.delay = proxy.downstream.delay = 0.1
    await distant.produce(distant.load(group=50, count=400, pause=0, size=512))
    await distant.start()
    await drained(distant, 90)
    await count_perfect("thin line", saas, distant.accepted(), at_least=1600)


async def test_a_flapping_line_wears_nothing_out(saas: Saas, proxy: Proxy, distant: Site) -> None:
    producer = distant.start_producer(distant.load(group=10, pause=0.01))
    await distant.start()
    for _ in range(40):
        await trio.sleep(0.15)
        proxy.cut()
    await producer.kill()
    await drained(distant)
    await count_perfect("40 cuts", saas, distant.accepted(), at_least=500)
