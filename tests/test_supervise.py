"""A crash in one subsystem: contained, seen, and followed by a restart that waits longer each time."""

from __future__ import annotations

import random
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio

from mra.errors import LinkLost
from mra.supervise import Supervisor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

pytestmark = pytest.mark.usefixtures("longest_pauses")


@pytest.fixture
def longest_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dice always show the longest pause that they may."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high)


async def run(seconds: float, **services: Callable[[], Awaitable[None]]) -> Supervisor:
    supervisor = Supervisor()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for name, service in services.items():
                nursery.start_soon(supervisor.keep_running, name, service)
    return supervisor


async def crash(after: float, starts: list[float], error: Exception) -> None:
    starts.append(trio.current_time())
    await trio.sleep(after)
    raise error


async def test_a_crash_is_contained(caplog: pytest.LogCaptureFixture, autojump_clock: MockClock) -> None:
    alive = []

    async def beat() -> None:
        while True:
            alive.append(trio.current_time())
            await trio.sleep(10)

    supervisor = await run(95, beating=beat, crashing=partial(crash, 0, [], ValueError("a bug")))
    assert len(alive) == 10
    assert supervisor.services["beating"].restarts == 0
    assert supervisor.services["crashing"].restarts > 3


async def test_pauses_double_up_to_half_a_minute(autojump_clock: MockClock) -> None:
    starts: list[float] = []
    await run(200, crashing=partial(crash, 0, starts, ValueError("a bug")))
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert pauses[:8] == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30])


async def test_after_a_calm_while_a_crash_counts_as_the_first(autojump_clock: MockClock) -> None:
    starts: list[float] = []
    await run(1000, crashing=partial(crash, 61, starts, ValueError("a bug")))
    pauses = [later - earlier - 61 for earlier, later in pairwise(starts)]
    assert pauses == pytest.approx([0.5] * len(pauses))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("a bug"), "a bug"),
        (KeyError(), "KeyError"),
        (LinkLost("The SaaS is away."), "The SaaS is away."),
        (ExceptionGroup("both", [ValueError("one"), ExceptionGroup("deep", [LinkLost("two")])]), {"one", "two"}),
    ],
)
async def test_what_went_wrong_is_shown(error: Exception, told: str | set[str], autojump_clock: MockClock) -> None:
    supervisor = await run(0.3, crashing=partial(crash, 0, [], error))
    status = supervisor.services["crashing"]
    assert (status.state, status.restarts) == ("restarting", 1)
    assert status.last_error is not None
    if isinstance(told, set):
        assert set(status.last_error.split("; ")) == told
    else:
        assert status.last_error == told


async def test_a_service_that_returns_is_started_again_and_named(autojump_clock: MockClock) -> None:
    supervisor = await run(0.3, returning=trio.lowlevel.checkpoint)
    assert "returned" in (supervisor.services["returning"].last_error or "")
    assert supervisor.services["returning"].restarts == 1


class Fatal(BaseException):
    """Like an interrupt: no Exception."""


async def test_what_is_no_exception_passes(autojump_clock: MockClock) -> None:
    async def interrupted() -> None:
        raise Fatal

    with pytest.raises(BaseExceptionGroup) as passed:
        await run(10, interrupted=interrupted)
    assert passed.group_contains(Fatal)


async def test_cancellation_ends_it_at_any_point(autojump_clock: MockClock) -> None:
    for moment in (0.05, 0.3):  # while it runs, while it pauses
        supervisor = await run(moment, crashing=partial(crash, 0.1, [], ValueError("a bug")))
        assert supervisor.services["crashing"].restarts == (moment > 0.1)
