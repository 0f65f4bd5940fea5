"""The answer to a sealed file: what the SaaS holds, signed there, settled at the site without a link.

An answer is one JSON document: the text that is signed, and the signature. It names the file that it answers and the
newest checkpoint of each of the file's lanes, as stored; the site settles by the uplink's own rules, as if it had read
these checkpoints itself.

A file is answered once: the outbox forgets it with the settlement, and with everything after which an old answer would
be wrong (a rewind, a new epoch). So an answer cannot be replayed, and an old one proves nothing about a SaaS that has
lost rows since.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from mra.errors import BadInput, Refused
from mra.outbox import drain, exports, lanes
from mra.sealed.contents import Answer
from mra.uplink.likeness import compare
from mra.uplink.reconcile import Ahead, Behind, InStep, judge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mra.outbox.record import Lane
    from mra.outbox.sqlite import Connection
    from mra.sealed.contents import Header
    from mra.sealed.keys import SealingKey, SealingSecret
    from mra.uplink.checkpoint import Stored

LARGEST = 64 * 1024  # bytes of an answer
_SIGNED = b"mra sealed file acknowledgement v1\n"
_KIND = "mra-ack-1"


class _Letter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    answer: str  # JSON, exactly as it was signed
    signature: str


class Settled(NamedTuple):
    """What an answer has done to one lane: rows delivered by it, and up to which row the lane is settled now."""

    rows: int
    through_seq: int


def write_answer(
    header: Header, customer: str, checkpoints: Mapping[Lane, Stored | None], secret: SealingSecret
) -> bytes:
    """The acknowledgement of a file whose lanes now stand at `checkpoints`."""
    stored = {lane: found for lane, found in checkpoints.items() if found}
    answer = msgspec.json.encode(Answer(header.file, header.agent, customer, time.time_ns(), stored))
    letter = _Letter(_KIND, answer.decode(), secret.sign(_SIGNED + answer).hex())
    return msgspec.json.encode(letter) + b"\n"


def read_answer(raw: bytes, key: SealingKey) -> Answer:
    """What the SaaS of `key` has said. Raises BadInput for another kind of file, Refused for a forged one."""
    try:
        letter = msgspec.json.decode(raw, type=_Letter)
        signature = bytes.fromhex(letter.signature)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadInput(
            f"The file holds no acknowledgement ({str(error)[:100]!r}): `mra saas import --ack` makes one."
        ) from error
    if letter.kind != _KIND:
        raise Refused("The acknowledgement has a format that this program does not know: install a newer mra.")
    key.verify(_SIGNED + letter.answer.encode(errors="surrogatepass"), signature)
    try:
        return msgspec.json.decode(letter.answer, type=Answer)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refused(f"The acknowledgement makes no sense ({error}): install a newer mra.") from error


def settle(connection: Connection, answer: Answer, *, agent: str, customer: str) -> dict[Lane, Settled]:
    """Settle what the answer proves, and forget the file that it answers.

    `customer` is empty where the site does not know its own. Each lane settles in a transaction of its own; after a
    kill in between, the same answer settles the rest. Raises Refused, and changes nothing, for another agent's answer,
    for one that came before or is older than what is known, and for one that is not about this outbox's rows.
    """
    if answer.agent != agent or (customer and answer.customer != customer):
        raise Refused(f"The acknowledgement is for {answer.agent} of {answer.customer}, and this is {agent}.")
    waiting = exports.lanes_of(connection, answer.file)
    if not waiting:
        raise Refused(
            f"No answer to file {answer.file} is waited for: it was settled before, or its lanes were set up anew."
        )
    settlements = {
        lane: settlement
        for lane, stored in answer.lanes.items()
        if lane in waiting and (settlement := _judge(connection, lane, stored))
    }
    done = {lane: _settle(connection, lane, settlement) for lane, settlement in settlements.items()}
    exports.answer(connection, answer.file)
    return done


def _judge(connection: Connection, lane: Lane, stored: Stored) -> drain.Settlement | None:
    """What there is to settle; None when the lane has come as far by itself."""
    here = lanes.load(connection, lane)
    found = stored.checkpoint
    verdict = judge(here, stored, compare(connection, here, found))
    if found.epoch == here.epoch:
        match verdict:
            case Ahead():
                return drain.Settlement(found.epoch, found.through_seq, found.total, stored.stream_seq)
            case InStep():
                return None
            case Behind() if stored.stream_seq < here.checkpoint_seq:
                return None  # the link has told more since
            case _:
                pass
    raise Refused(
        f"The acknowledgement says that lane {lane} ends with row {found.through_seq} of epoch {found.epoch}, which"
        " does not fit this outbox: it is of a copy, or the SaaS lost rows; let the agent come online."
    )


def _settle(connection: Connection, lane: Lane, settlement: drain.Settlement) -> Settled:
    before = lanes.load(connection, lane)
    drain.advance(connection, lane, settled=settlement)
    after = lanes.load(connection, lane)
    return Settled(after.delivered - before.delivered, after.settled_through)
