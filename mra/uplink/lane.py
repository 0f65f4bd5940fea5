"""One lane's task: from its rows to its settlements.

recover --> read, claim, stage --> commit --> settle --> ...
    ^                 `--- the next batch is read, claimed and staged while this one commits
    '--- after anything unclear
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from mra.backoff import full_jitter
from mra.errors import Fenced, LinkLost, Misconfigured, MraError, Rejected, Unavailable
from mra.log import logger
from mra.outbox import drain
from mra.uplink.answers import BatchIncomplete, CheckpointMoved, NotAtomic, StreamAway, TooManyRows
from mra.uplink.batch import LEAST_PAYLOAD
from mra.uplink.reach import Reach
from mra.uplink.recovery import marker_checkpoint, recover
from mra.uplink.sending import LaneMemory, Sender

if TYPE_CHECKING:
    from mra.outbox.outbox import Outbox
    from mra.outbox.record import Lane
    from mra.uplink.batch import Batch
    from mra.uplink.link import Link
    from mra.uplink.pace import Shares
    from mra.uplink.status import LaneStatus

log = logger("uplink")
_MANY_REFUSALS = 10  # refusals in a row that speak of the configuration rather than of the messages
_GAPS_OF_ONE_ROW = 4  # times that a row alone must leave a gap before the row is blamed for it
_HELD_SECONDS = 30.0  # before a held lane looks again
_RETRY_FIRST = 0.2


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
        reach: Reach | None = None,
    ) -> None:
        self._lane = lane
        self._outbox = outbox
        self._link = link
        self._shares = shares
        self._status = status
        self._memory = memory or LaneMemory()
        self._reach = reach or Reach()
        self._sender = Sender(lane, outbox, link, status, self._memory)
        self._held: str | None = None
        self._is_troubled = True
        self._delays = full_jitter(_RETRY_FIRST, self._memory.retry_cap)

    async def run(self) -> None:
        """Drain for ever. Raises LinkLost when the link is, or leads nowhere; contains everything else."""
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
                if isinstance(reason, StreamAway):
                    self._reach.unserved(trio.current_time())
                await self._wait(str(reason))
            except (Misconfigured, Fenced) as reason:
                if isinstance(reason, Fenced):  # or this server's replica tells of long ago
                    self._reach.unserved(trio.current_time())
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
        self._sender.begin(position)
        self._held = position.held

    # -- sending ---------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Send batch after batch; return or raise at the first one whose outcome is not a plain success."""
        batch: Batch | None = None
        unsettled: drain.Settlement | None = None
        try:
            while True:
                if batch is None:
                    if unsettled:
                        await self._sender.settle(unsettled)
                        unsettled = None
                    batch = await self._wait_for_rows()
                sent, started = batch, trio.current_time()
                unsettled, batch = await self._sender.commit_and_look_ahead(sent, unsettled)
                self._reach.served()
                self._memory.pace.observe(sent.size, trio.current_time() - started, self._shares.slice(self._lane))
                await self._note_success()
        except Rejected as refusal:
            assert batch is not None
            await self._look_for_the_poison(batch, refusal)
        except TooManyRows:
            assert batch is not None
            if len(batch.rows) == 1:
                raise
            self._memory.pace.limit(len(batch.rows))
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

    async def _wait_for_rows(self) -> Batch:
        while True:
            changed = self._outbox.changed(self._lane)
            if batch := await self._sender.next_batch():
                break
            self._shares.leave(self._lane)
            await self._note_success()
            self._status.state = "idle"
            await changed.wait()
        self._shares.enter(self._lane)
        if self._status.state in ("offline", "idle"):
            self._status.state = "draining"
        return batch

    async def _note_success(self) -> None:
        """A batch was taken, or nothing waits: what was wrong is over."""
        self._memory.refusals = self._memory.gaps = 0
        self._status.state = "draining"
        if self._is_troubled:
            self._is_troubled = False
            self._status.last_error = None
            self._delays = full_jitter(_RETRY_FIRST, self._memory.retry_cap)
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
        self._sender.takes_batches = False
        if self._status.mode != "single":
            log.warning(
                "lane publishes one by one: exactly once only within the stream's duplicate window",
                lane=self._lane, reason=reason,
            )  # fmt: skip
        self._status.mode = "single"

    async def _look_for_the_poison(self, batch: Batch, refusal: MraError) -> None:
        """A row of the batch is refused: halve until it stands alone, then park it."""
        if len(batch.rows) > 1:
            self._memory.pace.split(len(batch.rows))
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
        await self._sender.park([batch.through_seq], str(refusal))

    async def _prove_that_the_lane_works(self) -> None:
        """Before a row is blamed, a checkpoint alone must be taken; with it, nothing of ours is in flight any more."""
        here = await self._outbox.read(drain.state, self._lane)
        marker = marker_checkpoint(here.epoch, here.settled_through, here.epoch_total)
        try:
            self._sender.expected = await self._link.put_checkpoint(self._lane, marker, self._sender.expected)
        except Rejected as reason:
            raise Misconfigured(f"The SaaS refuses even the checkpoints of lane {self._lane}: {reason}") from reason
        await self._outbox.run_unit(drain.release_claims, self._lane, expected=self._sender.expected)
