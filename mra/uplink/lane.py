"""One lane's task: from its rows to its settlements.

reconcile --> read, claim, stage --> commit --> settle --> ...
    ^                   `--- the next batch is read, claimed and staged while this one commits
    '--- after anything unclear
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from mra.backoff import full_jitter
from mra.errors import Fenced, LinkLost, Misconfigured, MraError, Rejected, Unavailable
from mra.log import logger
from mra.outbox import drain
from mra.uplink.answers import BatchIncomplete, CheckpointMoved, NotAtomic
from mra.uplink.batch import Batch, kind_of, too_large
from mra.uplink.checkpoint import Checkpoint
from mra.uplink.pace import Pace, Shares
from mra.uplink.reconcile import Adopt, Ahead, Behind, Foreign, InStep, judge, needs_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mra.outbox.outbox import Outbox
    from mra.outbox.record import Lane
    from mra.uplink.checkpoint import Stored
    from mra.uplink.link import Link

log = logger("uplink")
_MANY_REFUSALS = 10  # refusals in a row that speak of the configuration rather than of the messages
_GAPS_OF_ONE_ROW = 4  # times that a row alone must leave a gap before the row is blamed for it
_HELD_SECONDS = 30.0  # before a held lane looks again
_RETRY_CAP = 30.0


@dataclass
class LaneStatus:
    """What `mra status` shows of a lane's draining."""

    state: str = "offline"  # offline, idle, draining, waiting (the SaaS cannot take more now), held
    mode: str = "atomic"  # or "single": at-least-once beyond the stream's duplicate window
    delivered: int = 0  # rows since the daemon's start
    batches: int = 0
    last_error: str | None = None
    rates: list[tuple[float, int]] = field(default_factory=list)

    def count(self, rows: int) -> None:
        """Note a settled batch."""
        self.delivered += rows
        self.batches += 1
        self.rates.append((trio.current_time(), rows))
        del self.rates[:-64]

    def rate(self) -> float:
        """Rows per second over the last ten seconds."""
        recent = [rows for at, rows in self.rates if at > trio.current_time() - 10]
        return sum(recent) / 10


class LaneDrain:
    """Drains one lane over one link, until the link is lost."""

    def __init__(self, lane: Lane, outbox: Outbox, link: Link, shares: Shares, status: LaneStatus) -> None:
        self._lane = lane
        self._outbox = outbox
        self._link = link
        self._shares = shares
        self._status = status
        self._pace = Pace()
        self._atomic = True
        self._expected = 0
        self._epoch = ""
        self._refusals = 0
        self._gaps = 0

    async def run(self) -> None:
        """Drain for ever. Raises LinkLost when the link is; contains everything else."""
        delays = self._delays()
        while True:
            try:
                await self._reconcile()
                self._status.last_error = None
                await self._drain()
            except LinkLost:
                raise
            except CheckpointMoved as moved:
                log.info("checkpoint moved, reading it again", lane=self._lane, reason=str(moved))
                await trio.sleep(next(delays))
            except NotAtomic as reason:
                self._fall_back(str(reason))
            except Unavailable as reason:
                await self._wait("waiting", str(reason), next(delays))
            except (Misconfigured, Fenced) as reason:
                await self._hold(str(reason))
            else:
                delays = self._delays()

    def _delays(self) -> Iterator[float]:
        return full_jitter(0.2, _RETRY_CAP)

    async def _wait(self, state: str, reason: str, seconds: float) -> None:
        self._status.state, self._status.last_error = state, reason
        log.once_per(30, "lane waits", lane=self._lane, reason=reason)
        await trio.sleep(seconds)

    async def _hold(self, reason: str) -> None:
        log.error("lane held", lane=self._lane, reason=reason)
        await self._outbox.run_unit(drain.hold, self._lane, reason)
        await self._wait("held", reason, _HELD_SECONDS)

    def _fall_back(self, reason: str) -> None:
        log.warning(
            "lane publishes one by one: exactly once only within the stream's duplicate window",
            lane=self._lane, reason=reason,
        )  # fmt: skip
        self._atomic = False
        self._status.mode = "single"

    # -- what is stored? -------------------------------------------------------------------------------------------

    async def _reconcile(self) -> None:
        """Learn what the SaaS holds and bring our marks in line; afterwards nothing is in flight."""
        stored = await self._link.read_checkpoint(self._lane)
        here = await self._outbox.read(drain.state, self._lane)
        ours = needs_digest(here, stored) and await self._is_made_of_our_rows(stored)
        match judge(here, stored, is_made_of_our_rows=ours):
            case InStep(expected):
                self._expected = expected
            case Ahead(found):
                log.info("an answer was lost, the rows were not", lane=self._lane, through=found.checkpoint.through_seq)
                await self._settle(_settlement(found.checkpoint, found.stream_seq))
                self._expected = found.stream_seq
            case Behind(found):
                await self._rewind(found)
            case Adopt(found):
                epoch = os.urandom(8).hex()
                detail = f"took over from epoch {found.checkpoint.epoch}, which ended at {found.checkpoint.through_seq}"
                await self._outbox.run_unit(
                    drain.adopt, self._lane, epoch=epoch, stream_seq=found.stream_seq, actor="uplink", detail=detail
                )
                self._expected = found.stream_seq
            case Foreign(found, reason):
                raise Fenced(
                    f"Lane {self._lane} is fenced: the checkpoint at the SaaS is another writer's ({reason});"
                    f" stop the other agent of this name, then run `mra outbox adopt {self._lane}`."
                )
        await self._outbox.run_unit(drain.release_claims, self._lane, expected=self._expected)
        self._epoch = (await self._outbox.read(drain.state, self._lane)).epoch

    async def _is_made_of_our_rows(self, stored: Stored | None) -> bool:
        assert stored is not None
        checkpoint = stored.checkpoint
        digest = await self._outbox.read(drain.digest_between, self._lane, checkpoint.first_seq, checkpoint.through_seq)
        return digest == checkpoint.digest

    async def _rewind(self, stored: Stored | None) -> None:
        """Confirm by compare-and-swap that the SaaS went back (a lagging replica would refuse), then send again."""
        here = await self._outbox.read(drain.state, self._lane)
        through = stored.checkpoint.through_seq if stored else 0
        total = stored.checkpoint.total if stored else 0
        marker = _empty_checkpoint(here.epoch, through, total)
        expected = await self._link.put_checkpoint(self._lane, marker, stored.stream_seq if stored else 0)
        again, gone = await self._outbox.run_unit(
            drain.rewind, self._lane, through_seq=through, total=total, stream_seq=expected
        )
        log.error("the SaaS lost what it had stored", lane=self._lane, back_to=through, sent_again=again, gone=gone)
        self._expected = expected

    # -- sending ---------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Send batch after batch. Raises at the first one whose outcome is not a plain success."""
        batch: Batch | None = None
        unsettled: drain.Settlement | None = None
        try:
            while True:
                if batch is None:
                    if unsettled:
                        await self._settle(unsettled)
                        unsettled = None
                    batch = await self._next_batch()
                started = trio.current_time()
                outcome = await self._commit_and_look_ahead(batch, unsettled)
                unsettled = None
                self._pace.observe(batch.size, trio.current_time() - started, self._shares.slice(self._lane))
                unsettled, batch = outcome
                self._refusals = self._gaps = 0
        except Rejected as refusal:
            assert batch is not None
            await self._look_for_the_poison(batch, refusal)
        except BatchIncomplete as reason:
            assert batch is not None
            # A row that no stream takes leaves a gap, which looks the same as a batch that the server dropped.
            self._gaps += 1
            if len(batch.rows) == 1 and self._gaps < _GAPS_OF_ONE_ROW:
                raise
            await self._look_for_the_poison(batch, reason)
        finally:
            self._shares.leave(self._lane)

    async def _commit_and_look_ahead(
        self, batch: Batch, unsettled: drain.Settlement | None
    ) -> tuple[drain.Settlement, Batch | None]:
        """Commit `batch`; meanwhile settle the one before it, and read, claim and stage the one behind it."""
        checkpoint = batch.checkpoint
        ahead: list[Batch] = []
        failure: MraError | None = None

        async def look_ahead() -> None:
            nonlocal failure
            try:
                if following := await self._stage_behind(batch, unsettled):
                    ahead.append(following)
            except MraError as error:
                failure = failure or error
                meanwhile.cancel_scope.cancel()

        async with trio.open_nursery() as meanwhile:
            meanwhile.start_soon(look_ahead, name=f"{self._lane} look-ahead")
            try:
                stream_seq = await self._commit(batch, checkpoint)
            except MraError as error:
                failure = failure or error
                meanwhile.cancel_scope.cancel()
        if failure:
            raise failure
        self._expected = stream_seq
        self._status.count(len(batch.rows))
        return _settlement(checkpoint, stream_seq), (ahead[0] if ahead else None)

    async def _commit(self, batch: Batch, checkpoint: Checkpoint) -> int:
        if self._atomic:
            return await self._link.commit(batch, checkpoint, self._expected)
        await self._link.publish_singly(batch)
        return await self._link.put_checkpoint(self._lane, checkpoint, self._expected)

    async def _stage_behind(self, batch: Batch, unsettled: drain.Settlement | None) -> Batch | None:
        following: Batch | None = None
        if batch.may_continue and self._atomic:
            following = await self._read(
                batch.through_seq, previous=batch.through_seq, total_before=batch.total_before + len(batch.rows)
            )
        if unsettled or following:
            claim = _claim(batch.through_seq, following) if following else None
            if not await self._settle(unsettled, claim=claim):
                return None  # a row of it was shed since it was read: it is read again when its turn comes
        if following:
            await self._link.stage(following)
            _ = following.checkpoint  # its digest is ready when the commit before it is answered
        return following

    async def _next_batch(self) -> Batch:
        """Wait for rows behind the settled ones; return them claimed and staged."""
        while True:
            changed = self._outbox.changed(self._lane)
            here = await self._outbox.read(drain.state, self._lane)
            if here.epoch != self._epoch:
                raise CheckpointMoved(f"Lane {self._lane} was given a new epoch.")
            batch = await self._read(here.settled_through, previous=here.previous, total_before=here.epoch_total)
            if batch and await self._settle(None, claim=_claim(here.settled_through, batch)):
                break
            if batch:
                continue  # a row of it was shed since it was read
            self._shares.leave(self._lane)
            self._status.state = "idle"
            await changed.wait()
        self._shares.enter(self._lane)
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
        """Settle, claim, or both; return whether the claim holds."""
        return await self._outbox.run_unit(drain.advance, self._lane, settled=settled, claim=claim)

    # -- refusals --------------------------------------------------------------------------------------------------

    async def _look_for_the_poison(self, batch: Batch, refusal: MraError) -> None:
        """A row of the batch is refused: halve until it stands alone, then park it."""
        if len(batch.rows) > 1:
            self._pace.split(len(batch.rows))
            return
        # The batch before this one may be stored and not settled yet; a marker that forgot it would undo it.
        await self._reconcile()
        here = await self._outbox.read(drain.state, self._lane)
        if self._refusals >= _MANY_REFUSALS:
            self._refusals = 0
            raise Misconfigured(
                f"{_MANY_REFUSALS} rows of lane {self._lane} in a row were refused ({refusal}): the stream, not the"
                f" rows, seems to be set up wrongly; when it is mended, run `mra outbox requeue --lane {self._lane}`."
            )
        # Before a row is blamed, the lane itself has to work: a checkpoint alone must be taken.
        marker = _empty_checkpoint(here.epoch, here.settled_through if here.epoch_total else 0, here.epoch_total)
        try:
            await self._link.put_checkpoint(self._lane, marker, self._expected)
        except Rejected as reason:
            raise Misconfigured(f"The SaaS refuses even the checkpoints of lane {self._lane}: {reason}") from reason
        self._refusals += 1
        await self._park([batch.through_seq], str(refusal))

    async def _park(self, seqs: list[int], reason: str) -> None:
        moved = await self._outbox.run_unit(drain.park, self._lane, seqs, reason)
        if moved:
            log.error("rows parked", lane=self._lane, rows=moved, first=seqs[0], reason=reason)
            self._status.last_error = f"{moved} rows parked: {reason}"


def _claim(after: int, batch: Batch) -> drain.Claim:
    return drain.Claim(after, batch.through_seq, len(batch.rows))


def _settlement(checkpoint: Checkpoint, stream_seq: int) -> drain.Settlement:
    return drain.Settlement(checkpoint.epoch, checkpoint.through_seq, checkpoint.total, stream_seq)


def _empty_checkpoint(epoch: str, through_seq: int, total: int) -> Checkpoint:
    """A checkpoint that stores no rows: it proves that the lane's subject takes one, and where the SaaS stands."""
    return Checkpoint(epoch, through_seq + 1, through_seq, 0, total, 0, "")


__all__ = ["LaneDrain", "LaneStatus", "kind_of"]
