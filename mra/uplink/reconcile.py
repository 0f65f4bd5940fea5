"""Our marks against the SaaS's newest checkpoint: what is stored, and what to do about it. Pure.

checkpoint of the SaaS                                       verdict
-----------------------------------------------------------  -----------------------------------------------------
none, and we never settled a row there                       InStep: expect 0
none, though we did                                          Behind: wiped, or restored from before our time
of our epoch, ends where we do                               InStep
of our epoch, ends later, made of our rows, none left out    Ahead: an answer was lost; settle up to there
of our epoch, ends earlier                                   Behind: the SaaS lost its tail
of another epoch, and we took over from it already           InStep
of another epoch, ends later, made of our waiting rows       Ahead: sent from a copy of this database; settle, new epoch
of another epoch, made of our rows, older than what we know  Behind: restored from before a change of epoch
of another epoch, and we never wrote, not into a file either Adopt: the agent was installed anew
anything else                                                Foreign: someone else writes under our name

A stream sequence only grows while a stream lives, so a newest checkpoint with a smaller one than we were told before
means that the stream went back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mra.outbox.lanes import LaneState
    from mra.uplink.checkpoint import Checkpoint, Stored


@dataclass(frozen=True)
class InStep:
    """Go on; the next checkpoint expects `expected`."""

    expected: int


@dataclass(frozen=True)
class Ahead:
    """Settle what the checkpoint proves, then go on; under a new epoch unless it is of ours."""

    stored: Stored


@dataclass(frozen=True)
class Behind:
    """The SaaS may have gone back to `stored` (None: to nothing); confirm it by compare-and-swap, then rewind.

    `total` rows of our epoch are left there.
    """

    stored: Stored | None
    total: int


@dataclass(frozen=True)
class Adopt:
    """Go on behind a checkpoint that is not ours, because this database never wrote here."""

    stored: Stored


@dataclass(frozen=True)
class Foreign:
    """Another writer has this name; writing on would store rows twice or out of order."""

    stored: Stored
    reason: str


Verdict = InStep | Ahead | Behind | Adopt | Foreign


@dataclass(frozen=True)
class Likeness:
    """What our own rows say about a checkpoint. Row ids are random, so equal digests are proof."""

    is_ours: bool = False  # the rows of its batch are here, bit for bit
    unsettled: int = 0  # rows here behind `settled_through` and up to the checkpoint's end


def needs_likeness(here: LaneState, stored: Stored | None) -> bool:
    """Whether the verdict depends on our rows."""
    if stored is None or stored.checkpoint.count == 0:
        return False
    return stored.checkpoint.epoch != here.epoch or stored.checkpoint.through_seq > here.settled_through


def judge(here: LaneState, stored: Stored | None, likeness: Likeness) -> Verdict:
    """The verdict. `likeness` matters where `needs_likeness` says so."""
    if stored is None:
        return Behind(None, total=0) if here.settled_through > here.based_at else InStep(0)
    if stored.checkpoint.epoch == here.epoch:
        return _judge_ours(here, stored, likeness)
    return _judge_others(here, stored, likeness)


def _judge_ours(here: LaneState, stored: Stored, likeness: Likeness) -> Verdict:
    checkpoint = stored.checkpoint
    if checkpoint.through_seq == here.settled_through:
        return InStep(stored.stream_seq)
    if checkpoint.through_seq < here.settled_through:
        return Behind(stored, checkpoint.total)
    if not _is_proof(checkpoint, likeness):
        return Foreign(stored, f"it covers rows up to {checkpoint.through_seq} that this database did not send")
    # Two batches may wait to be settled, and the digest speaks of the second only; the total counts both.
    if checkpoint.total - here.epoch_total < likeness.unsettled:
        return Foreign(stored, f"its writer left out rows before {checkpoint.through_seq} that wait here")
    return Ahead(stored)


def _judge_others(here: LaneState, stored: Stored, likeness: Likeness) -> Verdict:
    checkpoint = stored.checkpoint
    wrote_nothing = here.epoch_total == 0
    if wrote_nothing and here.checkpoint_seq == stored.stream_seq:
        return InStep(stored.stream_seq)
    if _is_proof(checkpoint, likeness):
        # Nothing is known of rows before its last batch: that writer may have shed them.
        if checkpoint.through_seq > here.settled_through and likeness.unsettled <= checkpoint.count:
            return Ahead(stored)
        if checkpoint.through_seq < here.settled_through and stored.stream_seq < here.checkpoint_seq:
            return Behind(stored, total=0)
    # A file of ours may have been stored, and another writer's rows behind it: that is for people to judge.
    is_new = wrote_nothing and here.checkpoint_seq == 0 and here.exported_through <= here.settled_through
    if is_new:
        return Adopt(stored)
    return Foreign(stored, "its epoch is not this database's")


def _is_proof(checkpoint: Checkpoint, likeness: Likeness) -> bool:
    return checkpoint.count > 0 and likeness.is_ours
