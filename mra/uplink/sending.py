"""How rows of a lane travel: read, claimed, staged, committed, settled; the next batch right behind the one before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from mra.errors import LinkLost, Misconfigured, MraError
from mra.log import logger
from mra.outbox import drain, parking
from mra.uplink.answers import CheckpointMoved
from mra.uplink.batch import Batch, too_large
from mra.uplink.pace import Pace, Patience

if TYPE_CHECKING:
    from mra.outbox.outbox import Outbox
    from mra.outbox.record import Lane
    from mra.uplink.link import Link
    from mra.uplink.recovery import Position
    from mra.uplink.status import LaneStatus

log = logger("uplink")


@dataclass
class LaneMemory:
    """What a lane's draining keeps from one connection to the next."""

    pace: Pace = field(default_factory=Pace)
    patience: Patience = field(default_factory=Patience)
    retry_cap: float = 30.0  # the most that a stream which is there again waits for the lane, in seconds
    unanswered: bool = False  # a batch was sent, and no answer has come
    refusals: int = 0  # rows refused since the last batch that was taken
    gaps: int = 0  # times that a row alone left a gap since then

    def fell_silent(self) -> None:
        """The connection was lost because nothing was heard: the link may be slower than what was sent allows."""
        if self.unanswered:
            self.pace.lost()
            self.patience.lost()


class Sender:
    """Sends one lane's rows over one link. Every error is the caller's to deal with.

    `begin` says where to go on; after an error it has to be said again, for what was staged then is forgotten.
    """

    def __init__(self, lane: Lane, outbox: Outbox, link: Link, status: LaneStatus, memory: LaneMemory) -> None:
        self._lane = lane
        self._outbox = outbox
        self._link = link
        self._status = status
        self._memory = memory
        self._epoch = ""
        self._atomic = True
        self.expected = 0  # stream sequence of the newest checkpoint
        self.takes_batches = True  # False once the stream has refused an atomic one

    def begin(self, position: Position) -> None:
        """Go on behind what the SaaS holds."""
        self.expected, self._epoch = position.expected, position.epoch

    async def commit_and_look_ahead(
        self, batch: Batch, unsettled: drain.Settlement | None
    ) -> tuple[drain.Settlement, Batch | None]:
        """Commit `batch`; meanwhile settle the one before it, and read, claim and stage the one behind it."""
        ahead: list[Batch] = []
        failure: MraError | None = None

        async def look_ahead() -> None:
            nonlocal failure
            try:
                if following := await self._stage_behind(batch, unsettled):
                    ahead.append(following)
            except MraError as error:
                failure = failure or error
                if isinstance(error, LinkLost):
                    meanwhile.cancel_scope.cancel()

        async with trio.open_nursery() as meanwhile:
            meanwhile.start_soon(look_ahead, name=f"{self._lane} look-ahead")
            try:
                stream_seq = await self._commit(batch)
            except MraError as error:
                failure = failure or error
                meanwhile.cancel_scope.cancel()
        if failure:
            raise failure
        self.expected = stream_seq
        self._status.count(len(batch.rows))
        made = batch.checkpoint
        return drain.Settlement(made.epoch, made.through_seq, made.total, stream_seq), (ahead[0] if ahead else None)

    async def _commit(self, batch: Batch) -> int:
        self._memory.unanswered = True
        try:
            stream_seq = await self._publish(batch)
        except (LinkLost, Misconfigured):
            raise
        except MraError:
            self._memory.unanswered = False
            raise
        self._memory.unanswered = False
        self._memory.patience.answered()
        return stream_seq

    async def _publish(self, batch: Batch) -> int:
        if self._atomic:
            stream_seq = await self._link.commit(batch, batch.checkpoint, self.expected)
        else:
            await self._link.publish_singly(batch)
            stream_seq = await self._link.put_checkpoint(self._lane, batch.checkpoint, self.expected)
        self._status.mode = "atomic" if self._atomic else "single"
        return stream_seq

    async def _stage_behind(self, batch: Batch, unsettled: drain.Settlement | None) -> Batch | None:
        following: Batch | None = None
        if batch.may_continue and self._atomic:
            following = await self._read(
                batch.through_seq, previous=batch.through_seq, total_before=batch.total_before + len(batch.rows)
            )
        if following:
            if not await self.settle(unsettled, claim=_claim(batch.through_seq, following)):
                return None
            await self._link.stage(following)
            _ = following.checkpoint  # its digest is ready when the commit before it is answered
        elif unsettled:
            await self.settle(unsettled)
        return following

    async def next_batch(self) -> Batch | None:
        """The rows behind the settled ones, claimed and staged; None when nothing waits."""
        while True:
            here = await self._outbox.read(drain.state, self._lane)
            if here.epoch != self._epoch:
                raise CheckpointMoved(f"Lane {self._lane} was given a new epoch.")
            # Rows that were published with an id are sent again with it: an atomic batch would store them twice.
            self._atomic = self.takes_batches and here.settled_through >= here.singly_through
            batch = await self._read(here.settled_through, previous=here.previous, total_before=here.epoch_total)
            if batch is None:
                return None
            if await self.settle(None, claim=_claim(here.settled_through, batch, singly=not self._atomic)):
                break
        if self._atomic:
            await self._link.stage(batch)
        return batch

    async def _read(self, after: int, *, previous: int, total_before: int) -> Batch | None:
        """The next rows as a batch, None when there are none; rows that can never be sent are parked on the way."""
        while True:
            found = await self._outbox.read(
                drain.read, self._lane, after, max_rows=self._memory.pace.rows, max_bytes=self._memory.pace.bytes
            )
            if found.damaged:
                await self.park(found.damaged, "its bytes no longer match their checksum: the disk changed them")
            if oversize := too_large(found.rows, self._link.max_payload):
                reason = f"larger than the {self._link.max_payload} bytes that the SaaS takes in one message"
                await self.park(oversize, reason)
            if not found.damaged and not oversize:
                break
        if not found.rows:
            return None
        return Batch(self._lane, self._epoch, previous, total_before, found.rows, may_continue=found.more)

    async def settle(self, settled: drain.Settlement | None, *, claim: drain.Claim | None = None) -> bool:
        """Settle and claim; false when a row of the claim has left since it was read, so that it must not be sent."""
        return await self._outbox.run_unit(drain.advance, self._lane, settled=settled, claim=claim)

    async def park(self, seqs: list[int], reason: str) -> None:
        moved = await self._outbox.run_unit(parking.park, self._lane, seqs, reason)
        if moved:
            log.error("rows parked", lane=self._lane, rows=moved, first=seqs[0], reason=reason)
            self._status.last_error = f"{moved} rows parked: {reason}"


def _claim(after: int, batch: Batch, *, singly: bool = False) -> drain.Claim:
    return drain.Claim(after, batch.through_seq, len(batch.rows), singly)
