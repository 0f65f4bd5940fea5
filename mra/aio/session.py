"""One NATS connection in Trio's voice.

A session never reconnects: nats-py's own reconnecting closes for good on expired credentials, hangs on half-open TCP
and re-sends publishes that the caller has given up. Whoever needs the SaaS opens a session, and opens another when
this one is lost. Writes hand whole frames to the transport in one go; replies come back through one inbox.
"""

from __future__ import annotations

import base64
import itertools
import os
import socket
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import trio
from nats.aio.client import Client
from nats.errors import Error as NatsError

from mra.aio.loop import Loop, open_loop
from mra.errors import LinkLost, Misconfigured
from mra.log import logger

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from nats.aio.msg import Msg

log = logger("link")
_USER_TIMEOUT_MS = 8000  # unsent bytes on a dead path end the connection after this
_CLOSE_SECONDS = 1.0


class CredentialsRefused(Misconfigured):
    """The server does not take us for who we say we are, or does not want us any more."""


@dataclass(frozen=True)
class Access:
    """Where the SaaS is and who we are there."""

    urls: tuple[str, ...]
    name: str
    user: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    user_jwt: Callable[[], bytes] | None = None  # read again for every connection, so that renewal needs no restart
    sign: Callable[[bytes], bytes] | None = None  # the server's nonce -> the 64 bytes of an Ed25519 signature
    token: Callable[[], str] | None = None  # for a server that asks an auth callout who we are ...
    nkey: str | None = None  # ... and the key that `sign` proves to own, when there is no user JWT yet
    connect_seconds: float = 5.0
    ping_seconds: float = 15.0


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
    asks: str = ""  # the one subject that the exchange is about, where there is one
    _messages: list[Message | Misconfigured] = field(default_factory=list)
    _arrived: trio.Event = field(default_factory=trio.Event)

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
        """The next answer. Raises LinkLost after `patience` seconds, Misconfigured for a refused permission."""
        with trio.move_on_after(patience):
            while not self._messages:
                self._arrived = trio.Event()
                await self._arrived.wait()
        message = self.poll()
        if message is None:
            raise LinkLost(f"No answer from the SaaS within {patience:g} s: its outcome is unclear.")
        return message


class Session:
    """An open connection; see `open_session`."""

    def __init__(self, loop: Loop, client: Client, inbox: str, lost: trio.Event) -> None:
        self._loop = loop
        self._client = client
        self._inbox = inbox
        self._numbers = itertools.count(1)
        self._replies: dict[str, Reply] = {}
        self._feeds: set[str] = set()
        self.lost = lost

    @property
    def max_payload(self) -> int:
        """Bytes of headers and body together that the server takes in one message."""
        return int(self._client.max_payload)

    @property
    def server(self) -> str:
        """Name and version of the server at the other end."""
        client = self._client
        return f"{client.connected_server_version} at {client.connected_url.netloc if client.connected_url else '?'}"

    async def send(self, wire: bytes) -> None:
        """Hand whole protocol frames to the connection; returns when the transport has taken them.

        Raises LinkLost when the connection is gone. Cancelling may leave the frames sent or not.
        """
        if self.lost.is_set() or not self._client.is_connected:
            raise LinkLost("The connection to the SaaS is lost.")
        try:
            await self._loop.call(self._write, wire)
        except (NatsError, OSError, trio.BrokenResourceError) as error:
            raise LinkLost(f"The connection to the SaaS broke while sending ({error}).") from error

    async def _write(self, wire: bytes) -> None:
        # nats-py publishes message by message at a fifth of this speed; one private call takes a whole batch. The
        # version is pinned in pyproject.toml, and tests/aio holds this call to its behaviour.
        await self._client._send_command(wire)  # noqa: SLF001
        await self._client._flush_pending(force_flush=True)  # noqa: SLF001

    def open_reply(self) -> Reply:
        """An inbox subject for one exchange; give it to `forget` when the exchange is over."""
        token = f"{next(self._numbers):x}"
        reply = Reply(f"{self._inbox}.{token}")
        self._replies[token] = reply
        return reply

    def forget(self, reply: Reply) -> None:
        """Drop what still arrives for `reply`."""
        self._replies.pop(reply.subject.rpartition(".")[2], None)

    @contextmanager
    def reply(self) -> Iterator[Reply]:
        """`open_reply` for the length of a block."""
        reply = self.open_reply()
        try:
            yield reply
        finally:
            self.forget(reply)

    async def request(self, subject: str, body: bytes = b"", *, patience: float, headers: bytes = b"") -> Message:
        """Send one message and return the first answer to it. Raises LinkLost, Misconfigured."""
        with self.reply() as reply:
            reply.asks = subject
            await self.send(frame(subject, reply.subject, headers, body))
            return await reply.receive(patience)

    async def subscribe(self, subject: str, receive: Callable[[Message], None], *, queue: str = "") -> None:
        """Call `receive` (which must not block) for every message on `subject` until the session ends.

        Of the subscribers that share a `queue` each message reaches one.
        """

        async def callback(raw: Msg) -> None:
            receive(_message(raw))

        self._feeds.add(subject.lower())
        try:
            await self._loop.call(self._client.subscribe, subject, queue, cb=callback)
        except (NatsError, OSError, trio.BrokenResourceError) as error:
            raise LinkLost(f"Subscribing to {subject} failed ({error}).") from error

    def deliver(self, message: Message) -> None:
        """Route an answer to whoever waits for it; late ones are dropped."""
        reply = self._replies.get(message.subject.rpartition(".")[2])
        if reply is not None:
            reply.put(message)

    def complain(self, problem: str) -> None:
        """The server refused something: whoever asked for it is told, or everyone who waits when that is unclear."""
        log.once_per(60, "the SaaS refuses a permission", problem=problem)
        refused = problem.partition('"')[2].partition('"')[0].lower()  # nats-py gives the text in lower case
        if refused in self._feeds and not refused.startswith("_inbox."):
            return  # nobody waits for a feed
        asking = [reply for reply in self._replies.values() if reply.asks.lower() == refused]
        for reply in asking or self._replies.values():
            reply.put(Misconfigured(f"The SaaS refuses what this agent may do ({problem}): check its account."))

    async def round_trip(self, patience: float) -> None:
        """Prove that the connection is alive. Raises LinkLost."""
        try:
            with trio.fail_after(patience):
                await self._loop.call(self._client.flush, timeout=max(1, round(patience)))
        except (NatsError, OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
            raise LinkLost("The connection to the SaaS is silent.") from error

    async def keep_alive(self, interval: float) -> None:
        """Return when the connection is lost; a silent one is found within two intervals."""
        while True:
            with trio.move_on_after(interval):
                await self.lost.wait()
                return
            try:
                await self.round_trip(interval)
            except LinkLost:
                self.lost.set()
                return


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


@asynccontextmanager
async def open_session(access: Access) -> AsyncIterator[Session]:
    """Connect once, and close within a second when the block is left, whatever the state of the network.

    Raises LinkLost when no server answers, Misconfigured when one refuses who we are; like everything that leaves the
    block, they come in an exception group, because the loop's nursery stands around it.
    """
    lost = trio.Event()
    session: Session | None = None

    async def on_error(error: Exception) -> None:
        text = str(error)
        if session is not None and "permissions violation" in text.lower():
            session.complain(text)
        else:
            log.once_per(60, "error from the NATS client", error=f"{type(error).__name__} {text}")

    async def on_gone() -> None:
        lost.set()

    async with open_loop() as loop:
        client = await _connect(loop, access, on_error, on_gone)
        try:
            inbox = f"_INBOX.{access.name}.{os.urandom(8).hex()}"
            session = Session(loop, client, inbox, lost)
            await session.subscribe(f"{inbox}.*", session.deliver)
            yield session
        finally:
            await _close(loop, client)


async def _connect(loop: Loop, access: Access, on_error: Any, on_gone: Any) -> Client:
    options: dict[str, Any] = {
        "servers": list(access.urls),
        "name": access.name,
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,  # 0 would mean for ever, at nats-py's own pace
        "reconnect_time_wait": 0.05,
        "connect_timeout": access.connect_seconds,
        "ping_interval": 3600,  # liveness is ours: see Session.keep_alive
        "pending_size": 0,
        "inbox_prefix": f"_INBOX.{access.name}".encode(),
        "error_cb": on_error,
        "closed_cb": on_gone,
        "disconnected_cb": on_gone,
    }
    if access.tls is not None:
        options["tls"] = access.tls
    client = Client()
    client._public_nkey = access.nkey  # noqa: SLF001 - nats-py sets it from a seed, which it does not get
    options |= _proofs(client, access)
    try:
        await _dial(loop, client, access, options)
    except BaseException:
        await _close(loop, client)  # a half-made connection is closed by nobody else
        raise
    _limit_unsent(client)
    return client


def _proofs(client: Client, access: Access) -> dict[str, Any]:
    """Who we are, as functions that nats-py calls when it has heard of the server and encrypted what is asked for."""
    encrypted = access.tls is not None or all(url.startswith("tls://") for url in access.urls)

    def guarded(value: Any) -> Callable[[], Any]:
        def tell() -> Any:
            # nats-py goes on in the clear when the server, or someone who speaks for it, offers no TLS.
            if encrypted and not client._server_info.get("tls_required"):  # noqa: SLF001
                raise NatsError("the server offers no TLS, so it is not told who we are")
            return value() if callable(value) else value

        return tell

    found: dict[str, Any] = {}
    if access.sign is not None:
        sign = access.sign
        found["signature_cb"] = lambda nonce: guarded(lambda: base64.b64encode(sign(nonce.encode())))()
    if access.user_jwt is not None:
        read = access.user_jwt
        found["user_jwt_cb"] = guarded(lambda: bytearray(read()))
    elif access.token is not None:
        found["token"] = guarded(access.token)
    elif access.user is not None:
        found["user"], found["password"] = guarded(access.user), guarded(access.password or "")
    return found


async def _dial(loop: Loop, client: Client, access: Access, options: dict[str, Any]) -> None:
    try:
        with trio.fail_after(access.connect_seconds * (len(access.urls) + 1)):
            await loop.call(client.connect, **options)
    except trio.TooSlowError as error:
        raise LinkLost(f"No answer from {', '.join(access.urls)}.") from error
    except (NatsError, OSError, trio.BrokenResourceError, ValueError) as error:
        text = str(error) or type(error).__name__
        if any(word in text.lower() for word in ("authorization", "authentication", "expired", "revoked")):
            raise CredentialsRefused(f"The SaaS refuses this agent's credentials ({text}): renew them.") from error
        raise LinkLost(f"No connection to {', '.join(access.urls)} ({text}).") from error


def _limit_unsent(client: Client) -> None:
    """Let the kernel end the connection when bytes stay unacknowledged: half-open TCP shows in seconds."""
    writer = getattr(client._transport, "_io_writer", None)  # noqa: SLF001
    sock = writer.get_extra_info("socket") if writer is not None else None
    if sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def _close(loop: Loop, client: Client) -> None:
    with trio.CancelScope(shield=True):
        with trio.move_on_after(_CLOSE_SECONDS):
            try:
                await loop.call(client.close)
            except (NatsError, OSError, trio.BrokenResourceError) as error:
                log.debug("closing the connection failed", error=str(error))
        writer = getattr(client._transport, "_io_writer", None)  # noqa: SLF001
        if writer is not None:
            writer.transport.abort()


def _message(raw: Msg) -> Message:
    headers = raw.headers or {}
    return Message(raw.subject, raw.data, headers, headers.get("Status", ""), raw.reply)
