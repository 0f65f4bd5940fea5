"""One submitter's connection: requests and answers, one after the other, each in its time."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import trio

from mra.errors import BadInput, MraError, Unavailable
from mra.submit import protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from mra.outbox.record import Receipt

_SMALL: Final = 64 * 1024  # a longer request waits until no other long one of its user is in memory
_PIECE: Final = 64 * 1024
_FAREWELL_SECONDS: Final = 1.0


class Bounds(Protocol):
    """What a connection is allowed; `IntakeSettings` is one."""

    @property
    def max_payload(self) -> int: ...
    @property
    def request_seconds(self) -> float: ...
    @property
    def idle_seconds(self) -> float: ...


@dataclass(slots=True)
class User:
    """What one user takes up."""

    connections: int = 0
    long_request: trio.Lock = field(default_factory=trio.Lock)


class Connection:
    """Frames in, frames out."""

    def __init__(self, bounds: Bounds, stream: trio.SocketStream) -> None:
        self._bounds = bounds
        self._stream = stream

    async def serve(self, user: User, accept: Callable[[bytes], Awaitable[Receipt]]) -> None:
        """Answer requests until the submitter leaves or falls silent.

        Raises MraError for what cannot be followed (a request that is too long, or takes too long), and
        BrokenResourceError when the submitter leaves in the middle.
        """
        while first := await self._first_byte():
            answer = await self._answer(first, user, accept)
            with self._in_time():
                await self._stream.send_all(protocol.frame(answer))

    async def refuse(self, error: MraError) -> None:
        """Say why the connection ends, if the submitter still listens."""
        try:
            with trio.move_on_after(_FAREWELL_SECONDS):
                await self._stream.send_all(protocol.frame(protocol.encode_error(error)))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _first_byte(self) -> bytes:
        """The byte that starts a request; nothing when there will be none."""
        with trio.move_on_after(self._bounds.idle_seconds):
            return bytes(await self._stream.receive_some(1))
        return b""

    async def _answer(self, first: bytes, user: User, accept: Callable[[bytes], Awaitable[Receipt]]) -> bytes:
        with self._in_time():
            length = int.from_bytes(first + await self._read(protocol.LENGTH_BYTES - 1), "big")
        longest = protocol.longest_request(self._bounds.max_payload)
        if length > longest:
            raise BadInput(f"The request has {length} bytes: submit {longest} or fewer at once.")
        async with user.long_request if length > _SMALL else nullcontext():
            with self._in_time():
                document = await self._read(length)
            try:
                return protocol.encode_receipt(await accept(document))
            except MraError as refusal:
                return protocol.encode_error(refusal)

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Raise Unavailable when the block takes longer than a request may."""
        with trio.move_on_after(self._bounds.request_seconds) as scope:
            yield
        if scope.cancelled_caught:
            raise Unavailable(f"The request took more than {self._bounds.request_seconds:g} s: submit it again.")

    async def _read(self, count: int) -> bytes:
        """Exactly `count` bytes. Raises BrokenResourceError when the submitter leaves before."""
        found = bytearray()
        while len(found) < count:
            piece = await self._stream.receive_some(min(count - len(found), _PIECE))
            if not piece:
                raise trio.BrokenResourceError("the submitter left in the middle of a request")
            found += piece
        return bytes(found)
