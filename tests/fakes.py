"""A SaaS in memory, behind the seam `mra.uplink.link.Link`, and an outbox whose units run where they are awaited.

`tests/uplink/test_link_contract.py` holds the fake to the same tests as a real server. Both let a test decide at which
operation something breaks, and whether before or after it took effect.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from mra.errors import LinkLost, Rejected
from mra.outbox.outbox import prepare
from mra.uplink.answers import BatchIncomplete, CheckpointMoved, NoRoom, NotAtomic
from mra.uplink.checkpoint import Checkpoint, Stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mra.outbox.policy import OutboxSettings
    from mra.outbox.record import Lane
    from mra.uplink.batch import Batch


@dataclass(frozen=True)
class Message:
    """A row as the stream holds it."""

    epoch: str
    seq: int
    previous: int
    id: str


@dataclass
class FakeStream:
    """What one lane's part of a stream holds."""

    rows: list[Message] = field(default_factory=list)
    checkpoint: Stored | None = None


@dataclass
class FakeSaas:
    """The SaaS's memory; it outlives links."""

    lanes: dict[Lane, FakeStream] = field(default_factory=dict)
    next_seq: int = 1
    atomic: bool = True
    full: bool = False
    compares: bool = True  # False takes the compare-and-swap away: the negative control
    refuses: Callable[[str], bool] = lambda body: False
    stale: dict[Lane, Stored | None] = field(default_factory=dict)  # what a lagging replica answers

    def lane(self, lane: Lane) -> FakeStream:
        """The lane's part, empty at first."""
        return self.lanes.setdefault(lane, FakeStream())

    def snapshot(self) -> dict[Lane, FakeStream]:
        """A backup of everything stored."""
        return copy.deepcopy(self.lanes)

    def restore(self, backup: dict[Lane, FakeStream]) -> None:
        """Go back to a backup; stream sequences go on, as they do when other agents wrote meanwhile."""
        self.lanes = copy.deepcopy(backup)

    def wipe(self) -> None:
        """Forget everything."""
        self.lanes = {}


class FakeLink:
    """One connection to a `FakeSaas`. At operation `breaks_at` it is lost, after taking effect if `late`."""

    max_payload = 1024 * 1024

    def __init__(self, saas: FakeSaas, *, breaks_at: int | None = None, late: bool = False) -> None:
        self._saas = saas
        self._left = breaks_at
        self._late = late
        self._staged: dict[str, Batch] = {}

    async def _operate(self, effect: Callable[[], Any]) -> Any:
        await trio.lowlevel.checkpoint()
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                if self._late and self._left == -1:
                    effect()
                raise LinkLost("the fake link is lost")
        result = effect()
        await trio.lowlevel.checkpoint()
        return result

    async def read_checkpoint(self, lane: Lane) -> Stored | None:
        self._staged = {name: batch for name, batch in self._staged.items() if batch.lane is not lane}
        answer: Stored | None = await self._operate(
            lambda: self._saas.stale.pop(lane, self._saas.lane(lane).checkpoint)
        )
        return answer

    async def stage(self, batch: Batch) -> None:
        await self._operate(lambda: self._staged.__setitem__(batch.id, batch))

    async def commit(self, batch: Batch, checkpoint: Checkpoint, expected: int) -> int:
        seq: int = await self._operate(lambda: self._commit(batch, checkpoint, expected))
        return seq

    def _commit(self, batch: Batch, checkpoint: Checkpoint, expected: int) -> int:
        if not self._saas.atomic:
            raise NotAtomic("the fake takes no atomic batches")
        if self._staged.pop(batch.id, None) is None:
            raise BatchIncomplete("the fake knows no such batch")
        self._check(batch, expected)
        self._store_rows(batch)
        return self._store_checkpoint(batch.lane, checkpoint)

    def _check(self, batch: Batch, expected: int) -> None:
        if self._saas.full:
            raise NoRoom("the fake is full")
        self._compare(batch.lane, expected)
        if any(self._saas.refuses(row.id) for row in batch.rows):
            raise Rejected("the fake refuses a row")

    def _compare(self, lane: Lane, expected: int) -> None:
        newest = self._saas.lane(lane).checkpoint
        if self._saas.compares and (newest.stream_seq if newest else 0) != expected:
            raise CheckpointMoved("the fake's checkpoint is another")

    def _store_rows(self, batch: Batch) -> None:
        previous = batch.previous
        for row in batch.rows:
            self._saas.lane(batch.lane).rows.append(Message(batch.epoch, row.seq, previous, row.id))
            previous = row.seq
            self._saas.next_seq += 1

    def _store_checkpoint(self, lane: Lane, checkpoint: Checkpoint) -> int:
        seq = self._saas.next_seq
        self._saas.next_seq += 1
        self._saas.lane(lane).checkpoint = Stored(checkpoint, seq)
        return seq

    async def put_checkpoint(self, lane: Lane, checkpoint: Checkpoint, expected: int) -> int:
        def put() -> int:
            if self._saas.full:
                raise NoRoom("the fake is full")
            self._compare(lane, expected)
            return self._store_checkpoint(lane, checkpoint)

        seq: int = await self._operate(put)
        return seq

    async def publish_singly(self, batch: Batch) -> None:
        await self._operate(lambda: self._publish(batch))

    def _publish(self, batch: Batch) -> None:
        if self._saas.full:
            raise NoRoom("the fake is full")
        known = {message.id for message in self._saas.lane(batch.lane).rows}
        fresh = [row for row in batch.rows if row.id not in known]  # a duplicate window that never closes
        for row in fresh:
            self._saas.lane(batch.lane).rows.append(Message(batch.epoch, row.seq, 0, row.id))
            self._saas.next_seq += 1


class Crash(BaseException):
    """The process is gone at this point."""


class DirectOutbox:
    """The part of `Outbox` that a lane uses, on a real file, without threads: a mock clock can drive it.

    At unit `crashes_at` it raises `Crash`, after the unit's commit if `late`.
    """

    def __init__(self, path: Path, settings: OutboxSettings) -> None:
        self.settings = settings
        self.path = path
        self.connection = prepare(path, settings)
        self.crashes_at: int | None = None
        self.late = False
        self._never = trio.Event()

    async def read(self, unit: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return unit(self.connection, *args, **kwargs)

    async def run_unit(self, unit: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if self.crashes_at is not None:
            self.crashes_at -= 1
            if self.crashes_at < 0:
                if self.late:
                    unit(self.connection, *args, **kwargs)
                raise Crash
        result = unit(self.connection, *args, **kwargs)
        await trio.lowlevel.checkpoint()
        return result

    def changed(self, lane: Lane) -> trio.Event:
        return self._never

    def reopen(self) -> None:
        """What a new process does."""
        self.connection.close()
        self.connection = prepare(self.path, self.settings)
        self.crashes_at = None

    def close(self) -> None:
        self.connection.close()
