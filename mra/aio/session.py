"""One NATS connection in Trio's voice.

A session never reconnects: nats-py's own reconnecting closes for good on expired credentials, hangs on half-open TCP
and re-sends publishes that the caller has given up. Whoever needs the SaaS opens a session, and opens another when
this one is lost. Writes hand whole frames to the transport in one go; replies come back through one inbox.
"""

from __future__ import annotations

import itertools
import os
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import trio
from nats.errors import Error as NatsError

from mra.aio.connection import Access as Access
from mra.aio.connection import Connection, open_connection
from mra.aio.connection import CredentialsRefused as CredentialsRefused
from mra.aio.loop import Loop, open_loop
from mra.aio.messages import Message as Message
from mra.aio.messages import NoAnswer as NoAnswer
from mra.aio.messages import Reply as Reply
from mra.aio.messages import frame as frame
from mra.aio.messages import message_of
from mra.errors import LinkLost, Misconfigured
from mra.log import logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from nats.aio.msg import Msg

log = logger("link")


class Silent(LinkLost):
    """The connection stands, and nothing is heard: dead, or slower than we were patient."""


class Session:
    """An open connection; see `open_session`."""

    def __init__(self, loop: Loop, connection: Connection, inbox: str, lost: trio.Event, peer: str) -> None:
        self.peer = peer
        self._loop = loop
        self._connection = connection
        self._inbox = inbox
        self._numbers = itertools.count(1)
        self._replies: dict[str, Reply] = {}
        self._feeds: set[str] = set()
        self._deaf: Misconfigured | None = None
        self.lost = lost

    @property
    def max_payload(self) -> int:
        """Bytes of headers and body together that the server takes from this account in one message."""
        return int(self._connection.max_payload)

    @property
    def address(self) -> str:
        """Host and port of the server at the other end, as they were given; empty when the connection is over."""
        url = self._connection.connected_url
        return str(url.netloc) if url else ""

    @property
    def server(self) -> str:
        """Version and address of the server at the other end."""
        return f"{self._connection.connected_server_version} at {self.address or '?'}"

    def why_lost(self) -> LinkLost:
        """What ended the connection, as far as it is known."""
        reason = self._connection.last_error
        return LinkLost(f"The connection to {self.peer} is lost" + (f" ({reason})." if reason else "."))

    async def send(self, wire: bytes) -> None:
        """Hand whole protocol frames to the connection; returns when the transport has taken them.

        Raises LinkLost when the connection is gone, Misconfigured when no answer could ever come back. Cancelling may
        leave the frames sent or not.
        """
        if self._deaf:
            raise self._deaf
        if self.lost.is_set() or not self._connection.is_connected:
            raise self.why_lost()
        try:
            await self._loop.call(self._connection.write, wire)
        except (NatsError, OSError, trio.BrokenResourceError) as error:
            raise LinkLost(f"The connection to {self.peer} broke while sending ({error}).") from error

    def open_reply(self, asks: str = "") -> Reply:
        """An inbox subject for one exchange about `asks`; give it to `forget` when the exchange is over."""
        token = f"{next(self._numbers):x}"
        reply = Reply(f"{self._inbox}.{token}", asks, self.peer)
        self._replies[token] = reply
        return reply

    def forget(self, reply: Reply) -> None:
        """Drop what still arrives for `reply`."""
        self._replies.pop(reply.subject.rpartition(".")[2], None)

    @contextmanager
    def reply(self, asks: str = "") -> Iterator[Reply]:
        """`open_reply` for the length of a block."""
        reply = self.open_reply(asks)
        try:
            yield reply
        finally:
            self.forget(reply)

    async def request(self, subject: str, body: bytes = b"", *, patience: float, headers: bytes = b"") -> Message:
        """Send one message and return the first answer to it. Raises LinkLost, Misconfigured."""
        with self.reply(subject) as reply:
            await self.send(frame(subject, reply.subject, headers, body))
            return await reply.receive(patience)

    async def subscribe(self, subject: str, receive: Callable[[Message], object], *, queue: str = "") -> None:
        """Call `receive` (which must not block) for every message on `subject` until the session ends.

        Of the subscribers that share a `queue` each message reaches one.
        """

        async def callback(raw: Msg) -> None:
            receive(message_of(raw))

        self._feeds.add(subject.lower())
        try:
            await self._loop.call(self._connection.subscribe, subject, queue, cb=callback)
        except (NatsError, OSError, trio.BrokenResourceError) as error:
            raise LinkLost(f"Subscribing to {subject} failed ({error}).") from error

    def deliver(self, message: Message) -> None:
        """Route an answer to whoever waits for it; late ones are dropped."""
        reply = self._replies.get(message.subject.rpartition(".")[2])
        if reply is not None:
            reply.put(message)

    def complain(self, problem: str) -> None:
        """The server refused something: whoever asked for it is told, or everyone who waits when that is unclear."""
        log.once_per(60, f"{self.peer} refuses a permission", problem=problem)
        error = Misconfigured(f"This agent may not do that, says {self.peer} ({problem}): check its account there.")
        for reply in self._concerned(problem.partition('"')[2].partition('"')[0].lower(), error):
            reply.put(error)

    def _concerned(self, refused: str, error: Misconfigured) -> list[Reply]:
        """Exchanges that the refusal of a subject (in lower case, as nats-py gives it) is about."""
        waiting = list(self._replies.values())
        if refused.startswith(self._inbox.lower()):
            self._deaf = error
            return waiting
        if not refused:
            return waiting
        if refused in self._feeds:
            return []  # nobody waits for a feed
        return [reply for reply in waiting if reply.concerns(refused)] or [one for one in waiting if not one.asks]

    async def round_trip(self, patience: float) -> None:
        """Prove that the connection is alive. Raises LinkLost at once when it is over, Silent after `patience`."""
        heard = False

        async def ping() -> None:
            nonlocal heard
            try:
                await self._loop.call(self._connection.flush, timeout=patience + 1)
                heard = True
            except (NatsError, OSError, trio.BrokenResourceError):
                self.lost.set()
            nursery.cancel_scope.cancel()

        with trio.move_on_after(patience):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ping)
                await self.lost.wait()
                nursery.cancel_scope.cancel()
        if self.lost.is_set():
            raise self.why_lost()
        if not heard:
            raise Silent(f"Nothing was heard from {self.peer} for {patience:g} s.")

    async def keep_alive(self, interval: float) -> LinkLost:
        """Return why, when the connection is lost; a silent one is found within two intervals."""
        while True:
            with trio.move_on_after(interval):
                await self.lost.wait()
                return self.why_lost()
            try:
                await self.round_trip(interval)
            except LinkLost as reason:
                self.lost.set()
                return reason


@asynccontextmanager
async def open_session(access: Access) -> AsyncIterator[Session]:
    """Connect once, and close within a second when the block is left, whatever the state of the network.

    Raises LinkLost when no server answers, Misconfigured when one refuses who we are; like everything that leaves the
    block, they come in an exception group, because the loop's nursery stands around it.
    """
    gone = trio.Event()
    session: Session | None = None

    async def on_error(error: Exception) -> None:
        text = str(error)
        if session is not None and "permissions violation" in text.lower():
            session.complain(text)
        else:
            log.once_per(60, "error from the NATS client", error=f"{type(error).__name__} {text}")

    async with (
        open_loop() as loop,
        open_connection(loop, access, on_error=on_error, on_gone=gone.set) as connection,
    ):
        inbox = f"_INBOX.{access.name}.{os.urandom(8).hex()}"
        session = Session(loop, connection, inbox, gone, access.peer)
        await session.subscribe(f"{inbox}.*", session.deliver)
        yield session
