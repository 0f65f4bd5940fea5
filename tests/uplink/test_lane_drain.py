"""One lane, from its rows to its settlements: the way things should go, and each single thing that goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from mra.errors import StoreBroken
from mra.outbox import drain, operator
from mra.outbox.policy import DEFAULT_POLICIES, LanePolicy, OutboxSettings, Overflow
from mra.outbox.record import Lane, checksum
from mra.uplink import lane as lane_module
from mra.uplink.recovery import marker_checkpoint
from tests.fakes import FakeLink, FakeSaas
from tests.uplink.site import Site, check_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mra.uplink.lane import LaneDrain

WAIT_CAP = 31.0  # seconds after which the longest wait of a lane is over


# -- the way things should go ----------------------------------------------------------------------------------------


def test_rows_are_stored_in_order_and_settled(saas: FakeSaas, site: Site) -> None:
    ids = site.accept(2500)
    site.drain()
    assert site.stored() == ids
    assert (site.state().delivered, site.state().waiting) == (2500, 0)
    assert site.status.delivered == 2500
    assert (site.status.state, site.status.mode, site.status.last_error) == ("idle", "atomic", None)
    site.check_all()


def test_the_next_batch_is_staged_while_the_one_before_it_is_committed(saas: FakeSaas, site: Site) -> None:
    """This link answers a commit only when the next batch is there; without looking ahead nothing would ever end."""
    site.memory.pace.bytes = 400  # one row a batch
    site.accept(5)

    class Demanding(FakeLink):
        staged = 0
        more = trio.Event()

        async def stage(self, batch) -> None:
            await super().stage(batch)
            self.staged = batch.through_seq
            self.more.set()
            self.more = trio.Event()

        async def commit(self, batch, checkpoint, expected) -> int:
            while batch.through_seq < 5 and self.staged <= batch.through_seq:
                await self.more.wait()
            return await super().commit(batch, checkpoint, expected)

    site.run(lambda work: work.run(), Demanding(saas))
    assert len(site.stored()) == 5
    assert site.state().waiting == 0
    site.check_all()


def test_rows_are_claimed_before_they_are_handed_over(saas: FakeSaas, site: Site) -> None:
    """Else a policy could shed a row that is on its way."""
    site.accept(3)
    claimed: list[int] = []

    class Watching(FakeLink):
        async def stage(self, batch) -> None:
            claimed.append(site.state().claimed_through)
            await super().stage(batch)

    site.run(lambda work: work.run(), Watching(saas))
    assert claimed == [3]


def test_new_rows_wake_an_idle_lane(saas: FakeSaas, site: Site) -> None:
    async def story(work: LaneDrain) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work.run)
            await trio.testing.wait_all_tasks_blocked()
            assert site.status.state == "idle"
            site.accept(2)
            await trio.testing.wait_all_tasks_blocked()
            assert len(site.stored()) == 2
            nursery.cancel_scope.cancel()

    site.run(story)
    site.check_all()


def test_a_row_that_was_replaced_after_it_was_read_is_not_sent(saas: FakeSaas) -> None:
    """A newer report of a node takes the older one out between reading and claiming; both ways it is one row."""
    site = Site(saas, lane=Lane.NODES)
    site.accept(1, key="node")
    newest: list[str] = []
    read = site.outbox.read

    async def read_slowly(unit, /, *args, **kwargs):
        result = await read(unit, *args, **kwargs)
        if unit is drain.read and not newest:
            newest.extend(site.accept(1, key="node"))
        return result

    site.outbox.read = read_slowly  # type: ignore[method-assign]
    site.drain()
    assert site.stored() == newest
    assert (site.state().delivered, site.state().shed) == (1, 1)
    site.check_all()
    site.close()


def test_a_row_that_was_replaced_while_the_batch_before_it_was_committed_is_not_sent(saas: FakeSaas) -> None:
    site = Site(saas, lane=Lane.NODES)
    site.memory.pace.bytes = 400
    site.accept(1, key="a")
    site.accept(1, key="b")
    read = site.outbox.read
    reads = 0

    async def read_slowly(unit, /, *args, **kwargs):
        nonlocal reads
        result = await read(unit, *args, **kwargs)
        if unit is drain.read:
            reads += 1
            if reads == 2:  # the look-ahead
                site.accept(1, key="b")
        return result

    site.outbox.read = read_slowly  # type: ignore[method-assign]
    site.drain()
    assert (site.state().delivered, site.state().shed) == (2, 1)
    assert len(site.stored()) == 2
    site.check_all()
    site.close()


def test_the_rate_counts_every_batch_of_the_last_ten_seconds(site: Site) -> None:
    async def story() -> None:
        for _ in range(1000):
            site.status.count(3)
            await trio.sleep(0.01)
        assert site.status.rate() == pytest.approx(300, rel=0.11)
        await trio.sleep(11)
        assert site.status.rate() == 0

    trio.run(story, clock=trio.testing.MockClock(autojump_threshold=0))


# -- rows that cannot be sent ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 1, 500, 998, 999, 1500, 1999])
def test_one_refused_row_is_parked_and_all_others_are_stored(saas: FakeSaas, site: Site, position: int) -> None:
    ids = site.accept(2000)
    saas.refuses = lambda id_: id_ == ids[position]
    site.drain()
    assert site.parked() == [ids[position]]
    assert site.stored() == ids[:position] + ids[position + 1 :]
    site.check_all()


def test_refused_rows_far_apart_are_each_found(saas: FakeSaas, site: Site) -> None:
    ids = site.accept(3000)
    bad = {ids[0], ids[700], ids[701], ids[2999]}
    saas.refuses = bad.__contains__
    site.drain()
    assert set(site.parked()) == bad
    site.check_all()


def test_many_refusals_in_a_row_hold_the_lane_and_park_no_more(saas: FakeSaas, site: Site) -> None:
    site.accept(100)
    saas.refuses = lambda id_: True
    site.drain(seconds=3600)
    assert len(site.parked()) == lane_module._MANY_REFUSALS
    assert site.state().waiting == 90
    assert site.status.state == "held"
    assert "set up wrongly" in (site.state().held or "")
    site.check_all()


def test_a_held_lane_does_not_forget_its_refusals_with_the_connection(saas: FakeSaas, site: Site) -> None:
    """Else every reconnect would park ten more rows of a stream that is set up wrongly."""
    site.accept(100)
    saas.refuses = lambda id_: True
    for _ in range(5):
        site.drain(seconds=120)
    assert len(site.parked()) == lane_module._MANY_REFUSALS


def test_a_mended_stream_lets_a_held_lane_go_on_and_parked_rows_can_be_requeued(saas: FakeSaas, site: Site) -> None:
    site.accept(100)
    saas.refuses = lambda id_: True
    site.drain()
    saas.refuses = lambda id_: False
    site.drain()
    assert site.state().held is None
    assert (site.status.state, site.status.last_error) == ("idle", None)
    assert len(site.stored()) == 90
    numbers = [row[0] for row in site.outbox.connection.execute("SELECT no FROM parked")]
    operator.requeue(site.outbox.connection, numbers, actor="test")
    site.drain()
    assert len(site.stored()) == 100
    site.check_all()


def test_a_held_lanes_rows_can_be_dropped_by_hand(saas: FakeSaas, site: Site) -> None:
    """They are not in flight: the lane has asked the SaaS before it gave up."""
    site.accept(12)
    saas.refuses = lambda id_: True
    site.drain()
    operator.drop_waiting(site.outbox.connection, Lane.EVENTS, [11, 12], actor="test")
    assert site.state().waiting == 0
    site.check_all()


def test_when_even_a_checkpoint_is_refused_no_row_is_blamed(saas: FakeSaas, site: Site) -> None:
    site.accept(5)
    saas.refuses_checkpoints = True
    site.drain()
    assert site.parked() == []
    assert site.status.state == "held"
    saas.refuses_checkpoints = False
    site.drain()
    assert len(site.stored()) == 5
    site.check_all()


def test_a_row_larger_than_a_message_is_parked_before_it_is_sent(saas: FakeSaas, site: Site) -> None:
    saas.max_payload = 10_000
    small, large, after = site.accept(1), site.accept(1, size=10_000), site.accept(1)
    site.drain()
    assert site.parked() == large
    assert site.stored() == small + after
    site.check_all()


def test_a_saas_that_takes_next_to_nothing_is_set_up_wrongly(saas: FakeSaas, site: Site) -> None:
    """Parking every row would be worse."""
    site.accept(3)
    saas.max_payload = 512
    site.drain()
    assert site.parked() == []
    assert "max_payload" in (site.status.last_error or "")
    saas.max_payload = 1024 * 1024
    site.drain()
    assert len(site.stored()) == 3


def test_a_damaged_row_is_parked_with_its_reason(saas: FakeSaas, site: Site) -> None:
    ids = site.accept(5)
    site.outbox.connection.execute("UPDATE row_events SET sum = sum + 1 WHERE seq = 3")
    site.drain()
    assert site.parked() == [ids[2]]
    assert site.stored() == ids[:2] + ids[3:]


def test_a_stream_that_takes_smaller_batches_gets_smaller_batches(saas: FakeSaas, site: Site) -> None:
    saas.most_rows = 100
    site.accept(2000)
    site.drain()
    assert len(site.stored()) == 2000
    refused = len(saas.operations) // 2 - len({op for op in saas.operations if "commit" in op})
    assert refused < 10, "the limit is learnt once, not met again and again"
    site.check_all()


# -- batches that do not arrive whole --------------------------------------------------------------------------------


def test_a_batch_that_the_saas_forgot_is_sent_again(saas: FakeSaas, site: Site) -> None:
    """The server drops a staged batch after ten idle seconds."""
    site.accept(4)

    class Slow(FakeLink):
        async def commit(self, batch, checkpoint, expected) -> int:
            if len(saas.operations) < 4:
                await trio.sleep(11)
            return await super().commit(batch, checkpoint, expected)

    site.run(lambda work: work.run(), Slow(saas))
    assert len(site.stored()) == 4
    assert site.parked() == []
    site.check_all()


def test_gaps_of_larger_batches_are_not_held_against_a_single_row(saas: FakeSaas, site: Site) -> None:
    """Halving meets a gap at every step; only what a row does alone speaks of the row."""
    ids = site.accept(64)
    gaps = 9  # six halvings, and three more while the row is alone

    class Gappy(FakeLink):
        async def commit(self, batch, checkpoint, expected) -> int:
            nonlocal gaps
            if gaps:
                gaps -= 1
                saas.forgets_staged_after = -1
            else:
                saas.forgets_staged_after = 10
            return await super().commit(batch, checkpoint, expected)

    site.run(lambda work: work.run(), Gappy(saas))
    assert site.parked() == []
    assert site.stored() == ids
    site.check_all()


def test_a_row_that_always_leaves_a_gap_is_parked(saas: FakeSaas, site: Site) -> None:
    """The shape of a subject that no stream takes, as seen from behind an import."""
    ids = site.accept(8)

    class Swallowing(FakeLink):
        async def commit(self, batch, checkpoint, expected) -> int:
            saas.forgets_staged_after = -1 if any(row.id == ids[5] for row in batch.rows) else 10
            return await super().commit(batch, checkpoint, expected)

    site.run(lambda work: work.run(), Swallowing(saas))
    assert site.parked() == [ids[5]]
    assert site.stored() == ids[:5] + ids[6:]
    site.check_all()


# -- a SaaS that cannot just now -------------------------------------------------------------------------------------


def test_a_full_saas_keeps_rows_waiting_and_nothing_is_parked_or_shed(saas: FakeSaas, site: Site) -> None:
    ids = site.accept(50)
    saas.full = True
    site.drain(seconds=7200)
    assert (site.status.state, site.stored(), site.parked(), site.lost()) == ("waiting", [], [], 0)
    assert len(saas.operations) < 3 * 7200 / 5, "a SaaS in trouble is not asked all the time"
    saas.full = False
    site.drain(seconds=WAIT_CAP)
    assert site.stored() == ids
    assert (site.status.state, site.status.last_error) == ("idle", None)
    site.check_all()


def test_after_a_success_the_next_wait_is_short_again(saas: FakeSaas, site: Site) -> None:
    """Back-off belongs to one trouble, not to all the troubles of a connection's life."""

    async def story(work: LaneDrain) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work.run)
            for _ in range(3):
                saas.full = True
                site.accept(1)
                await trio.sleep(3600)
                saas.full = False
                await trio.sleep(WAIT_CAP)
                assert site.state().waiting == 0
                saas.full = True
                site.accept(1)
                await trio.sleep(0.01)
                saas.full = False
                await trio.sleep(0.6)  # the first waits are at most 0.2 s and 0.4 s
                assert site.state().waiting == 0, "it waits as if the last trouble had never ended"
            nursery.cancel_scope.cancel()

    site.run(story, seconds=24 * 3600)
    site.check_all()


def test_a_silent_stream_is_one_lanes_trouble(saas: FakeSaas, site: Site) -> None:
    """Its lane asks again over the same connection; an answer that comes after all is found in the checkpoint."""
    site.accept(5)
    saas.silent = {Lane.EVENTS}
    site.drain(seconds=120, late=True, breaks_at=10**6)
    assert site.status.state == "waiting"
    saas.silent = set()
    site.drain()
    assert len(site.stored()) == 5
    site.check_all()


def test_a_sealed_stream_holds_the_lane_until_it_is_mended(saas: FakeSaas, site: Site) -> None:
    site.accept(3)
    saas.sealed = True
    site.drain()
    assert site.state().held == site.status.last_error
    saas.sealed = False
    site.drain()
    assert site.state().held is None
    assert len(site.stored()) == 3


def test_a_lane_that_is_let_go_by_hand_does_not_wait_for_its_next_look(saas: FakeSaas, site: Site) -> None:
    site.accept(3)
    saas.sealed = True

    async def story(work: LaneDrain) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work.run)
            await trio.sleep(1)
            assert site.status.state == "held"
            saas.sealed = False
            operator.adopt(site.outbox.connection, Lane.EVENTS, actor="test")
            site.outbox.wake()
            await trio.sleep(1.5)
            assert len(site.stored()) == 3
            nursery.cancel_scope.cancel()

    site.run(story)


# -- streams without atomic batches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("restarts", [False, True])
def test_rows_that_were_published_one_by_one_are_not_sent_again_as_a_batch(
    saas: FakeSaas, site: Site, restarts: bool
) -> None:
    """No checkpoint covers them yet, and an atomic batch would not be compared with their message ids."""
    saas.atomic = False
    site.accept(20)
    site.drain(breaks_at=5)  # read, stage, commit: refused; read, publish, and the link is gone
    assert len(site.stored()) == 20
    if restarts:
        site.restart()
    site.memory.pace.bytes = 400  # and the next one is smaller, so that one checkpoint does not cover them all
    saas.atomic = True
    site.drain()
    assert site.state().waiting == 0
    site.check_all()
    site.accept(1)
    site.drain()
    assert site.status.mode == "atomic"
    site.check_all()


# -- a database that fails, and code that does -----------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True])
def test_a_database_error_at_any_unit_costs_a_moment_and_no_row(saas: FakeSaas, late: bool) -> None:
    """The outcome of the failed unit is unknown; the checkpoint at the SaaS is not."""
    for number in range(12):
        site = Site(saas, lane=Lane.EVENTS, name=f"site {number} {late}")
        saas.wipe()
        site.memory.pace.bytes = 700
        site.accept(8)
        site.outbox.failure = StoreBroken("the disk is on fire")
        site.outbox.breaks_at, site.outbox.late = number, late
        site.run(lambda work: work.run())
        assert site.state().waiting == 0, f"unit {number}"
        assert site.status.state == "idle"
        site.check_all()
        site.close()


def test_a_database_error_while_a_lane_is_held_is_contained(saas: FakeSaas, site: Site) -> None:
    site.accept(1)
    saas.sealed = True
    site.outbox.failure = StoreBroken("the disk is on fire")
    site.outbox.breaks_at = 1  # the claim, then the hold
    site.run(lambda work: work.run(), seconds=20)
    saas.sealed = False
    site.run(lambda work: work.run())
    assert len(site.stored()) == 1


def test_a_bug_in_one_lane_is_contained_and_said(saas: FakeSaas, site: Site) -> None:
    site.accept(1)

    class Buggy(FakeLink):
        bugs = 3

        async def commit(self, batch, checkpoint, expected) -> int:
            if self.bugs:
                self.bugs -= 1
                raise ZeroDivisionError("a bug")
            return await super().commit(batch, checkpoint, expected)

    async def story(work: LaneDrain) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work.run)
            await trio.testing.wait_all_tasks_blocked()
            assert "a bug" in (site.status.last_error or "")
            await trio.sleep(10)
            nursery.cancel_scope.cancel()

    site.run(story, Buggy(saas))
    assert len(site.stored()) == 1
    assert site.status.last_error is None


def test_a_cancellation_at_any_step_costs_no_row_and_sends_none_twice(saas: FakeSaas) -> None:
    """What a stop of the daemon, or another lane's lost link, does to this one."""
    site = Site(saas)
    site.memory.pace.bytes = 700
    for steps in range(1, 150):
        site.accept(3)
        site.drain(cancel_after=steps)
        check_stream(saas)
    site.drain()
    assert site.state().waiting == 0
    site.check_all()
    site.close()


# -- shedding while something may be in flight -----------------------------------------------------------------------


@pytest.fixture
def tight(saas: FakeSaas) -> Iterator[Site]:
    """A lane of about forty rows that sheds its oldest."""
    policies = {**DEFAULT_POLICIES, Lane.EVENTS: LanePolicy(Overflow.DROP_OLDEST, 16 * 1024)}
    made = Site(saas, OutboxSettings(ballast=0, min_free=0, lanes=policies))
    yield made
    made.close()


def test_rows_of_a_commit_that_may_still_arrive_are_not_shed(saas: FakeSaas, tight: Site) -> None:
    """The answer never came, the checkpoint had not moved when it was read, and the commit arrives after that."""
    tight.accept(20)
    saas.holds_back = True
    tight.drain()  # the commit waits in the SaaS's queue; the connection is lost
    saas.full = True
    tight.memory.pace.bytes = 400  # after silence batches are smaller: the next one claims a single row
    tight.drain(seconds=30)  # a new connection finds the old checkpoint
    tight.accept(15)
    tight.accept(15)  # something has to be shed
    saas.full = False
    assert saas.let_through() == []
    tight.drain()
    assert tight.status.last_error is None
    assert tight.state().held is None
    tight.check_all()


def test_a_commit_that_arrives_after_its_rows_were_sent_again_is_refused(saas: FakeSaas, site: Site) -> None:
    site.accept(20)
    saas.holds_back = True
    site.drain()
    site.drain()
    assert len(site.stored()) == 20
    assert len(saas.let_through()) == 1
    assert len(site.stored()) == 20
    site.check_all()


def test_a_marker_is_where_the_lane_stands_also_in_a_new_epoch(saas: FakeSaas, site: Site) -> None:
    """Found by reading: after an adoption the marker said "row 0", and all that was delivered before was sent again."""
    site.accept(10)
    site.drain()
    drain.hold(site.outbox.connection, Lane.EVENTS, "by hand")
    operator.adopt(site.outbox.connection, Lane.EVENTS, actor="test")
    bad = site.accept(1)
    saas.refuses = bad.__contains__
    site.drain()
    assert site.parked() == bad
    assert len(site.stored()) == 10
    site.check_all()


def test_an_agent_that_was_installed_anew_goes_on_under_an_epoch_of_its_own(saas: FakeSaas, site: Site) -> None:
    """Its numbers begin at 1 again; under the old epoch they would look like rows sent twice."""
    site.accept(5)
    site.drain()
    anew = Site(saas, name="anew")
    ids = anew.accept(5)
    anew.drain()
    assert site.stored()[5:] == ids
    check_stream(saas)
    anew.check_books()
    anew.close()


def test_a_marker_covers_no_rows() -> None:
    marker = marker_checkpoint("e", 7, 5)
    assert (marker.count, marker.through_seq, marker.total) == (0, 7, 5)


def test_a_row_is_made_as_it_is_stored() -> None:
    """The site of these tests makes real rows; a checksum that nobody checks would prove nothing."""
    saas = FakeSaas()
    site = Site(saas)
    site.accept(1)
    (row,) = drain.read(site.outbox.connection, Lane.EVENTS, 0, max_rows=1, max_bytes=1).rows
    assert checksum(row.seq, row.id, row.subject, row.headers, row.body) == row.sum
    site.close()


def test_an_old_answer_about_a_name_taken_over_does_not_fence_the_lane(saas: FakeSaas, site: Site) -> None:
    """Installed anew, an agent goes on behind its predecessor, even when a replica first tells of an earlier moment."""
    site.accept(3)
    site.drain()
    earlier = saas.lane(site.lane).checkpoint
    site.accept(3)
    site.drain()
    anew = Site(saas, name="anew")
    try:
        ids = anew.accept(3)
        saas.stale[site.lane] = earlier
        anew.drain()
        assert anew.stored()[-3:] == ids
        assert anew.state().held is None
    finally:
        anew.close()
