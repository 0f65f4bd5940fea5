"""Our marks against the SaaS's newest checkpoint: what is stored, and what to do about it. Pure.

checkpoint of the SaaS                          verdict
----------------------------------------------  ------------------------------------------------
none, and none is expected                      InStep: expect 0
none, though we delivered                       Behind: wiped, restored from before our time
ends where we do                                InStep
ends later, its last batch is made of our rows  Ahead: an answer was lost; settle up to there
ends earlier, same epoch                        Behind: the SaaS lost its tail
other epoch, and we never wrote                 Adopt: the agent was installed anew
anything else                                   Foreign: someone else writes under our name
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mra.outbox.lanes import LaneState
    from mra.uplink.checkpoint import Stored


@dataclass(frozen=True)
class InStep:
    """Go on; the next checkpoint expects `expected`."""

    expected: int


@dataclass(frozen=True)
class Ahead:
    """Settle what the checkpoint proves, then go on."""

    stored: Stored


@dataclass(frozen=True)
class Behind:
    """The SaaS may have gone back to `stored` (None: to nothing); confirm it by compare-and-swap, then rewind."""

    stored: Stored | None


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


def needs_digest(here: LaneState, stored: Stored | None) -> bool:
    """Whether the verdict depends on our rows matching the checkpoint's digest."""
    if stored is None or stored.checkpoint.count == 0:
        return False
    checkpoint = stored.checkpoint
    return checkpoint.epoch != here.epoch or checkpoint.through_seq > here.settled_through


def judge(here: LaneState, stored: Stored | None, *, is_made_of_our_rows: bool) -> Verdict:
    """The verdict.

    `is_made_of_our_rows` matters where `needs_digest` says so: row ids are random, so a matching digest is proof.
    """
    if stored is None:
        return Behind(None) if here.epoch_total else InStep(0)
    checkpoint = stored.checkpoint
    if needs_digest(here, stored) and is_made_of_our_rows:
        return Ahead(stored)
    if checkpoint.epoch != here.epoch:
        if here.epoch_total == 0 and here.checkpoint_seq in (0, stored.stream_seq):
            return Adopt(stored)
        return Foreign(stored, "its epoch is not this database's")
    if checkpoint.through_seq > here.settled_through:
        return Foreign(stored, f"it covers rows up to {checkpoint.through_seq} that this database did not send")
    if checkpoint.through_seq < here.settled_through:
        return Behind(stored)
    return InStep(stored.stream_seq)
