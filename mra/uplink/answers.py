"""What an answer of JetStream means for us, decided once. Pure.

Codes are those of nats-server's `server/errors.json`; which class each belongs to is our decision. Rows carry no
`Nats-` header of their own, so a complaint about such a header is about our checkpoint, hence about the stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from mra.errors import LinkLost, Misconfigured, MraError, Rejected, Unavailable

if TYPE_CHECKING:
    from mra.aio.session import Message


class CheckpointMoved(Unavailable):
    """The compare-and-swap failed: read the checkpoint, then go on from what it says."""


class NoRoom(Unavailable):
    """The SaaS cannot take more just now (storage or batch limits): everything is kept, try later."""


class StreamAway(Unavailable):
    """No leader of the stream answers: it is missing, has none just now, or is out of this server's reach."""


class BatchIncomplete(Unavailable):
    """The SaaS forgot or never had part of the batch: send it whole, under a new name."""


class TooManyRows(Unavailable):
    """The SaaS takes fewer rows in one batch."""


class NotAtomic(Unavailable):
    """The stream takes no atomic batches: publish one by one."""


_MOVED = frozenset({10070, 10071, 10164})
_AWAY = frozenset({10008, 10009})
_NO_ROOM = frozenset({10002, 10023, 10028, 10035, 10047, 10077, 10118, 10122, 10163, 10194, 10210, 10211})
_UNCLEAR = frozenset({10158})  # a replica still works on an earlier message of the same id
_INCOMPLETE = frozenset({10175, 10176, 10179, 10200, 10201, 10208})
_TOO_MANY = frozenset({10199})
_NOT_ATOMIC = frozenset({10174, 10198})
_SET_UP = frozenset({10039, 10059, 10060, 10076, 10109, 10111, 10165, 10166, 10169, 10205})


class _Refusal(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    stream: str = ""
    seq: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    batch: str | None = None
    count: int | None = None
    error: _Refusal | None = None


def stream_sequence(answer: Message) -> int:
    """The stream sequence that a publish acknowledgement names. Raises what the answer means otherwise.

    A duplicate is a success. Anything that is not a well-formed acknowledgement is an error, never a success.
    """
    return _acknowledgement(answer).seq


def committed_sequence(answer: Message, batch_id: str, messages: int) -> int:
    """The same for the commit of an atomic batch, whose acknowledgement must name it and count its messages.

    Raises NotAtomic for one that does not: that server has stored a single message and knows nothing of batches.
    """
    found = _acknowledgement(answer)
    if (found.batch, found.count) != (batch_id, messages):
        raise NotAtomic("The SaaS stores the messages of a batch one by one: its nats-server is older than 2.12.")
    return found.seq


def _acknowledgement(answer: Message) -> _Answer:
    if answer.status == "503":
        raise StreamAway("No stream of the SaaS takes this subject: it is missing, or its leader is away.")
    try:
        found = msgspec.json.decode(answer.body, type=_Answer)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as cause:
        raise LinkLost(_NO_ACKNOWLEDGEMENT.format(answer.body[:80])) from cause
    if found.error is not None:
        raise meaning(found.error.err_code, found.error.code, found.error.description)
    if not found.stream or not found.seq:
        raise LinkLost(_NO_ACKNOWLEDGEMENT.format(answer.body[:80]))
    return found


_NO_ACKNOWLEDGEMENT = "The SaaS answered with something that is no acknowledgement: {!r}."


def meaning(err_code: int, code: int, description: str) -> MraError:
    """The error of ours that stands for a JetStream error."""
    text = f"{description} ({err_code})"
    if err_code in _MOVED:
        return CheckpointMoved(f"The lane's checkpoint is not the one expected: {text}.")
    if err_code in _AWAY:
        return StreamAway(f"The SaaS's servers do not find together just now: {text}.")
    if err_code in _NO_ROOM:
        return NoRoom(f"The SaaS has no room just now: {text}; everything is kept and tried again.")
    if err_code in _UNCLEAR:
        return Unavailable(f"The SaaS has not decided yet: {text}; it is asked again.")
    if err_code in _INCOMPLETE:
        return BatchIncomplete(f"The batch did not arrive whole: {text}.")
    if err_code in _TOO_MANY:
        return TooManyRows(f"The SaaS takes smaller batches only: {text}.")
    if err_code in _NOT_ATOMIC:
        return NotAtomic(f"The stream takes no atomic batches: {text}.")
    if err_code in _SET_UP:
        return Misconfigured(f"The SaaS's stream is set up wrongly: {text}; see lab/streams for how it should be.")
    if code in (429, 500, 503):
        return NoRoom(f"The SaaS cannot take this just now: {text}.")
    return Rejected(f"The SaaS refuses this message: {text}.")
