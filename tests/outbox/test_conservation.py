"""Whatever is done to an outbox, in whatever order: accepted = delivered + waiting + parked + shed."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mra.outbox import drain, inspection, lanes, ledger, operator, parking, salvage, upkeep
from mra.outbox.policy import SHORTEST_REPLAY, Overflow
from mra.outbox.record import Draft, Lane
from mra.outbox.store import Request
from mra.outbox.transaction import transaction
from tests.outbox.desk import YEAR, Desk, policy, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

BOUNDS = settings(
    {
        Lane.SUBMISSIONS: policy(Overflow.REJECT, 4000),
        Lane.EVENTS: policy(Overflow.DROP_OLDEST, 4000),
        Lane.NODES: policy(Overflow.NEWEST_PER_KEY, 4000),
        Lane.METRICS: policy(Overflow.THIN, 4000, max_age=7200),
    },
    replay_window=3600,
    replay_bytes=3000,
)
LANES = st.sampled_from(Lane)
DRAFTS = st.builds(
    Draft,
    LANES,
    st.just("a.b"),
    st.binary(max_size=300),
    key=st.sampled_from([None, "a", "b"]),
    id=st.sampled_from([None, None, "one", "two", "three"]),
    ttl=st.sampled_from([None, None, 600.0]),
)


def fail(connection: object) -> None:
    raise ZeroDivisionError


class Conservation(RuleBasedStateMachine):
    """Every operation of producers, uplink, upkeep and operator, on one real file."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp())
        self.desk = self.stack.enter_context(Desk.open(self.folder / "outbox.db", BOUNDS))
        self.claimed: dict[Lane, list[int]] = {lane: [] for lane in Lane}

    def teardown(self) -> None:
        self.stack.close()
        shutil.rmtree(self.folder)

    @initialize()
    def begin(self) -> None:
        self.known = {lane: self.desk.state(lane) for lane in Lane}

    # -- producers

    @rule(
        requests=st.lists(
            st.tuples(st.lists(DRAFTS, min_size=1, max_size=8), st.integers(0, 5)), min_size=1, max_size=4
        )
    )
    def accept(self, requests: Sequence[tuple[list[Draft], int]]) -> None:
        before = {lane: self.desk.state(lane).accepted for lane in Lane}
        outcomes = self.desk.offer_group(*(Request(drafts, None if luck else fail) for drafts, luck in requests))
        fresh = [r for outcome in outcomes if isinstance(outcome, list) for r in outcome if not r.repeated]
        for lane in Lane:
            assert self.desk.state(lane).accepted - before[lane] == sum(receipt.lane is lane for receipt in fresh)
        assert len({(receipt.lane, receipt.seq) for receipt in fresh}) == len(fresh)

    # -- the uplink

    @rule(lane=LANES, rows=st.integers(1, 12))
    def claim(self, lane: Lane, rows: int) -> None:
        state = self.desk.state(lane)
        found = drain.read(self.desk.connection, lane, state.claimed_through, max_rows=rows, max_bytes=2000).rows
        if found:
            claim = drain.Claim(state.claimed_through, found[-1].seq, len(found))
            assert drain.advance(self.desk.connection, lane, claim=claim)
            self.claimed[lane] += [row.seq for row in found]

    @rule(lane=LANES, share=st.floats(0, 1))
    def settle(self, lane: Lane, share: float) -> None:
        settled = self.claimed[lane][: round(share * len(self.claimed[lane]))]
        if settled:
            self.desk.deliver(lane, settled[-1])
            self.claimed[lane] = self.claimed[lane][len(settled) :]

    @rule(lane=LANES)
    def lose_the_link(self, lane: Lane) -> None:
        drain.release_claims(self.desk.connection, lane, expected=self.desk.state(lane).checkpoint_seq)
        self.claimed[lane] = []

    @rule(lane=LANES, share=st.floats(0, 1))
    def lose_the_tail(self, lane: Lane, share: float) -> None:
        state = self.desk.state(lane)
        through = round(share * state.settled_through)
        total = round(share * state.epoch_total)
        if through < state.settled_through:
            drain.rewind(self.desk.connection, lane, through_seq=through, total=total, stream_seq=1)
            self.claimed[lane] = []

    @rule(lane=LANES, nth=st.integers(0, 20))
    def park(self, lane: Lane, nth: int) -> None:
        waiting = [seq for seq in self.desk.kept(lane) if seq > self.desk.state(lane).settled_through]
        if waiting:
            seq = waiting[nth % len(waiting)]
            assert parking.park(self.desk.connection, lane, [seq, seq, 10_000], "refused") == 1
            self.claimed[lane] = [claimed for claimed in self.claimed[lane] if claimed != seq]

    @rule(lane=LANES, by_hand=st.booleans())
    def adopt(self, lane: Lane, by_hand: bool) -> None:
        if by_hand:
            drain.hold(self.desk.connection, lane, "fenced")
            operator.adopt(self.desk.connection, lane, actor="test")
        else:
            drain.adopt(self.desk.connection, lane, epoch="e", stream_seq=5, actor="uplink", detail="")
        self.claimed[lane] = []

    # -- people

    @rule(drops=st.booleans())
    def clear_parked(self, drops: bool) -> None:
        numbers = [row["no"] for row in inspection.parked(self.desk.connection)]
        act = operator.drop_parked if drops else operator.requeue
        assert act(self.desk.connection, numbers, actor="test") == len(numbers)

    @rule(lane=LANES)
    def drop(self, lane: Lane) -> None:
        free = [seq for seq in self.desk.kept(lane) if seq > self.desk.state(lane).claimed_through][:2]
        assert operator.drop_waiting(self.desk.connection, lane, free, actor="test") == len(free)

    # -- time

    @rule(seconds=st.sampled_from([1.0, SHORTEST_REPLAY, 3600.0, 7200.0]))
    def sleep(self, seconds: float) -> None:
        self.desk.sleep(seconds)

    @rule(years=st.sampled_from([-50, 50]))
    def step_the_clock(self, years: int) -> None:
        self.desk.step_wall(years * YEAR)

    @rule()
    def reboot(self) -> None:
        self.desk.reboot()

    @rule()
    def keep_up(self) -> None:
        self.desk.shed_aged()
        self.desk.prune()
        with transaction(self.desk.connection):
            ledger.fold(self.desk.connection, keep=3, slack=1)
        upkeep.give_back(self.desk.connection)

    @rule()
    def report_losses(self) -> None:
        losses = ledger.close_unreported(self.desk.connection)
        with transaction(self.desk.connection):
            ledger.mark_reported(self.desk.connection, [loss.no for loss in losses])
        assert not ledger.has_unreported(self.desk.connection)

    @rule()
    def salvage(self) -> None:
        """An intact file comes out of a salvage as it went in."""
        before = {lane: self.desk.state(lane) for lane in Lane}
        stamp = self.desk.stamp
        self.stack.close()
        assert salvage.salvage(self.folder / "outbox.db").lost == 0
        self.desk = self.stack.enter_context(Desk.open(self.folder / "outbox.db", BOUNDS, stamp))
        assert {lane: self.desk.state(lane) for lane in Lane} == before

    # -- what always holds

    @invariant()
    def adds_up(self) -> None:
        assert self.desk.problems() == []

    @invariant()
    def rows_in_flight_stay(self) -> None:
        for lane in Lane:
            assert set(self.claimed[lane]) <= set(self.desk.kept(lane))

    @invariant()
    def numbers_and_bounds_hold(self) -> None:
        for lane in Lane:
            state: lanes.LaneState = self.desk.state(lane)
            assert state.next_seq >= self.known[lane].next_seq
            assert state.accepted >= self.known[lane].accepted
            self.known[lane] = state


TestConservation = Conservation.TestCase
TestConservation.settings = hypothesis_settings(max_examples=40, stateful_step_count=50, deadline=None)
