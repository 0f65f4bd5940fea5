"""One contract for the real link and for the fake that the model uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mra.aio.session import Access, open_session
from mra.outbox.record import Lane, Row, checksum
from mra.uplink.answers import BatchIncomplete, CheckpointMoved, NotAtomic
from mra.uplink.batch import Batch
from mra.uplink.jetstream import JetStreamLink
from tests.fakes import FakeLink, FakeSaas
from tests.harness.counting import STREAM_OF
from tests.harness.saas import Saas, open_saas
from tests.site.bus_site import ids_at_leader, open_bus_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mra.outbox.outbox import Outbox
    from mra.uplink.link import Link

pytestmark = pytest.mark.lab
LANES = list(Lane)


class RealEnd:
    """What the tests ask of the real SaaS, past the link."""

    def __init__(self, link: Link, saas: Saas) -> None:
        self.link, self._saas = link, saas

    async def ids(self, lane: Lane) -> list[str]:
        """Ids of the lane's rows, in stored order."""
        async with self._saas.connect() as wire:
            stored = await wire.read_stream(STREAM_OF[lane])
        return [message.headers["Mra-Id"] for message in stored if "Mra-Row" in message.headers]

    async def take_no_batches(self, lane: Lane) -> None:
        """Switch atomic batches off."""
        await self._saas.change_stream(STREAM_OF[lane], allow_atomic=False)


class FakeEnd:
    """The same of the fake."""

    def __init__(self, link: Link, saas: FakeSaas) -> None:
        self.link, self._saas = link, saas

    async def ids(self, lane: Lane) -> list[str]:
        return [message.id for message in self._saas.lane(lane).rows]

    async def take_no_batches(self, lane: Lane) -> None:
        self._saas.atomic = False


class BusEnd:
    """The same of a leader, whose followers hand over to it."""

    def __init__(self, link: Link, leader: Outbox) -> None:
        self.link, self._leader = link, leader

    async def ids(self, lane: Lane) -> list[str]:
        return await self._leader.read(ids_at_leader, "n1", lane)


End = RealEnd | FakeEnd | BusEnd


@pytest.fixture(params=["real", "fake", "bus"])
async def end(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[End]:
    if request.param == "fake":
        saas = FakeSaas()
        yield FakeEnd(FakeLink(saas), saas)
        return
    if request.param == "bus":
        async with open_bus_site(tmp_path, "n1") as site:
            yield BusEnd(site.link, site.leader)
        return
    async with open_saas(tmp_path / "saas") as real:
        access = Access((real.url,), "n1", real.site.user, real.site.password)
        async with open_session(access) as session:
            yield RealEnd(JetStreamLink(session, "n1", patience=lambda lane: 5), real)


def batch(lane: Lane, first: int, count: int) -> Batch:
    """Rows `first` and following, made up so that the same call gives the same rows."""
    rows = [
        Row(seq, f"{lane}{seq:020}", "some.subject", None, b"%d" % seq, checksum(seq, "", "", None, b""), seq)
        for seq in range(first, first + count)
    ]
    return Batch(lane, "epoch", first - 1, first - 1, rows, may_continue=False)


async def put(end: End, one: Batch, expected: int) -> int:
    await end.link.stage(one)
    return await end.link.commit(one, one.checkpoint, expected)


@pytest.mark.parametrize("lane", LANES)
async def test_a_committed_batch_is_stored_with_its_checkpoint(end: End, lane: Lane) -> None:
    assert await end.link.read_checkpoint(lane) is None
    one = batch(lane, 1, 3)
    seq = await put(end, one, 0)
    stored = await end.link.read_checkpoint(lane)
    assert stored is not None
    assert (stored.checkpoint, stored.stream_seq) == (one.checkpoint, seq)
    assert await end.ids(lane) == [row.id for row in one.rows]


async def test_a_staged_batch_alone_stores_nothing(end: End) -> None:
    await end.link.stage(batch(Lane.EVENTS, 1, 3))
    assert await end.link.read_checkpoint(Lane.EVENTS) is None
    assert await end.ids(Lane.EVENTS) == []


async def test_a_batch_can_be_staged_behind_one_that_is_not_committed_yet(end: End) -> None:
    first, second = batch(Lane.EVENTS, 1, 5), batch(Lane.EVENTS, 6, 5)
    await end.link.stage(first)
    await end.link.stage(second)
    seq = await end.link.commit(first, first.checkpoint, 0)
    await end.link.commit(second, second.checkpoint, seq)
    assert await end.ids(Lane.EVENTS) == [row.id for row in (*first.rows, *second.rows)]


async def test_a_replay_is_refused_whole(end: End) -> None:
    one = batch(Lane.EVENTS, 1, 3)
    await put(end, one, 0)
    with pytest.raises(CheckpointMoved):
        await put(end, batch(Lane.EVENTS, 1, 3), 0)
    assert len(await end.ids(Lane.EVENTS)) == 3


async def test_only_the_newest_checkpoint_counts(end: End) -> None:
    first = await put(end, batch(Lane.EVENTS, 1, 2), 0)
    second = await put(end, batch(Lane.EVENTS, 3, 2), first)
    with pytest.raises(CheckpointMoved):
        await put(end, batch(Lane.EVENTS, 5, 2), first)
    await put(end, batch(Lane.EVENTS, 5, 2), second)
    assert len(await end.ids(Lane.EVENTS)) == 6


async def test_lanes_of_one_stream_do_not_disturb_each_other(end: End) -> None:
    events = await put(end, batch(Lane.EVENTS, 1, 2), 0)
    await put(end, batch(Lane.METRICS, 1, 2), 0)
    await put(end, batch(Lane.EVENTS, 3, 2), events)


async def test_a_checkpoint_alone_is_compared_too(end: End) -> None:
    one = batch(Lane.EVENTS, 1, 2)
    seq = await put(end, one, 0)
    with pytest.raises(CheckpointMoved):
        await end.link.put_checkpoint(Lane.EVENTS, one.checkpoint, 0)
    again = await end.link.put_checkpoint(Lane.EVENTS, one.checkpoint, seq)
    assert again > seq
    assert len(await end.ids(Lane.EVENTS)) == 2


async def test_a_batch_staged_before_a_look_at_the_checkpoint_is_given_up(end: End) -> None:
    """Whoever reads the checkpoint starts over; the batch is staged anew before it is committed."""
    one = batch(Lane.EVENTS, 1, 2)
    await end.link.stage(one)
    await end.link.read_checkpoint(Lane.EVENTS)
    with pytest.raises((BatchIncomplete, KeyError)):
        await end.link.commit(one, one.checkpoint, 0)


@pytest.mark.parametrize("end", ["real", "fake"], indirect=True)  # a leader always takes batches
async def test_a_stream_without_atomic_batches_says_so_and_takes_rows_one_by_one(end: RealEnd | FakeEnd) -> None:
    await end.take_no_batches(Lane.EVENTS)
    one = batch(Lane.EVENTS, 1, 300)
    with pytest.raises(NotAtomic):
        await put(end, one, 0)
    await end.link.publish_singly(one)
    await end.link.publish_singly(one)  # within the duplicate window the ids keep it from being stored twice
    await end.link.put_checkpoint(Lane.EVENTS, one.checkpoint, 0)
    assert await end.ids(Lane.EVENTS) == [row.id for row in one.rows]
