"""Making and ending one connection of nats-py: dialled once, never redialled, closed within a second."""

from __future__ import annotations

import base64
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import trio
from nats.aio.client import Client
from nats.errors import Error as NatsError

from mra.aio.addresses import Target, in_any_order, resolve
from mra.errors import LinkLost, Misconfigured
from mra.log import logger

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mra.aio.loop import Loop

log = logger("link")
_USER_TIMEOUT_MS = 8000  # unsent bytes on a dead path end the connection after this
_CLOSE_SECONDS = 1.0
_WORDS_OF_REFUSAL = ("authorization", "authentication", "expired", "revoked")


class CredentialsRefused(Misconfigured):
    """The server does not take us for who we say we are, or does not want us any more."""


@dataclass(frozen=True)
class Access:
    """Where the SaaS, or whoever stands for it, is and who we are there."""

    urls: tuple[str, ...]
    name: str
    user: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    user_jwt: Callable[[], bytes] | None = None  # read again for every connection, so that renewal needs no restart
    sign: Callable[[bytes], bytes] | None = None  # the server's nonce -> the 64 bytes of an Ed25519 signature
    token: Callable[[], str] | None = None  # for a server that asks an auth callout who we are ...
    nkey: str | None = None  # ... and the key that `sign` proves to own, when there is no user JWT yet
    via: tuple[str, ...] = ()  # host:port of relays, for when no server can be reached; they only pass bytes on
    peer: str = "the SaaS"  # what errors call the other end
    connect_seconds: float = 5.0
    ping_seconds: float = 15.0


class Connection(Client):
    """nats-py's client, with what it passes over.

    The version is pinned in pyproject.toml, and tests/aio holds its private parts to what is relied on here.
    """

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # The first INFO speaks for the server; the next one for the account, which may take less.
        await super()._process_info(info, initial_connection)
        self._max_payload = int(info.get("max_payload", self._max_payload))

    async def _process_pong(self) -> None:
        # Whoever waited for this answer may have given up; nats-py's reader would fall over it, and the link be lost.
        if self._pongs and self._pongs[0].done():
            self._pongs.pop(0)
            self._pings_outstanding = 0
        else:
            await super()._process_pong()

    @property
    def offers_tls(self) -> bool:
        """Whether the server has said that it wants TLS."""
        return bool(self._server_info.get("tls_required"))

    def prove_key(self, public: str | None) -> None:
        """Name the key that signs the server's nonce; nats-py takes it from a seed only, which it does not get."""
        self._public_nkey = public

    async def write(self, wire: bytes) -> None:
        """Hand whole protocol frames to the transport in one go: nats-py publishes at a fifth of this speed."""
        await self._send_command(wire)
        await self._flush_pending(force_flush=True)

    def watch_reader(self, on_end: Callable[[], None]) -> None:
        """Call `on_end` when nothing is read any more: an unexpected error ends the reader and nothing else."""
        assert self._reading_task is not None
        self._reading_task.add_done_callback(lambda _: on_end())

    def limit_unsent(self) -> None:
        """Let the kernel end the connection when bytes stay unacknowledged: half-open TCP shows in seconds."""
        writer = getattr(self._transport, "_io_writer", None)
        sock = writer.get_extra_info("socket") if writer is not None else None
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def abort(self) -> None:
        """Drop the connection with whatever it has not sent."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            with suppress(AttributeError):  # what an encrypted one that has closed raises in Python 3.11.2, Debian 12's
                writer.transport.abort()


@asynccontextmanager
async def open_connection(
    loop: Loop,
    access: Access,
    *,
    on_error: Callable[[Exception], Awaitable[None]],
    on_gone: Callable[[], None],
) -> AsyncIterator[Connection]:
    """Try each address of each server, in any order of the servers; close when the block is left, whatever happened.

    Raises LinkLost when no server answers, Misconfigured when one refuses who we are. `on_gone` is called when the
    connection is over, `on_error` with what nats-py has to say meanwhile.
    """
    connection = await _reach(loop, access, on_error, on_gone)
    try:
        connection.watch_reader(on_gone)
        connection.limit_unsent()
        yield connection
    finally:
        await _close(loop, connection)


async def _reach(
    loop: Loop, access: Access, on_error: Callable[[Exception], Awaitable[None]], on_gone: Callable[[], None]
) -> Connection:
    """The first connection that comes about. Refused credentials are refused by every server, so that ends it."""
    reasons: list[str] = []
    urls = in_any_order(access.urls)
    for url, relay in [*((url, "") for url in urls), *product(urls, in_any_order(access.via))]:
        try:
            targets = await resolve(url, access.connect_seconds, relay)
        except LinkLost as reason:
            reasons.append(str(reason))
            continue
        for target in targets:
            try:
                return await _dial(loop, url, target, access, on_error, on_gone)
            except LinkLost as reason:
                reasons.append(str(reason))
    raise LinkLost(" ".join(dict.fromkeys(reasons)))


async def _dial(
    loop: Loop,
    url: str,
    target: Target,
    access: Access,
    on_error: Callable[[Exception], Awaitable[None]],
    on_gone: Callable[[], None],
) -> Connection:
    connection = Connection()
    reasons: list[str] = []  # nats-py ends with "no servers available", which tells nobody what to mend
    stands = False

    async def note(error: Exception) -> None:
        reasons.append(str(error) or type(error).__name__)
        await on_error(error)

    async def gone() -> None:
        if stands:
            on_gone()

    connection.prove_key(access.nkey)
    options = _options(access, target) | _proofs(connection, access)
    try:
        with trio.fail_after(2 * access.connect_seconds):
            await loop.call(connection.connect, **options, error_cb=note, closed_cb=gone, disconnected_cb=gone)
        stands = True
    except trio.TooSlowError as error:
        raise LinkLost(f"No answer from {url}.") from error
    except (NatsError, OSError, trio.BrokenResourceError, ValueError) as error:
        text = reasons[-1] if reasons else str(error) or type(error).__name__
        if any(word in text.lower() for word in _WORDS_OF_REFUSAL) and "timeout" not in text.lower():
            raise CredentialsRefused(
                f"This agent's credentials are refused by {access.peer} ({text}): renew them."
            ) from error
        raise LinkLost(f"No connection to {url} ({text}).") from error
    finally:
        if not stands:
            await _close(loop, connection)  # a half-made connection is closed by nobody else
    return connection


def _options(access: Access, target: Target) -> dict[str, Any]:
    options: dict[str, Any] = {
        "servers": [target.url],
        "name": access.name,
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,  # 0 would mean for ever, at nats-py's own pace
        "reconnect_time_wait": 0.05,
        "connect_timeout": access.connect_seconds,
        "ping_interval": 3600,  # liveness is ours: see Session.keep_alive
        "pending_size": 0,
        "inbox_prefix": f"_INBOX.{access.name}".encode(),
    }
    if access.tls is not None:
        options["tls"] = access.tls
    if access.tls is not None or target.url.startswith("tls://"):
        options["tls_hostname"] = target.host
    return options


def _proofs(connection: Connection, access: Access) -> dict[str, Any]:
    """Who we are, as functions that nats-py calls when it has heard of the server and encrypted what is asked for."""
    encrypted = access.tls is not None or all(url.startswith("tls://") for url in access.urls)

    def guarded(value: Any) -> Callable[[], Any]:
        def tell() -> Any:
            # nats-py goes on in the clear when the server, or someone who speaks for it, offers no TLS.
            if encrypted and not connection.offers_tls:
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


async def _close(loop: Loop, connection: Connection) -> None:
    with trio.CancelScope(shield=True):
        with trio.move_on_after(_CLOSE_SECONDS):
            try:
                await loop.call(connection.close)
            except (NatsError, OSError, trio.BrokenResourceError) as error:
                log.debug("closing the connection failed", error=str(error))
        connection.abort()
