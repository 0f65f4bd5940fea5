"""Ten thousand agents lose a SaaS and find it again: evenly, and without overrunning it."""

from __future__ import annotations

import pytest

from mra.uplink.service import UplinkSettings
from tests.harness.herd import peak_over_mean, simulate

SETTINGS = UplinkSettings()


@pytest.mark.parametrize("outage", [0.5, 7, 15, 30])
def test_a_fleet_returns_evenly_whenever_its_saas_does(outage: float) -> None:
    """From a restart that few notice to an outage that all have waited through."""
    seen = simulate(SETTINGS, agents=10_000, outage=outage, rate=500)
    assert peak_over_mean(seen.attempts, outage) < 3
    assert seen.wasted == 0, "agents gave up on a server that was busy with them"
    assert len(seen.greeted) == 10_000
    assert max(seen.greeted) - outage <= SETTINGS.retry_cap + 1


def test_a_first_pause_that_suits_one_agent_overruns_the_server_of_many() -> None:
    """Negative control: the server greets mostly connections that nobody waits for any more, for minutes."""
    seen = simulate(UplinkSettings(retry_first=0.5), agents=2_000, outage=0.5, rate=100)
    assert peak_over_mean(seen.attempts, 0.5) > 3
    assert seen.wasted > len(seen.greeted)


def test_the_measure_tells_a_rush_from_a_stream() -> None:
    evenly = [number / 10 for number in range(100)]
    assert peak_over_mean(evenly, 0) == pytest.approx(1)
    assert peak_over_mean([*evenly, *[5.0] * 100], 0) == pytest.approx(5.5)
    assert peak_over_mean([7.0], 0) == pytest.approx(8), "an empty second counts, too"
