"""What a database's own rows say about a checkpoint. A reading unit of the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mra.outbox import drain, exports
from mra.uplink.pace import MAX_BYTES, MAX_ROWS
from mra.uplink.reconcile import Likeness

if TYPE_CHECKING:
    from mra.outbox.lanes import LaneState
    from mra.outbox.sqlite import Connection
    from mra.uplink.checkpoint import Checkpoint


def compare(connection: Connection, here: LaneState, checkpoint: Checkpoint) -> Likeness:
    """Look for the checkpoint's rows among ours; never more of them than a batch can have.

    Where some are missing, a sealed file of ours may have carried them: they were shed here before it arrived, and the
    SaaS has them.
    """
    if not _is_ours(connection, here, checkpoint):
        return Likeness()
    unsettled = drain.count_between(connection, here.name, here.settled_through, checkpoint.through_seq)
    return Likeness(is_ours=True, unsettled=unsettled)


def _is_ours(connection: Connection, here: LaneState, checkpoint: Checkpoint) -> bool:
    if not 0 < checkpoint.count <= MAX_ROWS:
        return False
    found = drain.read(connection, here.name, checkpoint.first_seq - 1, max_rows=checkpoint.count, max_bytes=MAX_BYTES)
    if not found.damaged and len(found.rows) == checkpoint.count and found.rows[-1].seq == checkpoint.through_seq:
        return drain.digest(found.rows) == checkpoint.digest
    return exports.wrote(
        connection, here.name, epoch=checkpoint.epoch, last_seq=checkpoint.through_seq,
        last_wall=checkpoint.created_through,
    )  # fmt: skip
