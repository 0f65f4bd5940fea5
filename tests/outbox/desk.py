"""An outbox under a clock of the test's own, and the words in which the stories about it are told.

The database is a real file and every operation is the product's own function; only the three clocks are the test's.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import pytest

from mra.clock import NANOSECONDS, Stamp
from mra.outbox import drain, inspection, lanes, operator, upkeep, verification
from mra.outbox.opening import prepare
from mra.outbox.policy import DEFAULT_POLICIES, LanePolicy, OutboxSettings, Overflow
from mra.outbox.record import Draft, Lane, Receipt
from mra.outbox.store import Outcome, Request, accept

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mra.outbox.sqlite import Connection

YEAR = 365.25 * 86400
# What a test does not ask for is out of its way: no ballast, no space kept for the host.
SETTINGS = OutboxSettings(min_free=0, ballast=0)


def policy(overflow: Overflow = Overflow.REJECT, max_bytes: int = 1 << 30, max_age: float | None = None) -> LanePolicy:
    """A policy; what is left out bounds nothing."""
    return LanePolicy(overflow, max_bytes, max_age)


def settings(policies: Mapping[Lane, LanePolicy] | None = None, **bounds: Any) -> OutboxSettings:
    """Settings with some lanes and bounds as given."""
    return replace(SETTINGS, lanes={**DEFAULT_POLICIES, **(policies or {})}, **bounds)


# Signed nanoseconds, less a year in which the simulated host may still run.
_FARTHEST = 2**63 - 1 - 365 * 86400 * NANOSECONDS


class Desk:
    """One process's connection to an outbox. `sleep`, `step_wall` and `reboot` move its clocks."""

    def __init__(self, connection: Connection, path: Path, bounds: OutboxSettings, stamp: Stamp) -> None:
        self.connection = connection
        self.path = path
        self.settings = bounds
        self.stamp = stamp

    @classmethod
    @contextmanager
    def open(cls, path: Path, bounds: OutboxSettings = SETTINGS, stamp: Stamp | None = None) -> Iterator[Self]:
        """An outbox at `path`, made when it is not there."""
        stamp = stamp or Stamp(1_790_000_000 * NANOSECONDS, 1000 * NANOSECONDS, "boot-1")
        with closing(prepare(path, bounds)) as connection, pytest.MonkeyPatch.context() as patch:
            desk = cls(connection, path, bounds, stamp)
            for module in (drain, operator):
                patch.setattr(module, "now", lambda: desk.stamp)
            yield desk

    # -- clocks

    def sleep(self, seconds: float) -> None:
        """The host runs for a while."""
        step = int(seconds * NANOSECONDS)
        self.stamp = self.stamp._replace(wall=self.stamp.wall + step, mono=self.stamp.mono + step)

    def step_wall(self, seconds: float) -> None:
        """Somebody sets the host's clock; it goes no further than the 64 bits that the kernel keeps it in."""
        wall = self.stamp.wall + int(seconds * NANOSECONDS)
        self.stamp = self.stamp._replace(wall=max(-_FARTHEST, min(_FARTHEST, wall)))

    def reboot(self, *, off: float = 60) -> None:
        """The host is off for a while; its boot clock starts again."""
        number = int(self.stamp.boot_id.rpartition("-")[2]) + 1
        self.stamp = Stamp(self.stamp.wall + int(off * NANOSECONDS), 5 * NANOSECONDS, f"boot-{number}")

    # -- producers

    def offer(self, *drafts: Draft, also: Any = None) -> Outcome:
        """One request in a transaction of its own; its outcome."""
        return self.offer_group(Request(drafts, also))[0]

    def offer_group(self, *requests: Request) -> list[Outcome]:
        """Several producers' requests in one transaction."""
        return accept(self.connection, self.path, requests, self.settings, self.stamp)

    def accept(self, lane: Lane, *bodies: bytes, **fields: Any) -> list[Receipt]:
        """Records of one lane, which must be accepted."""
        outcome = self.offer(*(Draft(lane, "some.subject", body, **fields) for body in bodies))
        assert isinstance(outcome, list), outcome
        return outcome

    # -- the uplink

    def claim(self, lane: Lane, through_seq: int) -> None:
        """Rows up to here are on their way."""
        after = self.state(lane).claimed_through
        rows = drain.count_between(self.connection, lane, after, through_seq)
        drain.advance(self.connection, lane, claim=drain.Claim(after, through_seq, rows))

    def deliver(self, lane: Lane, through_seq: int | None = None) -> None:
        """The SaaS proves that it holds the rows up to here, or all that wait."""
        through = self.state(lane).next_seq - 1 if through_seq is None else through_seq
        state = self.state(lane)
        rows = sum(state.settled_through < seq <= through for seq in self.kept(lane))
        settled = drain.Settlement(state.epoch, through, state.epoch_total + rows, state.checkpoint_seq + rows + 1)
        drain.advance(self.connection, lane, settled=settled)

    # -- upkeep

    def shed_aged(self) -> int:
        """Everything too old goes; how many."""
        return sum(iter(lambda: upkeep.shed_aged(self.connection, self.settings, self.stamp), 0))

    def prune(self) -> int:
        """The replay window closes; bytes that went."""
        return sum(iter(lambda: upkeep.prune(self.connection, self.settings, self.stamp), 0))

    # -- looking

    def state(self, lane: Lane) -> lanes.LaneState:
        """Where the lane stands."""
        return lanes.load(self.connection, lane)

    def kept(self, lane: Lane) -> list[int]:
        """Numbers of the rows in the lane's table, delivered ones included."""
        return [seq for (seq,) in self.connection.execute(f"SELECT seq FROM {lanes.table_of(lane)} ORDER BY seq")]

    def waiting(self, lane: Lane) -> list[bytes]:
        """Bodies that wait or are in flight, in order."""
        found = self.connection.execute(
            f"SELECT body FROM {lanes.table_of(lane)} WHERE seq > ? ORDER BY seq", (self.state(lane).settled_through,)
        )
        return [body for (body,) in found]

    def losses(self) -> list[tuple[str, str, int]]:
        """(lane, reason, rows) of the loss ledger."""
        return [(loss["lane"], loss["reason"], loss["count"]) for loss in inspection.losses(self.connection)]

    def problems(self) -> list[str]:
        """What `mra outbox verify` would complain about."""
        return [f"{finding.lane}: {finding.problem}" for finding in verification.verify(self.connection)]
