"""Messages of one session: how they are written, read, and waited for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import trio

from mra.errors import LinkLost, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nats.aio.msg import Msg


class NoAnswer(LinkLost):
    """A request was not answered in time; its outcome is unclear, and the connection may be alive or not."""


class Message(NamedTuple):
    """A message from the SaaS. `status` is the code of a status line ("404", "503"), empty otherwise."""

    subject: str
    body: bytes
    headers: Mapping[str, str]
    status: str
    reply: str = ""  # where the sender wants the answer; whoever answers has to check it first


@dataclass(eq=False)
class Reply:
    """A place where one or more answers will arrive."""

    subject: str
    asks: str = ""  # the subject that the exchange is about, or with a dot at its end what its subjects begin with
    peer: str = "the SaaS"  # who will answer
    _messages: list[Message | Misconfigured] = field(default_factory=list)
    _arrived: trio.Event = field(default_factory=trio.Event)

    def concerns(self, refused: str) -> bool:
        """Whether the refusal of a subject (in lower case) is about this exchange."""
        asks = self.asks.lower()
        return asks == refused or (asks.endswith(".") and refused.startswith(asks))

    def put(self, message: Message | Misconfigured) -> None:
        """Called by the session when something arrives."""
        self._messages.append(message)
        self._arrived.set()

    def poll(self) -> Message | None:
        """An answer that is here already, or None. Raises Misconfigured for a refused permission."""
        if not self._messages:
            return None
        message = self._messages.pop(0)
        if isinstance(message, Misconfigured):
            raise message
        return message

    async def receive(self, patience: float) -> Message:
        """The next answer. Raises NoAnswer after `patience` seconds, Misconfigured for a refused permission."""
        with trio.move_on_after(patience):
            while not self._messages:
                self._arrived = trio.Event()
                await self._arrived.wait()
        message = self.poll()
        if message is None:
            raise NoAnswer(f"No answer from {self.peer} within {patience:g} s: its outcome is unclear.")
        return message


def frame(subject: str, reply: str, headers: bytes, body: bytes) -> bytes:
    """One message in NATS's client protocol. `headers` are lines, each ending in CR LF."""
    if not headers:
        return b"PUB %s %s %d\r\n%s\r\n" % (subject.encode(), reply.encode(), len(body), body)
    block = b"NATS/1.0\r\n%s\r\n" % headers
    return b"HPUB %s %s %d %d\r\n%s%s\r\n" % (
        subject.encode(),
        reply.encode(),
        len(block),
        len(block) + len(body),
        block,
        body,
    )


def message_of(raw: Msg) -> Message:
    """A message as nats-py gives it, in our own terms."""
    headers = raw.headers or {}
    # Anyone may store a message with a header `Status`, which looks like the server's status line. The server's own
    # has no body, and is not from a stream.
    is_servers = not raw.data and "Nats-Sequence" not in headers
    return Message(raw.subject, raw.data, headers, headers.get("Status", "") if is_servers else "", raw.reply)
