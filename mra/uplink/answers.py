"""What an answer of JetStream means for us, decided once. Pure.

Codes are those of nats-server's `server/errors.json`; which class each belongs to is our decision.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mra.errors import LinkLost, Misconfigured, MraError, Rejected, Unavailable

if TYPE_CHECKING:
    from mra.aio.session import Message


class CheckpointMoved(Unavailable):
    """The compare-and-swap failed: read the checkpoint, then go on from what it says."""


class NoRoom(Unavailable):
    """The SaaS cannot take more just now (storage or batch limits): everything is kept, try later."""


class BatchIncomplete(Unavailable):
    """The SaaS forgot or never had part of the batch: send it whole, under a new name."""


class NotAtomic(Unavailable):
    """The stream takes no atomic batches: publish one by one."""


_MOVED = frozenset({10071, 10164, 10070})
_NO_ROOM = frozenset({10077, 10023, 10047, 10028, 10002, 10122, 10210, 10211, 10008, 10009, 10118, 10194, 10163, 10035})
_INCOMPLETE = frozenset({10176, 10208, 10201, 10175, 10179, 10200})
_NOT_ATOMIC = frozenset({10174, 10198})
_POISON = frozenset({10054, 10097, 10111, 10165, 10177, 10188, 10191, 10192, 10227, 10003})
_SET_UP = frozenset({10059, 10060, 10109, 10166, 10076, 10039, 10205})


def stream_sequence(answer: Message) -> int:
    """The stream sequence that a publish acknowledgement names. Raises what the answer means otherwise.

    A duplicate is a success. Anything that is not a well-formed acknowledgement is an error, never a success.
    """
    if answer.status == "503":
        raise Unavailable("No stream of the SaaS takes this subject: it is missing, or its leader is away.")
    try:
        found = json.loads(answer.body)
        error = found.get("error")
        if error is None:
            return int(found["seq"])
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise LinkLost(f"The SaaS answered with something that is no acknowledgement: {answer.body[:80]!r}.") from cause
    raise meaning(int(error.get("err_code", 0)), int(error.get("code", 0)), str(error.get("description", "")))


def meaning(err_code: int, code: int, description: str) -> MraError:
    """The error of ours that stands for a JetStream error."""
    text = f"{description} ({err_code})"
    if err_code in _MOVED:
        return CheckpointMoved(f"The lane's checkpoint is not the one expected: {text}.")
    if err_code in _NO_ROOM:
        return NoRoom(f"The SaaS has no room just now: {text}; everything is kept and tried again.")
    if err_code in _INCOMPLETE:
        return BatchIncomplete(f"The batch did not arrive whole: {text}.")
    if err_code in _NOT_ATOMIC:
        return NotAtomic(f"The stream takes no atomic batches: {text}.")
    if err_code in _POISON:
        return Rejected(f"The SaaS refuses this message: {text}.")
    if err_code in _SET_UP:
        return Misconfigured(f"The SaaS's stream is set up wrongly: {text}; see lab/streams for how it should be.")
    if code in (429, 500, 503):
        return NoRoom(f"The SaaS cannot take this just now: {text}.")
    return Rejected(f"The SaaS refuses this message: {text}.")
