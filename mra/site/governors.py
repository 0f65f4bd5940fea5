"""Governors of a site: the leader hands out the slots, so they are to be had while the SaaS is away.

A governor's number of slots is the SaaS's, and counts in each site by itself. The leader asks for it while it is
connected and keeps it. Slots are leases in its own tables. A leader that takes over hands out none for the length of a
lease, in which those of the leader before it end or are taken again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import trio

from mra.clock import NANOSECONDS, now
from mra.errors import BadInput, LinkLost, Refused, Unavailable
from mra.governors.register import Register
from mra.governors.slots import Capacity, Slot, check_capacity, check_name
from mra.outbox.elapsed import Elapsed, boot_of
from mra.outbox.transaction import transaction
from mra.site.words import PREFIX, Name, answer, decode, encode
from mra.uplink.answers import CheckpointMoved
from mra.uplink.checkpoint import Mark  # noqa: TC001 - msgspec reads it

if TYPE_CHECKING:
    from mra.aio.session import Session
    from mra.outbox.outbox import Outbox
    from mra.outbox.sqlite import Connection

VERB = "governor"
_PATIENCE = 5.0


class Question(msgspec.Struct, frozen=True):
    """What a node asks: the `capacity` of a governor, to `look` at a slot, or to `put` something there."""

    what: str
    governor: Name
    number: Mark = 0
    body: bytes = b""
    owner: str = ""
    lease: Mark = 0
    expected: Mark = 0


class Said(msgspec.Struct, frozen=True):
    """The answer: what of it is meant depends on the question; sequence 0 for a slot that nobody holds."""

    slots: Mark = 0
    lease: Mark = 0
    sequence: Mark = 0
    owner: str = ""
    holder: str = ""


@dataclass
class SlotDesk:
    """The leader's table of slots. Its methods are those of `Register`, for its own machines."""

    outbox: Outbox
    term: int
    saas: Session | None = None  # while there is one

    async def serve_saas(self, session: Session) -> None:
        """Know the SaaS's numbers over `session` until cancelled."""
        self.saas = session
        try:
            await trio.sleep_forever()
        finally:
            self.saas = None

    async def answer(self, follower: str, body: bytes) -> Said:
        """Answer a follower. Raises BadInput, CheckpointMoved, Refused, Unavailable."""
        asked = decode(body, Question)
        match asked.what:
            case "capacity":
                return Said(*await self.capacity(asked.governor))
            case "look":
                slot = await self.look(asked.governor, asked.number)
                return Said(0, 0, slot.sequence, slot.owner, slot.holder) if slot else Said()
            case "put":
                sequence = await self.put(
                    asked.governor, asked.number, asked.body,
                    owner=f"{follower}/{asked.owner}"[:200], lease=asked.lease, expected=asked.expected,
                )  # fmt: skip
                return Said(sequence=sequence)
            case _:
                raise BadInput(
                    f"A leader knows no {asked.what[:40]!r} of governors: install the same mra on all nodes."
                )

    async def capacity(self, governor: str) -> Capacity:
        """The number of slots, from the SaaS if it answers. Raises Refused for no such governor, Unavailable."""
        if self.saas is not None:
            try:
                found = await Register(self.saas, patience=_PATIENCE).capacity(check_name(governor))
            except Unavailable:
                pass
            else:
                await self.outbox.run_unit(_keep, governor, found, self.term)
                return found
        kept = await self.outbox.read(_kept, governor)
        if kept is None:
            raise Unavailable(f"The leader has never heard of governor {governor}, and the SaaS is out of reach.")
        if kept.term != self.term:  # this node led before, and another one since
            await self.outbox.run_unit(_keep, governor, kept.capacity, self.term)
        return kept.capacity

    async def look(self, governor: str, number: int) -> Slot | None:
        """A slot, None for one that nobody holds or held lately."""
        return await self.outbox.read(_look, governor, number)

    async def put(self, governor: str, number: int, body: bytes, *, owner: str, lease: int, expected: int) -> int:
        """Change a slot, by compare-and-swap. Raises CheckpointMoved, Unavailable while none may be handed out."""
        return await self.outbox.run_unit(_put, self.term, governor, number, body, owner, lease, expected)


class BusSlots:
    """The follower's side: `Register` over the bus."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._name = name

    async def capacity(self, governor: str) -> Capacity:
        """See `Register.capacity`."""
        said = await self._ask(Question("capacity", governor))
        return check_capacity(Capacity(said.slots, said.lease))

    async def look(self, governor: str, number: int) -> Slot | None:
        """See `Register.look`."""
        said = await self._ask(Question("look", governor, number))
        if not said.sequence:
            return None
        return Slot(number, said.sequence, said.owner.removeprefix(f"{self._name}/"), said.holder)

    async def put(self, governor: str, number: int, body: bytes, *, owner: str, lease: int, expected: int) -> int:
        """See `Register.put`."""
        return (await self._ask(Question("put", governor, number, body, owner, lease, expected))).sequence

    async def _ask(self, question: Question) -> Said:
        subject = f"{PREFIX}.{self._name}.{VERB}"
        message = await self._session.request(subject, encode(question), patience=_PATIENCE)
        if message.status:
            raise LinkLost("The bus of the site stands, and its leader is not there.")
        return answer(message.body, Said)


def _clock(connection: Connection) -> int:
    stamp = now()
    return boot_of(connection, stamp).elapsed(stamp)


def _keep(connection: Connection, governor: str, capacity: Capacity, term: int) -> None:
    with transaction(connection):
        found = connection.execute("SELECT term FROM site_governor WHERE name = ?", (governor,)).fetchone()
        if found is None or found[0] != term:
            # In the first term there was no leader before, so no slot of its can be held.
            open_at = _clock(connection) + (capacity.lease * NANOSECONDS if term > 1 else 0)
            connection.execute(
                "INSERT OR REPLACE INTO site_governor (name, slots, lease, term, open_at) VALUES (?, ?, ?, ?, ?)",
                (governor, *capacity, term, open_at),
            )
        else:
            connection.execute("UPDATE site_governor SET slots = ?, lease = ? WHERE name = ?", (*capacity, governor))


class _Kept(NamedTuple):
    """A capacity, and the term in which this node heard of it."""

    capacity: Capacity
    term: int


def _kept(connection: Connection, governor: str) -> _Kept | None:
    found = connection.execute("SELECT slots, lease, term FROM site_governor WHERE name = ?", (governor,)).fetchone()
    return _Kept(Capacity(*found[:2]), found[2]) if found else None


def _look(connection: Connection, governor: str, number: int) -> Slot | None:
    found = connection.execute(
        "SELECT sequence, owner, holder, until FROM site_slot WHERE governor = ? AND number = ?", (governor, number)
    ).fetchone()
    if found is None or found[3] <= _clock_as_read(connection):
        return None
    return Slot(number, found[0], found[1], found[2])


def _clock_as_read(connection: Connection) -> int:
    return Elapsed(connection, now()).now


def _put(
    connection: Connection, term: int, governor: str, number: int, body: bytes, owner: str, lease: int, expected: int
) -> int:
    with transaction(connection):
        known = connection.execute("SELECT term, open_at FROM site_governor WHERE name = ?", (governor,)).fetchone()
        if known is None:
            raise Refused(f"The leader knows no governor {governor}: ask for its capacity first.")
        here = _look(connection, governor, number)
        if (here.sequence if here else 0) != expected:
            raise CheckpointMoved(f"Slot {number} of governor {governor} was changed by somebody else.")
        if here and here.owner and here.owner != owner:
            raise CheckpointMoved(f"Slot {number} of governor {governor} is another's.")
        if body and here is None and (known[0] != term or _clock(connection) < known[1]):
            raise Unavailable(f"Slots of governor {governor} may still be held under the leader before: wait a lease.")
        sequence = connection.execute("SELECT coalesce(max(sequence), 0) + 1 FROM site_slot").fetchone()[0]
        holder = "".join(letter if letter.isprintable() else "?" for letter in body.decode("utf-8", "replace"))
        connection.execute(
            "INSERT OR REPLACE INTO site_slot (governor, number, sequence, owner, holder, until)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (governor, number, sequence, owner if body else "", holder[:400],
             _clock(connection) + max(1, min(lease, 86_400)) * NANOSECONDS),
        )  # fmt: skip
        return int(sequence)
