"""Files and the link at once: export, lose, delay, repeat, import, answer, drain, crash, wipe, restore, shed, copy.

The code under test is the real one on a real SQLite file and real sealed files; the SaaS is the fake that contract
tests hold to a real server, and time is a mock clock. After every step no row is stored twice, rows of an epoch are
stored in order, and the books are right. In the end, after a quiet drain, each accepted row is stored, or on record as
shed; a row may be both, when its file arrived after the hold.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from mra.clock import NANOSECONDS, now
from mra.errors import LinkLost, Refused
from mra.outbox import upkeep
from mra.outbox.policy import DEFAULT_POLICIES, LanePolicy, OutboxSettings, Overflow
from mra.outbox.record import Lane
from mra.sealed import acknowledgement
from mra.sealed.delivery import LaneOutcome, deliver
from mra.sealed.export import Sender, export_sealed
from mra.sealed.keys import SealingSecret
from mra.sealed.reading import open_sealed
from tests.fakes import FakeLink, FakeSaas
from tests.model.life import Life
from tests.uplink.site import Site, check_stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from mra.sealed.contents import Part

EVENTS = Lane.EVENTS
SECRET = SealingSecret.generate()
SENDER = Sender("site1", "acme", None, "model")
WEEK = 7 * 86400.0
# Bodies of 300 bytes: about forty of them fit, so that some runs shed.
TIGHT = OutboxSettings(
    ballast=0, min_free=0, export_hold=WEEK,
    lanes={**DEFAULT_POLICIES, EVENTS: LanePolicy(Overflow.DROP_OLDEST, 16 * 1024, max_age=WEEK)},
)  # fmt: skip


class Sneakernet(Life):
    """Random lives of one site with a link and a courier."""

    @initialize()
    def begin(self) -> None:
        self.saas = FakeSaas()
        self.site = Site(self.saas, TIGHT)
        self.backup = self.saas.snapshot()
        self.files: list[Path] = []
        self.answers: list[bytes] = []
        self.weeks = 0

    @rule(count=st.integers(1, 20))
    def accept(self, count: int) -> None:
        self.site.accept(count)

    @rule(everything=st.booleans())
    def a_file_is_made(self, everything: bool) -> None:
        path = self.site.folder / f"{len(self.files)}.sealed"
        try:
            export_sealed(
                self.site.outbox.connection, path, SENDER, SECRET.public, hold=WEEK, lanes=[EVENTS],
                everything=everything,
            )  # fmt: skip
        except Refused:
            assert self.site.state().waiting == 0
        else:
            self.files.append(path)

    @precondition(lambda self: self.files)
    @rule(which=st.integers(0, 99), breaks_at=st.none() | st.integers(0, 6), late=st.booleans())
    def a_file_arrives(self, which: int, breaks_at: int | None, late: bool) -> None:
        """Any file made so far, in any order, as often as you like; the link of the desk may break."""
        path = self.files[which % len(self.files)]
        try:
            outcomes = bring(self.saas, path, FakeLink(self.saas, breaks_at=breaks_at, late=late))
        except (Refused, LinkLost):
            return
        with open_sealed(path, SECRET) as file:
            found = {lane: outcome.checkpoint for lane, outcome in outcomes.items()}
            self.answers.append(acknowledgement.write_answer(file.header, "acme", found, SECRET))

    @precondition(lambda self: self.answers)
    @rule(which=st.integers(0, 99))
    def an_answer_arrives(self, which: int) -> None:
        answer = acknowledgement.read_answer(self.answers[which % len(self.answers)], SECRET.public)
        before = self.site.state()
        try:
            acknowledgement.settle(self.site.outbox.connection, answer, agent="site1", customer="acme")
        except Refused:
            assert self.site.state() == before

    @rule()
    def a_week_passes(self) -> None:
        self.weeks += 2
        stamp = now()
        later = stamp._replace(mono=stamp.mono + int(self.weeks * WEEK * NANOSECONDS))
        upkeep.shed_aged(self.site.outbox.connection, TIGHT, later)

    @rule(count=st.integers(1, 5), more=st.integers(0, 8))
    def a_copy_sends_files_too(self, count: int, more: int) -> None:
        """The original may go on before. Rows of either may be taken, none twice. Then the copy never was."""
        clone = self.site.clone()
        if more:
            self.site.accept(more)
            self.a_file_is_made(everything=False)
            self.a_file_arrives(len(self.files) - 1, breaks_at=None, late=False)
        before = self.saas.snapshot()
        own = set(clone.accept(count))
        path = clone.folder / "copy.sealed"
        export_sealed(clone.outbox.connection, path, SENDER, SECRET.public, hold=WEEK, lanes=[EVENTS])
        with suppress(Refused):
            bring(self.saas, path, FakeLink(self.saas))
            assert own & ids_in(path) <= set(clone.stored()), "rows of the copy were taken for those of the original"
        check_stream(self.saas)
        for file in self.files[-2:]:
            with suppress(Refused):
                bring(self.saas, file, FakeLink(self.saas))
            check_stream(self.saas)
        clone.close()
        self.saas.restore(before)

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
        for file in self.files:  # the desk finishes what it has begun
            with suppress(Refused):
                bring(self.saas, file, FakeLink(self.saas))
        self.site.drain()
        self.site.drain()
        try:
            check_stream(self.saas)
            self.site.check_books()
            here = self.site.state()
            assert (here.waiting, here.held) == (0, None)
            missing = set(self.site.accepted) - set(self.site.stored())
            assert len(missing) <= self.site.lost(), f"{len(missing)} rows are missing"
        finally:
            self.site.close()


def ids_in(path: Path) -> set[str]:
    """Ids of the rows of a file."""
    with open_sealed(path, SECRET) as file:
        return {row.id for bundle in file.bundles() for row in bundle.rows}


def bring(saas: FakeSaas, path: Path, link: FakeLink) -> dict[Lane, LaneOutcome]:
    """Import a file over a link to the fake."""

    async def stored_rows(part: Part) -> AsyncGenerator[tuple[int, str], None]:
        for row in saas.lane(part.lane).rows:
            await trio.lowlevel.checkpoint()
            if row.epoch == part.epoch:
                yield row.seq, row.id

    async def session() -> dict[Lane, LaneOutcome]:
        with open_sealed(path, SECRET) as file:
            return await deliver(link, stored_rows, file, file.verify())

    return trio.run(session, clock=trio.testing.MockClock(autojump_threshold=0))


Sneakernet.TestCase.settings = settings(
    max_examples=int(os.environ.get("MRA_MODEL_EXAMPLES", "60")),
    stateful_step_count=int(os.environ.get("MRA_MODEL_STEPS", "20")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestSneakernet = pytest.mark.timeout(600)(Sneakernet.TestCase)
