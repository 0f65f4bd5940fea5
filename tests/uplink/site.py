"""One agent in stories about the uplink: a real outbox file, the lane's real code, and a SaaS in memory.

`drain` runs the lane under a mock clock until the link is lost, the process crashes, or nothing has happened for a
while. Then the file is opened anew, as by a new process.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import trio
import trio.testing

from mra.clock import now
from mra.errors import LinkLost, OutboxFull
from mra.outbox import drain, inspection, verification
from mra.outbox.policy import OutboxSettings
from mra.outbox.record import Draft, Lane
from mra.outbox.store import Request, accept
from mra.uplink.lane import LaneDrain
from mra.uplink.pace import Shares
from mra.uplink.sending import LaneMemory
from mra.uplink.status import LaneStatus
from tests.fakes import Crash, DirectOutbox, FakeLink, FakeSaas

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mra.outbox.lanes import LaneState

ROOMY = OutboxSettings(ballast=0, min_free=0)
QUIET_SECONDS = 600.0


class _Stop(trio.abc.Instrument):
    """Cancels a scope when Trio has taken so many steps: any `await` may be the one that is hit."""

    def __init__(self, scope: trio.CancelScope, steps: int) -> None:
        self._scope, self._left = scope, steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left == 0:
            self._scope.cancel()


class Site:
    """A state directory, and what its producers were told."""

    def __init__(
        self, saas: FakeSaas, settings: OutboxSettings = ROOMY, *, lane: Lane = Lane.EVENTS, name: str = "site"
    ) -> None:
        self.saas = saas
        self.lane = lane
        self.folder = Path(tempfile.mkdtemp(prefix="mra-site-"))
        self.outbox = DirectOutbox(self.folder / "outbox.db", settings)
        self.memory = LaneMemory()
        self.status = LaneStatus()
        self.shares = Shares(dict.fromkeys(Lane, 1))
        self.accepted: list[str] = []
        # Reproducible, and as spread as random ones.
        self._ids = (sha256(f"{name} {number}".encode()).hexdigest()[:32] for number in itertools.count())

    def accept(self, count: int, size: int = 300, key: str | None = None) -> list[str]:
        """Accept that many rows, as far as there is room; return their ids."""
        drafts = [Draft(self.lane, "model.row", b"x" * size, id=next(self._ids), key=key) for _ in range(count)]
        (receipts,) = accept(self.outbox.connection, self.outbox.path, [Request(drafts)], self.outbox.settings, now())
        if isinstance(receipts, OutboxFull):  # what may be in flight is never shed, so a small lane can be full
            return []
        assert isinstance(receipts, list), receipts
        ids = [receipt.id for receipt in receipts]
        self.accepted += ids
        self.outbox.wake()
        return ids

    def drain(
        self,
        *,
        breaks_at: int | None = None,
        crashes_at: int | None = None,
        late: bool = False,
        cancel_after: int | None = None,
        seconds: float = QUIET_SECONDS,
    ) -> None:
        """One session: until the link is lost at an operation, the process crashes at a unit, so many steps of its
        tasks were taken, or time is up."""
        self.outbox.breaks_at, self.outbox.late = crashes_at, late
        link = FakeLink(self.saas, breaks_at=breaks_at, late=late)
        self.run(lambda work: work.run(), link, seconds, cancel_after)
        if crashes_at is not None:
            self.restart()

    def run(
        self,
        action: Callable[[LaneDrain], Awaitable[None]],
        link: FakeLink | None = None,
        seconds: float = QUIET_SECONDS,
        cancel_after: int | None = None,
    ) -> None:
        """Run something on a new lane task, under a mock clock."""

        async def session() -> None:
            work = self.work(link)
            try:
                with trio.move_on_after(seconds) as scope:
                    if cancel_after is not None:
                        trio.lowlevel.add_instrument(_Stop(scope, cancel_after))
                    await action(work)
            except* (LinkLost, Crash):
                pass

        trio.run(session, clock=trio.testing.MockClock(autojump_threshold=0))

    def work(self, link: FakeLink | None = None) -> LaneDrain:
        """The lane's task for a new connection."""
        return LaneDrain(
            self.lane,
            self.outbox,  # type: ignore[arg-type]
            link or FakeLink(self.saas),
            self.shares,
            self.status,
            self.memory,
        )

    def restart(self) -> None:
        """What was in memory is gone."""
        self.outbox.reopen()
        self.memory = LaneMemory()
        self.status = LaneStatus()

    def state(self) -> LaneState:
        """Where the lane stands on disk."""
        return drain.state(self.outbox.connection, self.lane)

    def parked(self) -> list[str]:
        """Ids of the dead letters."""
        return [row["id"] for row in inspection.parked(self.outbox.connection)]

    def lost(self) -> int:
        """Rows in the loss ledger."""
        return sum(loss["count"] for loss in inspection.losses(self.outbox.connection))

    def stored(self) -> list[str]:
        """Ids in the SaaS's stream, in order."""
        return [row.id for row in self.saas.lane(self.lane).rows]

    def clone(self) -> Site:
        """A copy of the state directory, as a careless restore makes it."""
        other = Site(self.saas, self.outbox.settings, lane=self.lane, name=f"clone {len(self.accepted)}")
        other.outbox.close()
        for file in other.folder.iterdir():
            file.unlink()
        self.outbox.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        shutil.copy(self.outbox.path, other.folder / "outbox.db")
        other.outbox = DirectOutbox(other.folder / "outbox.db", self.outbox.settings)
        other.accepted = list(self.accepted)
        return other

    def check_books(self) -> None:
        """The conservation law and the database's own checks."""
        assert verification.verify(self.outbox.connection) == []

    def check_all(self) -> None:
        """Nothing twice, nothing out of order, nothing missing."""
        check_stream(self.saas, self.lane)
        self.check_books()
        check_complete(self)

    def close(self) -> None:
        """Remove it."""
        self.outbox.close()
        shutil.rmtree(self.folder)


def check_stream(saas: FakeSaas, lane: Lane = Lane.EVENTS) -> None:
    """No row twice, and the rows of each epoch in order, each naming the one before it.

    Rows that are published one by one are on their way before the fate of the one before them is known, so there a row
    may name one that was refused.
    """
    rows = saas.lane(lane).rows
    twice = [id_ for id_, times in Counter(row.id for row in rows).items() if times > 1]
    assert not twice, f"{len(twice)} rows are stored twice"
    last: dict[str, int] = {}
    for row in rows:
        assert row.seq > last.get(row.epoch, 0), "rows are out of order"
        assert saas.took_single_rows or row.previous == last.get(row.epoch, 0), (
            f"row {row.seq} names {row.previous} as the one before it"
        )
        last[row.epoch] = row.seq


def check_complete(site: Site) -> None:
    """Every accepted row is stored, waits, is parked, or is counted as lost."""
    here = site.state()
    waiting = {
        row["id"]
        for row in inspection.backlog(site.outbox.connection, site.lane, after=here.settled_through, limit=1_000_000)
    }
    kept = set(site.stored()) | waiting | set(site.parked())
    missing = set(site.accepted) - kept
    assert len(missing) == site.lost(), f"{len(missing)} rows are missing and {site.lost()} are in the ledger"
