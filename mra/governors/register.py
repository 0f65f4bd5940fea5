"""Where slots are kept: at the SaaS, reached over one session of the customer's account, whose imports add its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mra.errors import LinkLost, Misconfigured, Refused, Unavailable
from mra.governors.slots import Capacity, Slot, decode_capacity, slot_headers, slot_of
from mra.uplink.answers import stream_sequence

if TYPE_CHECKING:
    from mra.aio.session import Message, Session


class Slots(Protocol):
    """Where slots are kept; `Register` is the SaaS's place."""

    async def capacity(self, governor: str, /) -> Capacity:
        """See `Register.capacity`."""

    async def look(self, governor: str, number: int, /) -> Slot | None:
        """See `Register.look`."""

    async def put(self, governor: str, number: int, body: bytes, /, *, owner: str, lease: int, expected: int) -> int:
        """See `Register.put`."""


class Register:
    """Reads and changes slots. Every method raises LinkLost when no answer comes: what was sent may have its effect."""

    def __init__(self, session: Session, *, patience: float = 10.0) -> None:
        self._session = session
        self._patience = patience

    async def capacity(self, governor: str) -> Capacity:
        """What the SaaS says of a governor. Raises Refused when there is none of that name, Unavailable, BadInput."""
        answer = await self._read(f"{governor}.capacity")
        if answer is None:
            raise Refused(f"The SaaS has no governor {governor}: create it with `mra saas governors set`.")
        return decode_capacity(governor, answer.body)

    async def look(self, governor: str, number: int) -> Slot | None:
        """A slot as it is, or was a moment ago; None for one that nobody holds or held lately."""
        answer = await self._read(f"{governor}.slot.{number}")
        if answer is None:
            return None
        slot = slot_of(number, answer.headers, answer.body)
        if slot is None:
            raise LinkLost(f"The SaaS's answer about governor {governor} carries no stream sequence.")
        return slot

    async def put(self, governor: str, number: int, body: bytes, *, owner: str, lease: int, expected: int) -> int:
        """Change a slot whose last message is at `expected` (0: there is none); returns the sequence it has then.

        Raises CheckpointMoved when someone was faster, Unavailable, or Misconfigured for a stream that cannot do this.
        """
        answer = await self._session.request(
            f"machine_room.governors.{governor}.slot.{number}",
            body,
            patience=self._patience,
            headers=slot_headers(owner, lease, expected),
        )
        return stream_sequence(answer)

    async def _read(self, name: str) -> Message | None:
        answer = await self._session.request(f"machine_room.read.governors.{name}", patience=self._patience)
        if answer.status == "404":
            return None
        if answer.status == "503":
            raise Unavailable("The SaaS offers no governors to this account: its import or stream is missing.")
        if answer.status:
            raise Misconfigured(f"The SaaS answered {answer.status} when asked for a governor: check its stream.")
        return answer
