"""One lane's task: from its rows to its settlements.

recover --> read, claim, stage --> commit --> settle --> ...
    ^                 `--- the next batch is read, claimed and staged while this one commits
    '--- after anything unclear
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from mra.backoff import full_jitter
from mra.errors import Fenced, LinkLost, Misconfigured, MraError, Rejected, Unavailable
from mra.log import logger
from mra.outbox import drain
from mra.uplink.answers import BatchIncomplete, CheckpointMoved, NotAtomic, TooManyRows
from mra.uplink.batch import LEAST_PAYLOAD, Batch, too_large
from mra.uplink.pace import Pace, Patience, Shares
from mra.uplink.recovery import marker_checkpoint, recover

if TYPE_CHECKING:
    from mra.outbox.outbox import Outbox
    from mra.outbox.record import Lane
    from mra.uplink.link import Link
    from mra.uplink.status import LaneStatus

log = logger("uplink")
_MANY_REFUSALS = 10  # refusals in a row that speak of the configuration rather than of the messages
_GAPS_OF_ONE_ROW = 4  # times that a row alone must leave a gap before the row is blamed for it
_HELD_SECONDS = 30.0  # before a held lane looks again
_RETRY_FIRST, _RETRY_CAP = 0.2, 30.0


@dataclass
class LaneMemory:
    """What a lane's draining keeps from one connection to the next."""

    pace: Pace = field(default_factory=Pace)
    patience: Patience = field(default_factory=Patience)
    unanswered: bool = False  # a batch was sent, and no answer has come
    refusals: int = 0  # rows refused since the last batch that was taken
    gaps: int = 0  # times that a row alone left a gap since then

    def fell_silent(self) -> None:
        """The connection was lost because nothing was heard: the link may be slower than what was sent allows."""
        if self.unanswered:
            self.pace.lost()
            self.patience.lost()


class LaneDrain:
    """Drains one lane over one link, until the link is lost."""

    def __init__(
        self,
        lane: Lane,
        outbox: Outbox,
        link: Link,
        shares: Shares,
        status: LaneStatus,
        memory: LaneMemory | None = None,
    ) -> None:
        self._lane = lane
        self._outbox = outbox
        self._link = link
        self._shares = shares
        self._status = status
        self._memory = memory or LaneMemory()
        self._pace = self._memory.pace
        self._takes_batches = True
        self._atomic = True
        self._expected = 0
        self._epoch = ""
        self._held: str | None = None
        self._is_troubled = True
        self._delays = full_jitter(_RETRY_FIRST, _RETRY_CAP)

    async def run(self) -> None:
        """Drain for ever. Raises LinkLost when the link is; contains everything else."""
        while True:
            try:
                await self._recover()
                await self._drain()
            except LinkLost:
                raise
            except CheckpointMoved as moved:
                log.info("checkpoint moved, reading it again", lane=self._lane, reason=str(moved))
                await trio.sleep(next(self._delays))
            except NotAtomic as reason:
                self._fall_back(str(reason))
            except Unavailable as reason:
                await self._wait(str(reason))
            except (Misconfigured, Fenced) as reason:
                await self._hold(str(reason))
            except Exception as bug:  # one lane's bug must not end the session of the others
                log.failure("draining failed in an unexpected way", bug, lane=self._lane)
                await self._wait(f"draining failed in an unexpected way ({bug!r})")

    async def _recover(self) -> None:
        if self._link.max_payload < LEAST_PAYLOAD:
            raise Misconfigured(
                f"The SaaS takes messages of {self._link.max_payload} bytes at most: raise max_payload there."
            )
        position = await recover(self._lane, self._outbox, self._link)
        self._expected, self._epoch, self._held = position.expected, position.epoch, position.held

    # -- sending ---------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Send batch after batch; return or raise at the first one whose outcome is not a plain success."""
        batch: Batch | None = None
        unsettled: drain.Settlement | None = None
        try:
            while True:
                if batch is None:
                    if unsettled:
                        await self._settle(unsettled)
                        unsettled = None
                    batch = await self._next_batch()
                sent, started = batch, trio.current_time()
                unsettled, batch = await self._commit_and_look_ahead(sent, unsettled)
                self._pace.observe(sent.size, trio.current_time() - started, self._shares.slice(self._lane))
                await self._note_success()
        except Rejected as refusal:
            assert batch is not None
            await self._look_for_the_poison(batch, refusal)
        except TooManyRows:
            assert batch is not None
            if len(batch.rows) == 1:
                raise
            self._pace.limit(len(batch.rows))
        except BatchIncomplete as reason:
            assert batch is not None
            # A row that no stream takes leaves a gap, which looks the same as a batch that the server dropped.
            if len(batch.rows) == 1:
                self._memory.gaps += 1
                if self._memory.gaps < _GAPS_OF_ONE_ROW:
                    raise
            await self._look_for_the_poison(batch, reason)
        finally:
            self._shares.leave(self._lane)

    async def _commit_and_look_ahead(
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
        self._expected = stream_seq
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
            stream_seq = await self._link.commit(batch, batch.checkpoint, self._expected)
        else:
            await self._link.publish_singly(batch)
            stream_seq = await self._link.put_checkpoint(self._lane, batch.checkpoint, self._expected)
        self._status.mode = "atomic" if self._atomic else "single"
        return stream_seq

    async def _stage_behind(self, batch: Batch, unsettled: drain.Settlement | None) -> Batch | None:
        following: Batch | None = None
        if batch.may_continue and self._atomic:
            following = await self._read(
                batch.through_seq, previous=batch.through_seq, total_before=batch.total_before + len(batch.rows)
            )
        if following:
            if not await self._settle(unsettled, claim=_claim(batch.through_seq, following)):
                return None
            await self._link.stage(following)
            _ = following.checkpoint  # its digest is ready when the commit before it is answered
        elif unsettled:
            await self._settle(unsettled)
        return following

    async def _next_batch(self) -> Batch:
        """Wait for rows behind the settled ones; return them claimed and staged."""
        while True:
            changed = self._outbox.changed(self._lane)
            here = await self._outbox.read(drain.state, self._lane)
            if here.epoch != self._epoch:
                raise CheckpointMoved(f"Lane {self._lane} was given a new epoch.")
            # Rows that were published with an id are sent again with it: an atomic batch would store them twice.
            self._atomic = self._takes_batches and here.settled_through >= here.singly_through
            batch = await self._read(here.settled_through, previous=here.previous, total_before=here.epoch_total)
            if batch is None:
                self._shares.leave(self._lane)
                await self._note_success()
                self._status.state = "idle"
                await changed.wait()
            elif await self._settle(None, claim=_claim(here.settled_through, batch, singly=not self._atomic)):
                break
        self._shares.enter(self._lane)
        if self._status.state in ("offline", "idle"):
            self._status.state = "draining"
        if self._atomic:
            await self._link.stage(batch)
        return batch

    async def _read(self, after: int, *, previous: int, total_before: int) -> Batch | None:
        """The next rows as a batch, None when there are none; rows that can never be sent are parked on the way."""
        while True:
            found = await self._outbox.read(
                drain.read, self._lane, after, max_rows=self._pace.rows, max_bytes=self._pace.bytes
            )
            if found.damaged:
                await self._park(found.damaged, "its bytes no longer match their checksum: the disk changed them")
            if oversize := too_large(found.rows, self._link.max_payload):
                reason = f"larger than the {self._link.max_payload} bytes that the SaaS takes in one message"
                await self._park(oversize, reason)
            if not found.damaged and not oversize:
                break
        if not found.rows:
            return None
        return Batch(self._lane, self._epoch, previous, total_before, found.rows, may_continue=found.more)

    async def _settle(self, settled: drain.Settlement | None, *, claim: drain.Claim | None = None) -> bool:
        """Settle and claim; false when a row of the claim has left since it was read, so that it must not be sent."""
        return await self._outbox.run_unit(drain.advance, self._lane, settled=settled, claim=claim)

    async def _note_success(self) -> None:
        """A batch was taken, or nothing waits: what was wrong is over."""
        self._memory.refusals = self._memory.gaps = 0
        self._status.state = "draining"
        if self._is_troubled:
            self._is_troubled = False
            self._status.last_error = None
            self._delays = full_jitter(_RETRY_FIRST, _RETRY_CAP)
        if self._held:
            self._held = None
            await self._outbox.run_unit(drain.hold, self._lane, None)

    # -- trouble ---------------------------------------------------------------------------------------------------

    async def _wait(self, reason: str) -> None:
        self._is_troubled = True
        self._status.state, self._status.last_error = "waiting", reason
        log.once_per(30, f"lane {self._lane} waits", reason=reason)
        await trio.sleep(next(self._delays))

    async def _hold(self, reason: str) -> None:
        """Stand still, visibly; look again after a while, or as soon as somebody has let the lane go."""
        self._is_troubled = True
        if (self._status.state, self._status.last_error) != ("held", reason):
            log.error("lane held", lane=self._lane, reason=reason)
        self._status.state, self._status.last_error = "held", reason
        with trio.move_on_after(_HELD_SECONDS):
            try:
                if (await self._outbox.read(drain.state, self._lane)).held != reason:
                    await self._outbox.run_unit(drain.hold, self._lane, reason)
                await self._released()
            except Unavailable as error:
                log.once_per(30, f"lane {self._lane} is held, and the outbox cannot be asked", reason=str(error))
                await trio.sleep(_HELD_SECONDS)

    async def _released(self) -> None:
        while True:
            changed = self._outbox.changed(self._lane)
            if (await self._outbox.read(drain.state, self._lane)).held is None:
                return
            await changed.wait()
            await trio.sleep(1)  # every append changes the lane, too

    def _fall_back(self, reason: str) -> None:
        self._takes_batches = False
        if self._status.mode != "single":
            log.warning(
                "lane publishes one by one: exactly once only within the stream's duplicate window",
                lane=self._lane, reason=reason,
            )  # fmt: skip
        self._status.mode = "single"

    async def _look_for_the_poison(self, batch: Batch, refusal: MraError) -> None:
        """A row of the batch is refused: halve until it stands alone, then park it."""
        if len(batch.rows) > 1:
            self._pace.split(len(batch.rows))
            return
        # The batch before this one may be stored and not settled yet; a marker that forgot it would undo it.
        await self._recover()
        await self._prove_that_the_lane_works()
        if self._memory.refusals >= _MANY_REFUSALS:
            raise Misconfigured(
                f"{_MANY_REFUSALS} rows of lane {self._lane} in a row were refused, and so is the next ({refusal}): the"
                f" stream, not the rows, seems to be set up wrongly; mend it, then run `mra outbox requeue --lane"
                f" {self._lane}`, or drop the rows."
            )
        self._memory.refusals += 1
        await self._park([batch.through_seq], str(refusal))

    async def _prove_that_the_lane_works(self) -> None:
        """Before a row is blamed, a checkpoint alone must be taken; with it, nothing of ours is in flight any more."""
        here = await self._outbox.read(drain.state, self._lane)
        marker = marker_checkpoint(here.epoch, here.settled_through, here.epoch_total)
        try:
            self._expected = await self._link.put_checkpoint(self._lane, marker, self._expected)
        except Rejected as reason:
            raise Misconfigured(f"The SaaS refuses even the checkpoints of lane {self._lane}: {reason}") from reason
        await self._outbox.run_unit(drain.release_claims, self._lane, expected=self._expected)

    async def _park(self, seqs: list[int], reason: str) -> None:
        moved = await self._outbox.run_unit(drain.park, self._lane, seqs, reason)
        if moved:
            log.error("rows parked", lane=self._lane, rows=moved, first=seqs[0], reason=reason)
            self._status.last_error = f"{moved} rows parked: {reason}"


def _claim(after: int, batch: Batch, *, singly: bool = False) -> drain.Claim:
    return drain.Claim(after, batch.through_seq, len(batch.rows), singly)
