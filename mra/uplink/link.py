"""The seam between a lane and the SaaS. `jetstream.py` is the real thing; tests hold a fake to the same contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mra.outbox.record import Lane
    from mra.uplink.batch import Batch
    from mra.uplink.checkpoint import Checkpoint, Stored


class Link(Protocol):
    """What a lane needs of the SaaS.

    Every method may raise LinkLost, or StreamAway when one stream keeps silent: its effect is then unclear. Every
    method may raise Misconfigured.
    """

    @property
    def max_payload(self) -> int:
        """Bytes of headers and body together that one message may have."""

    async def read_checkpoint(self, lane: Lane) -> Stored | None:
        """The lane's newest checkpoint, None when there is none."""

    async def stage(self, batch: Batch) -> None:
        """Hand over the rows of an atomic batch; nothing is stored before its commit."""

    async def commit(self, batch: Batch, checkpoint: Checkpoint, expected: int) -> int:
        """Store a staged batch and its checkpoint, all or nothing; return the checkpoint's stream sequence.

        Raises CheckpointMoved when the newest checkpoint is not at `expected`, NoRoom, TooManyRows, NotAtomic; Rejected
        or BatchIncomplete when a row of the batch can never be stored; BatchIncomplete also for a batch that the SaaS
        has forgotten, or that was staged before the checkpoint was read.
        """

    async def put_checkpoint(self, lane: Lane, checkpoint: Checkpoint, expected: int) -> int:
        """Store a checkpoint alone, by compare-and-swap; return its stream sequence."""

    async def publish_singly(self, batch: Batch) -> None:
        """Store the rows one by one, in order, for streams without atomic batches."""
