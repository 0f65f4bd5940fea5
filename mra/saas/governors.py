"""Governors from the vendor's side: how many slots there are, who holds them, and taking them away.

`mra.governors` says what the stream holds. The account that owns it may write everything; a slot is changed by the
same compare-and-swap that agents use, so an eviction never hits whoever took the slot meanwhile.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mra.config.index import check_customer
from mra.errors import Refused, Unavailable
from mra.governors.events import governor_event
from mra.governors.slots import (
    EVICTOR,
    STREAM,
    Capacity,
    Slot,
    check_name,
    decode_capacity,
    encode_capacity,
    slot_headers,
    slot_of,
)
from mra.saas.streams import call_api
from mra.uplink.answers import CheckpointMoved, stream_sequence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mra.aio.session import Message, Session

_PATIENCE: Final = 10.0
_ATTEMPTS: Final = 5
_IDENTITY: Final = "saas"  # who evicts, in the event that tells of it


@dataclass
class Governor:
    """One governor of a customer and the slots that are held; `capacity` is None when only slots are left of it."""

    customer: str
    name: str
    capacity: Capacity | None = None
    held: list[Slot] = field(default_factory=list)


async def put(session: Session, customer: str, name: str, capacity: Capacity) -> None:
    """Create a governor or change it; what is held stays held. Raises BadInput, Unavailable, LinkLost."""
    subject = f"{_prefix(customer, name)}.capacity"
    stream_sequence(await session.request(subject, encode_capacity(capacity), patience=_PATIENCE))


async def remove(session: Session, customer: str, name: str) -> bool:
    """Remove a governor and its slots; returns whether there was one. Who needs it then fails at once."""
    prefix = _prefix(customer, name)
    purged = await call_api(session, f"STREAM.PURGE.{STREAM}", {"filter": f"{prefix}.capacity"})
    await call_api(session, f"STREAM.PURGE.{STREAM}", {"filter": f"{prefix}.>"})
    return bool(purged["purged"])


async def ls(session: Session, customer: str | None = None) -> list[Governor]:
    """Governors by customer and name, with the slots that are held. Raises BadInput, Unavailable, LinkLost."""
    found: dict[tuple[str, str], Governor] = {}
    slots: dict[
        tuple[str, str, int], Slot
    ] = {}  # one that changes while this reads comes up again, and the newest counts
    filter_ = f"machine_room.governors.{check_customer(customer) if customer else '*'}.>"
    async for message in _messages(session, filter_):
        words = message.headers.get("Nats-Subject", "").split(".")
        if len(words) not in (5, 6):
            continue
        governor = found.setdefault((words[2], words[3]), Governor(words[2], words[3]))
        if len(words) == 5:
            governor.capacity = decode_capacity(words[3], message.body)
        elif words[5].isdecimal() and (slot := slot_of(int(words[5]), message.headers, message.body)):
            slots[words[2], words[3], slot.number] = slot
    for (owner, name, _), slot in sorted(slots.items()):
        if slot.owner:
            found[owner, name].held.append(slot)
    return [found[key] for key in sorted(found) if found[key].capacity or found[key].held]


async def evict(session: Session, customer: str, name: str, numbers: frozenset[int] | None) -> list[Slot]:
    """Free slots, whoever holds them; returns those that were held. None stands for all of them.

    What their holders do goes on, and they are told when they renew; until the lease has ended, a slot freed so can be
    taken as a slot, and not as a seat of an election. Each eviction is reported as an event among the
    customer's. Raises Refused for a governor that does not exist, BadInput, Unavailable, LinkLost.
    """
    wanted = [each for each in await ls(session, customer) if each.name == check_name(name)]
    if not wanted:
        raise Refused(f"Customer {customer} has no governor {name}: `mra saas governors ls {customer}` lists them.")
    evicted = []
    for slot in wanted[0].held:
        if (numbers is None or slot.number in numbers) and await _free(session, customer, name, slot):
            await _tell(session, customer, name, slot)
            evicted.append(slot)
    return evicted


async def _free(session: Session, customer: str, name: str, slot: Slot) -> bool:
    """Free one slot unless its holder has left; a renewal that comes between is no reason to let it stay."""
    subject = f"{_prefix(customer, name)}.slot.{slot.number}"
    expected = slot.sequence
    for _ in range(_ATTEMPTS):
        headers = slot_headers(EVICTOR, max(1, slot.lease), expected)
        try:
            stream_sequence(await session.request(subject, b"", patience=_PATIENCE, headers=headers))
        except CheckpointMoved:
            answer = await session.request(f"$JS.API.DIRECT.GET.{STREAM}.{subject}", patience=_PATIENCE)
            now = None if answer.status else slot_of(slot.number, answer.headers, answer.body)
            if now is None or now.owner != slot.owner:
                return False
            expected = now.sequence
        else:
            return True
    raise Unavailable(f"Slot {slot.number} of {name} kept changing: look who holds it, then repeat.")


async def _tell(session: Session, customer: str, name: str, slot: Slot) -> None:
    draft = governor_event(_IDENTITY, _IDENTITY, name, slot.sequence, "eviction")
    subject = f"machine_room.events.{customer}.{draft.subject}"
    stream_sequence(await session.request(subject, draft.body, patience=_PATIENCE))


async def _messages(session: Session, filter_: str) -> AsyncIterator[Message]:
    following = 1
    while True:
        request = json.dumps({"seq": following, "next_by_subj": filter_}).encode()
        answer = await session.request(f"$JS.API.DIRECT.GET.{STREAM}", request, patience=_PATIENCE)
        if answer.status == "404":
            return
        if answer.status:
            raise Unavailable(f"The stream {STREAM} does not answer: use its owner's credentials, or create it.")
        yield answer
        following = int(answer.headers["Nats-Sequence"]) + 1


def _prefix(customer: str, name: str) -> str:
    return f"machine_room.governors.{check_customer(customer)}.{check_name(name)}"
