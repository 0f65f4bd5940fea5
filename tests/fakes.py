"""A SaaS in memory, behind the seam `mra.uplink.link.Link`, and an outbox whose units run where they are awaited.

`tests/uplink/test_link_contract.py` holds the fake to the same tests as a real server. Both let a test decide at which
operation something breaks, and whether before or after it took effect.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from mra.errors import LinkLost, Misconfigured, Rejected, Unavailable
from mra.outbox.outbox import prepare
from mra.outbox.record import Lane
from mra.uplink.answers import BatchIncomplete, CheckpointMoved, NoRoom, NotAtomic, StreamAway, TooManyRows
from mra.uplink.checkpoint import Checkpoint, Stored
from mra.uplink.subjects import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mra.outbox.policy import OutboxSettings
    from mra.outbox.record import Row
    from mra.uplink.batch import Batch


@dataclass(frozen=True)
class Message:
    """A row as the stream holds it."""

    epoch: str
    seq: int
    previous: int
    id: str
    body: bytes


@dataclass
class FakeStream:
    """What one lane's part of a stream holds."""

    rows: list[Message] = field(default_factory=list)
    checkpoint: Stored | None = None


@dataclass
class FakeSaas:
    """The SaaS's memory; it outlives links. The knobs are what a test may break."""

    lanes: dict[Lane, FakeStream] = field(default_factory=dict)
    last_seq: dict[str, int] = field(default_factory=dict)  # per stream, that is, per kind
    operations: list[str] = field(default_factory=list)
    max_payload: int = 1024 * 1024
    atomic: bool = True
    most_rows: int = 1000  # in one batch, its checkpoint included
    forgets_staged_after: float = 10.0
    full: bool = False
    sealed: bool = False
    remembers_ids: bool = True  # False closes the duplicate window
    took_single_rows: bool = False
    compares: bool = True  # False takes the compare-and-swap away: the negative control
    silent: set[Lane] = field(default_factory=set)  # no answers about these
    refuses: Callable[[str], bool] = lambda id_: False
    refuses_checkpoints: bool = False
    stale: dict[Lane, Stored | None] = field(default_factory=dict)  # what a lagging replica answers
    holds_back: bool = False  # the next commit is taken, and stored only when `let_through` is called
    _held_back: list[Callable[[], Any]] = field(default_factory=list)

    def lane(self, lane: Lane) -> FakeStream:
        """The lane's part, empty at first."""
        return self.lanes.setdefault(lane, FakeStream())

    def next_seq(self, lane: Lane) -> int:
        """The number of the stream's next message."""
        kind = kind_of(lane)
        self.last_seq[kind] = self.last_seq.get(kind, 0) + 1
        return self.last_seq[kind]

    def snapshot(self) -> tuple[dict[Lane, FakeStream], dict[str, int]]:
        """A backup of everything stored."""
        return copy.deepcopy((self.lanes, self.last_seq))

    def restore(self, backup: tuple[dict[Lane, FakeStream], dict[str, int]]) -> None:
        """Go back to a backup, stream sequences included."""
        self.lanes, self.last_seq = copy.deepcopy(backup)
        self._held_back.clear()

    def wipe(self) -> None:
        """Forget everything."""
        self.restore(({}, {}))

    def hold_back(self, effect: Callable[[], Any]) -> None:
        """Take a message that is stored later."""
        self.holds_back = False
        self._held_back.append(effect)

    def let_through(self) -> list[Exception]:
        """Store what was held back, in order; return the refusals that nobody hears any more."""
        refusals: list[Exception] = []
        pending, self._held_back = self._held_back, []
        for effect in pending:
            try:
                effect()
            except (Unavailable, Rejected, Misconfigured) as refusal:
                refusals.append(refusal)
        return refusals


class FakeLink:
    """One connection to a `FakeSaas`. At operation `breaks_at` it is lost, after taking effect if `late`."""

    def __init__(self, saas: FakeSaas, *, breaks_at: int | None = None, late: bool = False) -> None:
        self._saas = saas
        self._left = breaks_at
        self._late = late
        self._staged: dict[str, tuple[Batch, float]] = {}

    @property
    def max_payload(self) -> int:
        return self._saas.max_payload

    async def _operate(self, lane: Lane, what: str, effect: Callable[[], Any]) -> Any:
        await trio.lowlevel.checkpoint()
        self._saas.operations.append(f"{lane} {what}")
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                if self._late and self._left == -1:
                    self._unheard(effect)
                raise LinkLost("the fake link is lost")
        if lane in self._saas.silent:
            if self._late:
                self._unheard(effect)
            await trio.sleep(10)
            raise StreamAway("the fake's stream is silent")
        result = effect()
        await trio.lowlevel.checkpoint()
        return result

    def _unheard(self, effect: Callable[[], Any]) -> None:
        with suppress(Unavailable, Rejected, Misconfigured):  # the refusal is lost with the link
            effect()

    async def read_checkpoint(self, lane: Lane) -> Stored | None:
        self._staged = {name: staged for name, staged in self._staged.items() if staged[0].lane is not lane}
        answer: Stored | None = await self._operate(
            lane, "read", lambda: self._saas.stale.pop(lane, self._saas.lane(lane).checkpoint)
        )
        return answer

    async def stage(self, batch: Batch) -> None:
        await self._operate(batch.lane, f"stage {_range(batch)}", lambda: self._stage(batch))

    def _stage(self, batch: Batch) -> None:
        self._staged[batch.id] = batch, trio.current_time()

    async def commit(self, batch: Batch, checkpoint: Checkpoint, expected: int) -> int:
        def commit() -> int:
            if not self._saas.atomic:
                raise NotAtomic("the fake takes no atomic batches")
            self._take_staged(batch)
            if self._saas.holds_back:
                self._saas.hold_back(lambda: self._commit(batch, checkpoint, expected))
                raise LinkLost("the fake's answer never came")
            return self._commit(batch, checkpoint, expected)

        seq: int = await self._operate(batch.lane, f"commit {_range(batch)}", commit)
        return seq

    def _commit(self, batch: Batch, checkpoint: Checkpoint, expected: int) -> int:
        if self._saas.full:
            raise NoRoom("the fake is full")
        self._compare(batch.lane, expected)
        previous = batch.previous
        for row in batch.rows:
            self._store(batch, row, previous)
            previous = row.seq
        return self._store_checkpoint(batch.lane, checkpoint)

    def _take_staged(self, batch: Batch) -> None:
        """Of the rows only the first has a reply: another one that is refused shows as a gap."""
        if self._saas.sealed:
            raise Misconfigured("the fake is sealed")
        if self._saas.refuses_checkpoints:
            raise Rejected("the fake refuses checkpoints")
        _, staged_at = self._staged.pop(batch.id, (None, float("-inf")))
        if self._saas.refuses(batch.rows[0].id):
            raise Rejected("the fake refuses a row")
        if len(batch.rows) + 1 > self._saas.most_rows:
            raise TooManyRows("the fake takes smaller batches")
        if any(self._saas.refuses(row.id) for row in batch.rows):
            raise BatchIncomplete("the fake misses a row of the batch")
        if trio.current_time() - staged_at > self._saas.forgets_staged_after:
            raise BatchIncomplete("the fake knows no such batch")

    def _compare(self, lane: Lane, expected: int) -> None:
        newest = self._saas.lane(lane).checkpoint
        if self._saas.compares and (newest.stream_seq if newest else 0) != expected:
            raise CheckpointMoved("the fake's checkpoint is another")

    def _store(self, batch: Batch, row: Row, previous: int) -> None:
        self._saas.next_seq(batch.lane)
        self._saas.lane(batch.lane).rows.append(Message(batch.epoch, row.seq, previous, row.id, row.body))

    def _store_checkpoint(self, lane: Lane, checkpoint: Checkpoint) -> int:
        if self._saas.refuses_checkpoints:
            raise Rejected("the fake refuses checkpoints")
        seq = self._saas.next_seq(lane)
        self._saas.lane(lane).checkpoint = Stored(checkpoint, seq)
        return seq

    async def put_checkpoint(self, lane: Lane, checkpoint: Checkpoint, expected: int) -> int:
        def put() -> int:
            if self._saas.sealed:
                raise Misconfigured("the fake is sealed")
            if self._saas.full:
                raise NoRoom("the fake is full")
            self._compare(lane, expected)
            return self._store_checkpoint(lane, checkpoint)

        seq: int = await self._operate(lane, "put", put)
        return seq

    async def publish_singly(self, batch: Batch) -> None:
        await self._operate(batch.lane, f"publish {_range(batch)}", lambda: self._publish(batch))

    def _publish(self, batch: Batch) -> None:
        self._saas.took_single_rows = True
        if self._saas.full:
            raise NoRoom("the fake is full")
        known = {message.id for message in self._saas.lane(batch.lane).rows} if self._saas.remembers_ids else set()
        previous = batch.previous
        refused = False
        for row in batch.rows:
            if self._saas.refuses(row.id):
                refused = True
            elif row.id not in known:
                self._store(batch, row, previous)
            previous = row.seq
        if refused:
            raise Rejected("the fake refuses a row")


def _range(batch: Batch) -> str:
    return f"{batch.rows[0].seq}-{batch.through_seq}"


class Crash(BaseException):
    """The process is gone at this point."""


class DirectOutbox:
    """The part of `Outbox` that a lane uses, on a real file, without threads: a mock clock can drive it.

    At unit `breaks_at` it raises `failure`, after the unit's commit if `late`.
    """

    def __init__(self, path: Path, settings: OutboxSettings) -> None:
        self.settings = settings
        self.path = path
        self.connection = prepare(path, settings)
        self.failure: BaseException = Crash()
        self.breaks_at: int | None = None
        self.late = False
        self._changed = {lane: trio.Event() for lane in Lane}

    async def read(self, unit: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return unit(self.connection, *args, **kwargs)

    async def run_unit(self, unit: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if self.breaks_at is not None:
            self.breaks_at -= 1
            if self.breaks_at < 0:
                if self.late:
                    unit(self.connection, *args, **kwargs)
                self.breaks_at = None
                raise self.failure
        result = unit(self.connection, *args, **kwargs)
        await trio.lowlevel.checkpoint()
        return result

    def changed(self, lane: Lane) -> trio.Event:
        return self._changed[lane]

    def wake(self) -> None:
        """Somebody has written."""
        for lane, event in self._changed.items():
            self._changed[lane] = trio.Event()
            event.set()

    def reopen(self) -> None:
        """What a new process does."""
        self.connection.close()
        self.connection = prepare(self.path, self.settings)
        self.breaks_at = None

    def close(self) -> None:
        self.connection.close()
