"""The uplink's task: whatever a connection does, it goes on, and it neither hurries nor oversleeps."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from mra.aio.session import Access, Silent
from mra.errors import LinkLost, Misconfigured, Unavailable
from mra.outbox.record import Lane
from mra.uplink import service
from mra.uplink.service import LinkStatus, UplinkSettings, run_uplink
from tests.fakes import FakeLink, FakeSaas
from tests.uplink.site import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mra.uplink.batch import Batch
    from mra.uplink.checkpoint import Checkpoint, Stored

ACCESS = Access(("nats://127.0.0.1:9",), "n1")
SETTINGS = UplinkSettings(retry_first=0.5, retry_cap=30.0, patience=10.0)


class FakeSession:
    """A connection that lives until a test ends it."""

    server = "fake"

    def __init__(self, address: str = "127.0.0.1:9") -> None:
        self.address = address
        self.ends = trio.Event()
        self.reason: LinkLost = LinkLost("the connection was cut")

    async def keep_alive(self, interval: float) -> LinkLost:
        await self.ends.wait()
        return self.reason


class Network:
    """What becomes of each attempt to connect: an error, or a session. Notes when each was made, and where to."""

    def __init__(self, *outcomes: Exception | FakeSession) -> None:
        self._outcomes = list(outcomes)
        self.attempts: list[float] = []
        self.asked: list[tuple[str, ...]] = []

    @asynccontextmanager
    async def connect(self, access: Access) -> AsyncIterator[Any]:
        self.attempts.append(trio.current_time())
        self.asked.append(access.urls)
        await trio.lowlevel.checkpoint()
        outcome = self._outcomes.pop(0) if self._outcomes else LinkLost("nobody is there")
        if isinstance(outcome, Exception):
            raise outcome
        yield outcome

    def pauses(self) -> list[float]:
        return [after - before for before, after in zip(self.attempts, self.attempts[1:], strict=False)]


@pytest.fixture
def saas(monkeypatch: pytest.MonkeyPatch) -> FakeSaas:
    made = FakeSaas()
    monkeypatch.setattr(service, "JetStreamLink", lambda session, name, patience: FakeLink(made))
    return made


def run(
    site: Site,
    network: Network,
    seconds: float,
    story: Callable[[LinkStatus], Any] | None = None,
    access: Access = ACCESS,
    **options: Any,
) -> LinkStatus:
    """The task for so many virtual seconds, and a story beside it."""
    status = LinkStatus()

    async def main() -> None:
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                if story:
                    nursery.start_soon(story, status)
                await run_uplink(site.outbox, access, SETTINGS, status, connect=network.connect, **options)  # type: ignore[arg-type]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return status


def test_an_absent_saas_is_asked_again_and_ever_less_often(saas: FakeSaas, site: Site) -> None:
    network = Network()
    status = run(site, network, 24 * 3600)
    assert max(network.pauses()) <= SETTINGS.retry_cap
    assert 24 * 3600 / SETTINGS.retry_cap < len(network.attempts) < 3 * 24 * 3600 / SETTINGS.retry_cap
    assert (status.state, status.last_error) == ("down", "nobody is there")
    assert status.attempts == len(network.attempts)


def test_the_first_attempts_after_a_long_session_come_quickly(saas: FakeSaas, site: Site) -> None:
    """Back-off speaks of the outage before the session, not of the one after it."""
    session = FakeSession()
    network = Network(*[LinkLost("nobody is there")] * 20, session)

    async def story(status: LinkStatus) -> None:
        while status.state != "connected":  # noqa: ASYNC110 - virtual time costs nothing
            await trio.sleep(1)
        await trio.sleep(3600)
        session.ends.set()

    run(site, network, 2 * 3600, story)
    assert network.pauses()[20] - 3600 < 3, "the wait after the long session"


def test_refused_credentials_are_not_tried_in_haste(saas: FakeSaas, site: Site) -> None:
    """Each refused login costs the SaaS a check, and only somebody's hand can change the answer."""
    network = Network(*[Misconfigured("your credentials are refused")] * 10_000)
    status = run(site, network, 3600)
    assert len(network.attempts) < 3 * 3600 / SETTINGS.retry_cap
    assert status.last_error == "your credentials are refused"


def test_a_bug_in_a_connection_does_not_end_the_draining(saas: FakeSaas, site: Site) -> None:
    ids = site.accept(5)
    network = Network(ZeroDivisionError("a bug"), RuntimeError("another"), FakeSession())
    status = run(site, network, 600)
    assert site.stored() == ids
    assert (status.state, status.last_error) == ("connected", None)


def test_after_a_silence_batches_are_smaller_and_patience_is_longer(
    saas: FakeSaas, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch may have been too large for the line; sent as it was, it would be sent for ever."""
    ids = site.accept(300)
    seen: list[tuple[float, float, int]] = []  # patience with two lanes, and rows of the batch, at each commit

    class Link(FakeLink):
        def __init__(self, patience: Callable[[Lane], float]) -> None:
            super().__init__(saas)
            self._patience_with = patience

        async def commit(self, batch: Batch, checkpoint: Checkpoint, expected: int) -> int:
            seen.append((self._patience_with(Lane.EVENTS), self._patience_with(Lane.METRICS), len(batch.rows)))
            if len(seen) == 1:
                await trio.sleep_forever()
            return await super().commit(batch, checkpoint, expected)

    monkeypatch.setattr(service, "JetStreamLink", lambda session, name, patience: Link(patience))
    silent = FakeSession()
    silent.reason = Silent("nothing was heard")

    async def story(status: LinkStatus) -> None:
        await trio.sleep(60)
        silent.ends.set()

    run(site, Network(silent, FakeSession()), 600, story)
    (before, others_before, large), (after, others_after, small) = seen[:2]
    assert (before, after) == (10, 20), "the lane that waited for an answer"
    assert (others_before, others_after) == (10, 10), "a lane that had sent nothing"
    assert small < large / 2
    assert seen[2][0] == 10, "an answer ends the patience"
    assert site.stored() == ids


def test_a_service_beside_the_lanes_is_called_again_and_disturbs_nobody(saas: FakeSaas, site: Site) -> None:
    calls: list[str] = []

    async def fails(session: Any) -> None:
        calls.append("fails")
        raise Unavailable("not now") if len(calls) % 2 else ValueError("a bug")

    async def lives(session: Any) -> None:
        calls.append("lives")
        await trio.sleep_forever()

    ids = site.accept(3)
    network = Network(FakeSession())
    status = run(site, network, 300, beside=(fails, lives))
    assert site.stored() == ids
    assert len(network.attempts) == 1
    assert status.state == "connected"
    assert calls.count("lives") == 1
    assert calls.count("fails") == 10


CLUSTER = Access(("nats://a:1", "nats://b:2", "nats://c:3"), "n1")


def test_a_server_that_reaches_no_stream_is_left_for_another(saas: FakeSaas, site: Site) -> None:
    """It may be cut off from the rest of its cluster, and the connection to it stands."""
    ids = site.accept(5)
    saas.silent = set(Lane)
    network = Network(FakeSession("b:2"), FakeSession("c:3"))

    async def story(status: LinkStatus) -> None:
        while status.connections < 2:  # noqa: ASYNC110 - virtual time costs nothing
            await trio.sleep(1)
        saas.silent.clear()

    run(site, network, 600, story, CLUSTER)
    assert network.asked == [CLUSTER.urls, ("nats://a:1", "nats://c:3")]
    assert 2 * SETTINGS.patience <= network.pauses()[0] < 60
    assert site.stored() == ids


def test_a_cut_off_server_that_speaks_of_a_predecessor_is_left_too(
    saas: FakeSaas, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it remembers looks as if somebody else had written under the agent's name."""
    site.accept(3)
    site.drain()
    from_the_past = saas.lane(site.lane).checkpoint
    anew = Site(saas, name="anew")

    class Behind(FakeLink):
        async def read_checkpoint(self, lane: Lane) -> Stored | None:
            return from_the_past if lane is site.lane else None

    links = {"b:2": Behind, "c:3": FakeLink}
    monkeypatch.setattr(service, "JetStreamLink", lambda session, name, patience: links[session.address](saas))
    try:
        anew.accept(3)
        anew.drain()
        ids = anew.accept(3)
        network = Network(FakeSession("b:2"), FakeSession("c:3"))
        run(anew, network, 600, access=CLUSTER)
        assert network.asked == [CLUSTER.urls, ("nats://a:1", "nats://c:3")]
        assert anew.stored()[-3:] == ids
        assert anew.state().held is None
    finally:
        anew.close()


def test_when_the_others_are_gone_the_one_that_was_left_is_asked_again(saas: FakeSaas, site: Site) -> None:
    site.accept(5)
    saas.silent = set(Lane)
    network = Network(FakeSession("b:2"))
    run(site, network, 600, access=CLUSTER)
    assert network.asked[:4] == [CLUSTER.urls, ("nats://a:1", "nats://c:3"), CLUSTER.urls, CLUSTER.urls]


def test_without_a_quorum_the_herd_does_not_run_from_server_to_server(saas: FakeSaas, site: Site) -> None:
    """Nobody is served anywhere: agents change their server ever less often."""
    site.accept(5)
    saas.silent = set(Lane)
    network = Network(*[FakeSession("b:2") for _ in range(10_000)])
    run(site, network, 6 * 3600, access=CLUSTER)
    assert len(network.attempts) < 6 * 3600 / (SETTINGS.patience * 20)


def test_the_only_server_is_never_left(saas: FakeSaas, site: Site) -> None:
    site.accept(5)
    saas.silent = set(Lane)
    network = Network(FakeSession())
    run(site, network, 3 * 3600)
    assert len(network.attempts) == 1


def test_the_status_tells_of_the_loss_and_lanes_are_offline(saas: FakeSaas, site: Site) -> None:
    session = FakeSession()

    async def story(status: LinkStatus) -> None:
        await trio.sleep(10)
        assert (status.state, status.connections, status.lanes[Lane.EVENTS].state) == ("connected", 1, "idle")
        session.ends.set()

    status = run(site, Network(session), 60, story)
    assert (status.state, status.lanes[Lane.EVENTS].state) == ("down", "offline")
