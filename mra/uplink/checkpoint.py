"""The checkpoint: the last message of every batch, and the whole memory of a lane at the SaaS. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from mra.errors import Misconfigured

if TYPE_CHECKING:
    from mra.outbox.record import Lane


# What SQLite can hold: a checkpoint with other numbers was not written by us, and must not reach the database.
Mark = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Moment = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Checkpoint(msgspec.Struct, frozen=True):
    """Rows `first_seq..through_seq` of `epoch` are stored; `total` rows of the epoch are, all told."""

    epoch: str
    first_seq: Mark
    through_seq: Mark
    count: Mark
    total: Mark
    created_through: Moment  # wall clock of the newest row, ns since 1970
    digest: str  # SHA-256, see mra.outbox.drain.digest


class Stored(msgspec.Struct, frozen=True):
    """A checkpoint as the SaaS holds it."""

    checkpoint: Checkpoint
    stream_seq: int


def encode(checkpoint: Checkpoint) -> bytes:
    """The message body."""
    return msgspec.json.encode(checkpoint)


def decode(body: bytes, stream_seq: int) -> Stored:
    """The stored checkpoint. Raises Misconfigured when somebody else wrote to its subject."""
    try:
        return Stored(msgspec.json.decode(body, type=Checkpoint), stream_seq)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Misconfigured(
            f"The checkpoint at stream sequence {stream_seq} is not one of mra's ({error}): find out who writes there."
        ) from error


def checkpoint_name(agent: str, lane: Lane) -> str:
    """Last word of the checkpoint's subject, and first word of each row's `Mra-Row` header."""
    return f"{agent}-{lane}"
