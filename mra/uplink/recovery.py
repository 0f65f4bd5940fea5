"""After every connect and everything unclear: learn what the SaaS holds, and bring the lane's marks in line with it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mra.errors import Fenced
from mra.log import logger
from mra.outbox import drain
from mra.uplink.checkpoint import Checkpoint
from mra.uplink.likeness import compare
from mra.uplink.reconcile import Adopt, Ahead, Behind, Foreign, InStep, Likeness, judge, needs_likeness

if TYPE_CHECKING:
    from mra.outbox.lanes import LaneState
    from mra.outbox.outbox import Outbox
    from mra.outbox.record import Lane
    from mra.uplink.checkpoint import Stored
    from mra.uplink.link import Link

log = logger("uplink")


@dataclass(frozen=True)
class Position:
    """Where a lane goes on: what its next checkpoint expects, and how the lane stands in the database."""

    expected: int
    epoch: str
    held: str | None


async def recover(lane: Lane, outbox: Outbox, link: Link) -> Position:
    """Settle what is provably stored, go back where the SaaS did, and return where to go on.

    Claims stay: a batch sent over an earlier connection may still arrive, as long as no later checkpoint was accepted.
    Raises Fenced when another writer has this lane's name, CheckpointMoved when the answer was a stale one.
    """
    stored = await link.read_checkpoint(lane)
    here = await outbox.read(drain.state, lane)
    likeness = Likeness()
    if stored is not None and needs_likeness(here, stored):
        likeness = await outbox.read(compare, here, stored.checkpoint)
    epoch = here.epoch
    match judge(here, stored, likeness):
        case InStep(expected):
            pass
        case Ahead(found):
            epoch = await _catch_up(outbox, here, found)
            expected = found.stream_seq
        case Behind(maybe, total):
            expected = await _rewind(outbox, link, here, maybe, total)
        case Adopt(found):
            epoch = _new_epoch()
            marker = marker_checkpoint(epoch, here.settled_through, 0)
            # A lagging replica may have told of a checkpoint that is no longer the newest; this is refused then.
            expected = await link.put_checkpoint(lane, marker, found.stream_seq)
            await _take_over(outbox, lane, found, epoch, expected)
        case Foreign(_, reason):
            raise Fenced(
                f"Lane {lane} is fenced: the checkpoint at the SaaS is another writer's ({reason}); stop the other"
                f" agent of this name, then run `mra outbox adopt {lane}`."
            )
    return Position(expected, epoch, here.held)


async def _catch_up(outbox: Outbox, here: LaneState, found: Stored) -> str:
    """An answer was lost, the rows were not. Returns the epoch to go on in."""
    checkpoint = found.checkpoint
    log.info("an answer was lost, the rows were not", lane=here.name, through=checkpoint.through_seq)
    is_ours = checkpoint.epoch == here.epoch
    total = checkpoint.total if is_ours else 0
    settled = drain.Settlement(checkpoint.epoch, checkpoint.through_seq, total, found.stream_seq)
    await outbox.run_unit(drain.advance, here.name, settled=settled)
    if is_ours:
        return here.epoch
    epoch = _new_epoch()
    await _take_over(outbox, here.name, found, epoch, found.stream_seq)
    return epoch


def _new_epoch() -> str:
    """A name for a lane's numbering that nobody else gives."""
    return os.urandom(8).hex()


async def _take_over(outbox: Outbox, lane: Lane, found: Stored, epoch: str, stream_seq: int) -> None:
    """Begin a new epoch behind a checkpoint of another one."""
    detail = f"took over from epoch {found.checkpoint.epoch}, which ended at {found.checkpoint.through_seq}"
    await outbox.run_unit(drain.adopt, lane, epoch=epoch, stream_seq=stream_seq, actor="uplink", detail=detail)


async def _rewind(outbox: Outbox, link: Link, here: LaneState, stored: Stored | None, total: int) -> int:
    """Confirm by compare-and-swap that the SaaS went back (a lagging replica would refuse); then rows wait again."""
    through = stored.checkpoint.through_seq if stored else here.based_at
    marker = marker_checkpoint(here.epoch, through, total)
    expected = await link.put_checkpoint(here.name, marker, stored.stream_seq if stored else 0)
    again, gone = await outbox.run_unit(drain.rewind, here.name, through_seq=through, total=total, stream_seq=expected)
    log.error("the SaaS lost what it had stored", lane=here.name, back_to=through, sent_again=again, gone=gone)
    return expected


def marker_checkpoint(epoch: str, through_seq: int, total: int) -> Checkpoint:
    """A checkpoint that stores no rows.

    Accepted, it proves that the lane's subject takes one, and that nothing sent before it can still arrive.
    """
    return Checkpoint(epoch, through_seq + 1, through_seq, 0, total, 0, "")
