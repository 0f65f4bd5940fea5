"""Names, subjects, and what a capacity and a slot look like as messages. (pure)"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from mra.errors import BadInput

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping

STREAM: Final = "MACHINE_ROOM_GOVERNORS"
HOLDER_HEADER: Final = "Mra-Holder"  # the id of one claim; its holder's name is the body
EVICTOR: Final = "evicted"  # stands there instead when the slot was freed by force
MOST_SLOTS: Final = 1000
LONGEST_LEASE: Final = 86_400
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_WAITS_MS: Final = (750, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500, 5000)
_FIRST_WAIT: Final = 0.25
_LONGEST_HOLDER: Final = 400  # bytes; the stream takes small messages only


class Capacity(NamedTuple):
    """What the SaaS says of a governor: how many may hold it at once, and for how many seconds without a renewal."""

    slots: int
    lease: int


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot as the stream shows it. `owner` is the id of the claim that holds it, empty when it was given back."""

    number: int
    sequence: int
    owner: str
    holder: str
    since: str = ""  # when it was taken or last renewed, by the clock of the SaaS
    lease: int = 0  # s, from then on
    evicted: bool = False  # freed by force: the holder may not know yet


def check_name(text: str) -> str:
    """`text`, if a governor can have that name: one token of a subject, no wildcard. Raises BadInput."""
    if not _NAME.fullmatch(text):
        raise BadInput(f"{text[:80]!r} is no name of a governor: use 1 to 64 letters, digits, dashes or underscores.")
    return text


def check_capacity(capacity: Capacity) -> Capacity:
    """`capacity`, if it is within what agents accept. Raises BadInput."""
    if not 0 <= capacity.slots <= MOST_SLOTS or not 1 <= capacity.lease <= LONGEST_LEASE:
        raise BadInput(
            f"{capacity.slots} slots with a lease of {capacity.lease} s cannot be: use 0 to {MOST_SLOTS} slots and a "
            f"lease of 1 to {LONGEST_LEASE} seconds."
        )
    return capacity


def encode_capacity(capacity: Capacity) -> bytes:
    """The body of a capacity's message."""
    return msgspec.json.encode(check_capacity(capacity)._asdict())


def decode_capacity(governor: str, body: bytes) -> Capacity:
    """What a capacity's message says. Raises BadInput."""
    try:
        said = msgspec.json.decode(body, type=dict[str, int])
        return check_capacity(Capacity(said["slots"], said["lease"]))
    except (msgspec.MsgspecError, BadInput, KeyError, ValueError, RecursionError) as error:
        raise BadInput(f"The capacity of governor {governor} is garbled at the SaaS: set it again.") from error


def slot_of(number: int, headers: Mapping[str, str], body: bytes) -> Slot | None:
    """The slot that a message of the stream shows; None for a message without a sequence."""
    text = headers.get("Nats-Sequence", "")
    if len(text) > 19 or not text.isascii() or not text.isdigit():
        return None
    owner = headers.get(HOLDER_HEADER, "")[:64] or "?"  # who left its name away holds it all the same
    holder = "".join(letter if letter.isprintable() else "?" for letter in body.decode("utf-8", "replace"))
    return Slot(
        number,
        int(text),
        owner if body else "",
        holder,
        headers.get("Nats-Time-Stamp", ""),
        _lease_in(headers.get("Nats-TTL", "")),
        evicted=not body and owner == EVICTOR,
    )


def _lease_in(text: str) -> int:
    """The lease that `slot_headers` wrote; 0 for anything else."""
    digits = text.removesuffix("s")
    return int(digits) if len(digits) <= 5 and digits.isascii() and digits.isdigit() else 0


def slot_body(holder: str) -> bytes:
    """The body of a held slot's message."""
    return holder.encode("utf-8", "replace")[:_LONGEST_HOLDER] or b"?"


def slot_headers(owner: str, lease: int, expected: int) -> bytes:
    """Headers that store a slot for the length of a lease, if its last message is still at `expected`."""
    return (
        f"Nats-Expected-Last-Subject-Sequence:{expected}\r\nNats-TTL:{lease}s\r\n{HOLDER_HEADER}:{owner}\r\n"
    ).encode()


def waits(dice: random.Random) -> Iterator[float]:
    """Seconds between attempts, for ever: short at first, then up to five seconds, half as much either way."""
    yield _FIRST_WAIT
    for milliseconds in _WAITS_MS:
        yield _jittered(milliseconds, dice)
    while True:
        yield _jittered(_WAITS_MS[-1], dice)


def _jittered(milliseconds: int, dice: random.Random) -> float:
    return dice.uniform(0.5, 1.5) * milliseconds / 1000
