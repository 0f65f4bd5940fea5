"""SIGTERM under load: in order, within a bound, nothing left behind, nothing lost."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import trio

from mra.app import FLUSH_SECONDS
from mra.lock import daemon_lock
from tests.chaos.ending import count_perfect, drained, until

if TYPE_CHECKING:
    from tests.harness.saas import Saas
    from tests.harness.site import Site

pytestmark = pytest.mark.chaos
BOUND_SECONDS = 15.0


async def test_the_agent_stops_in_order_and_leaves_nothing_behind(saas: Saas, site: Site) -> None:
    beside = site.start_producer(site.load(group=10, pause=0.01))
    await site.start()
    await trio.sleep(1)
    pid = site.agent.pid
    with trio.fail_after(BOUND_SECONDS):
        assert await site.terminate() == 0
    assert not (site.state / "mra.sock").exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(pid, 0)  # neither the agent nor a child of it is left in its process group
    with daemon_lock(site.state / "daemon.lock"):  # raises when anybody holds it
        pass
    await beside.kill()
    await site.start()
    await drained(site)
    await count_perfect("stopped and started", saas, site.accepted(), at_least=100)


async def test_the_agent_stops_within_the_bound_when_the_saas_does_not_answer(saas: Saas, site: Site) -> None:
    await site.start()
    await site.produce(site.load(count=200, pause=0))
    await saas.suspend()
    await site.produce(site.load(count=200, pause=0))
    with trio.fail_after(BOUND_SECONDS):
        assert await site.terminate() == 0
    saas.resume()
    await site.start()
    await drained(site)
    await count_perfect("stopped beside a silent SaaS", saas, site.accepted(), at_least=1600)


async def test_a_second_signal_stops_at_once(saas: Saas, site: Site) -> None:
    """Beside a silent SaaS the first signal alone waits for its flush; the second one does not."""
    await site.start()
    await until(lambda status: status["link"]["state"] == "connected", site)
    await saas.suspend()
    await site.produce(site.load(count=50, pause=0))
    site.agent.signal(signal.SIGTERM)
    with trio.fail_after(5):
        while "stopping" not in site.log_end():  # noqa: ASYNC110 - the agent is another process
            await trio.sleep(0.02)
    site.agent.signal(signal.SIGTERM)
    with trio.fail_after(FLUSH_SECONDS / 2):
        await site.wait_ended()
    assert "stopped" not in site.log_end(), "it stopped in order, so the second signal shows nothing"
    assert not (site.state / "mra.sock").exists()
    saas.resume()
    await site.start()
    await drained(site)
    await count_perfect("two signals", saas, site.accepted(), at_least=200)
