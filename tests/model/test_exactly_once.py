"""The promise against everything at once: accept, send, lose answers, crash, lose the SaaS's tail, clone, refuse.

The code under test is the real one (`LaneDrain`, the SQL, a real SQLite file); the SaaS is the fake that contract tests
hold to a real server, and time is a mock clock. After every step: no row is stored twice, rows of an epoch are stored
in order, and every lane adds up. In the end, after a quiet drain, each accepted row is stored, parked, or on record as
lost.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from mra.errors import StoreBroken
from mra.outbox import drain, inspection, operator
from mra.outbox.policy import DEFAULT_POLICIES, LanePolicy, OutboxSettings, Overflow
from mra.outbox.record import Lane
from mra.uplink import recovery
from mra.uplink.reconcile import InStep
from tests.fakes import Crash, FakeSaas
from tests.model.life import Life
from tests.uplink.site import ROOMY, Site, check_complete, check_stream

EVENTS = Lane.EVENTS
# Bodies of 300 bytes: about forty of them fit, so that some runs shed.
TIGHT = OutboxSettings(
    ballast=0, min_free=0, lanes={**DEFAULT_POLICIES, EVENTS: LanePolicy(Overflow.DROP_OLDEST, 16 * 1024)}
)


class ExactlyOnce(Life):
    """Random lives of one site."""

    @initialize(tight=st.booleans())
    def begin(self, tight: bool) -> None:
        self.saas = FakeSaas()
        self.site = Site(self.saas, TIGHT if tight else ROOMY)
        self.backup = self.saas.snapshot()

    @rule(count=st.integers(1, 30))
    def accept(self, count: int) -> None:
        self.site.accept(count)

    @rule()
    def a_replica_lags(self) -> None:
        lanes, _ = self.backup
        self.saas.stale[EVENTS] = lanes[EVENTS].checkpoint if EVENTS in lanes else None

    @rule(at=st.integers(0, 8), late=st.booleans())
    def drain_while_the_database_fails_once(self, at: int, late: bool) -> None:
        self.site.outbox.failure = StoreBroken("the disk failed")
        try:
            self.site.drain(crashes_at=at, late=late)
        finally:
            self.site.outbox.failure = Crash()

    @rule(steps=st.integers(1, 60))
    def drain_until_it_is_cancelled(self, steps: int) -> None:
        self.site.drain(cancel_after=steps)

    @rule()
    def the_next_commit_is_late(self) -> None:
        self.saas.holds_back = True

    @rule()
    def what_was_late_arrives(self) -> None:
        self.saas.let_through()

    @rule(takes=st.booleans())
    def the_saas_takes_batches_or_not(self, takes: bool) -> None:
        self.saas.atomic = takes

    @rule(full=st.booleans())
    def the_saas_is_full_or_not(self, full: bool) -> None:
        self.saas.full = full

    @rule(digit=st.sampled_from("0123456789abcdef"), refuse=st.booleans())
    def the_saas_refuses_some_rows(self, digit: str, refuse: bool) -> None:
        self.saas.refuses = (lambda id_: id_.startswith(digit)) if refuse else (lambda id_: False)

    @rule()
    def parked_rows_are_requeued(self) -> None:
        numbers = [row["no"] for row in inspection.parked(self.site.outbox.connection)]
        if numbers:
            operator.requeue(self.site.outbox.connection, numbers, actor="model")

    @rule()
    def a_waiting_row_is_dropped_by_hand(self) -> None:
        here = self.site.state()
        waiting = inspection.backlog(self.site.outbox.connection, EVENTS, after=here.claimed_through, limit=1)
        if waiting:
            operator.drop_waiting(self.site.outbox.connection, EVENTS, [waiting[0]["seq"]], actor="model")

    @rule(count=st.integers(1, 5))
    def a_clone_sends_first(self, count: int) -> None:
        """The copy drains what it has; it must never make the stream hold a row twice. It is then thrown away."""
        held = self.site.state().held
        clone = self.site.clone()
        before = self.saas.snapshot()
        clone.drain()
        clone.accept(count)
        clone.drain()
        clone.check_books()
        check_stream(self.saas)
        clone.close()
        self.site.drain()
        check_stream(self.saas)
        # The clone never was: what it accepted is nobody's, and the original is not fenced by a ghost.
        self.saas.restore(before)
        if self.site.state().held != held:
            drain.hold(self.site.outbox.connection, EVENTS, held)

    @invariant()
    def nothing_is_stored_twice_or_out_of_order(self) -> None:
        if hasattr(self, "saas"):
            check_stream(self.saas)

    @invariant()
    def the_books_are_right(self) -> None:
        if hasattr(self, "site"):
            self.site.check_books()

    def teardown(self) -> None:
        if not hasattr(self, "site"):
            return
        self.saas.full = self.saas.holds_back = False
        self.saas.stale.clear()
        self.saas.let_through()
        self.site.drain()
        self.site.drain()
        try:
            check_stream(self.saas)
            self.site.check_books()
            assert self.site.state().waiting == 0
            check_complete(self.site)
        finally:
            self.site.close()


ExactlyOnce.TestCase.settings = settings(
    max_examples=int(os.environ.get("MRA_MODEL_EXAMPLES", "60")),
    stateful_step_count=int(os.environ.get("MRA_MODEL_STEPS", "20")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestExactlyOnce = pytest.mark.timeout(600)(ExactlyOnce.TestCase)


def story(saas: FakeSaas) -> None:
    """The shortest life that needs both the checkpoint and the compare-and-swap."""
    site = Site(saas)
    try:
        site.accept(20)
        site.drain(breaks_at=2, late=True)  # read, stage, commit: the answer to the commit is lost
        site.drain()
        clone = site.clone()
        site.accept(5)
        site.drain()
        clone.accept(5)
        clone.drain()
        clone.close()
        check_stream(saas)
        check_complete(site)
    finally:
        site.close()


def test_the_story_ends_well() -> None:
    story(FakeSaas())


def test_a_refused_row_does_not_undo_the_batch_before_it() -> None:
    """Found by the model: the marker that proves the lane works forgot a batch that was stored and not settled."""
    saas = FakeSaas()
    site = Site(saas)
    try:
        site.accept(8)
        refused = site.accepted[-1]
        saas.refuses = lambda id_: id_ == refused
        site.drain()
        check_stream(saas)
        check_complete(site)
        assert site.state().parked == 1
    finally:
        site.close()


def test_the_model_sees_what_reading_the_checkpoint_prevents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: an uplink that trusts its own marks sends again what was stored behind a lost answer."""

    def trusting(here: drain.LaneState, stored: object, likeness: object) -> InStep:
        return InStep(getattr(stored, "stream_seq", 0))

    monkeypatch.setattr(recovery, "judge", trusting)
    with pytest.raises(AssertionError, match=r"twice|out of order"):
        story(FakeSaas())


def test_the_model_sees_what_the_compare_and_swap_prevents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: without it, two writers that looked at the same moment both store their rows."""
    saas = FakeSaas(compares=False)
    site = Site(saas)
    try:
        site.accept(5)
        clone = site.clone()
        saas.stale[EVENTS] = None
        site.drain()
        saas.stale[EVENTS] = None
        clone.drain()
        clone.close()
        with pytest.raises(AssertionError, match="twice"):
            check_stream(saas)
    finally:
        site.close()
