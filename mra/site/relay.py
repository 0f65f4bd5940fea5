"""A way to the SaaS for nodes that have none: the leader passes their connections on while they enrol and renew.

It passes bytes and reads none. Node and SaaS speak as if they were alone: with TLS from end to end, and proofs that are
good on this connection only. It leads to the SaaS's own servers and nowhere else, and is bounded in number and time.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import trio

from mra.errors import Unavailable
from mra.log import logger

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logger("site")
MOST_CONNECTIONS: Final = 64
LONGEST_SECONDS: Final = 120.0  # of one connection: an enrolment takes seconds
_CONNECT_SECONDS: Final = 5.0
_PIECE: Final = 65536
_PORT: Final = 4222


async def run_relay(
    address: tuple[str, int],
    urls: Sequence[str],
    *,
    longest: float = LONGEST_SECONDS,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Pass on what connects to `address`, until cancelled, which ends all connections; `started` tells the port.

    Raises Unavailable when it cannot listen there.
    """
    host, port = address
    room = trio.CapacityLimiter(MOST_CONNECTIONS)
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise Unavailable(f"Cannot listen on {host}:{port} for nodes that enrol ({error.strerror}).") from error
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(partial(_pass_on, urls, room, longest), listeners)


async def _pass_on(urls: Sequence[str], room: trio.CapacityLimiter, longest: float, node: trio.SocketStream) -> None:
    try:
        room.acquire_on_behalf_of_nowait(node)
    except trio.WouldBlock:
        log.once_per(60, "too many nodes enrol at once; some are left to come again")
        return
    try:
        with trio.move_on_after(longest):
            saas = await _reach(urls)
            if saas is not None:
                async with saas, trio.open_nursery() as nursery:
                    nursery.start_soon(_pump, node, saas, nursery.cancel_scope)
                    nursery.start_soon(_pump, saas, node, nursery.cancel_scope)
    finally:
        room.release_on_behalf_of(node)


async def _reach(urls: Sequence[str]) -> trio.SocketStream | None:
    for url in random.sample(urls, len(urls)):
        parts = urlsplit(url)
        try:
            with trio.fail_after(_CONNECT_SECONDS):
                return await trio.open_tcp_stream(parts.hostname or "", parts.port or _PORT)
        except (OSError, UnicodeError, trio.TooSlowError) as error:
            log.once_per(60, "the SaaS cannot be reached for a node that enrols", url=url, reason=str(error))
    return None


async def _pump(source: trio.SocketStream, sink: trio.SocketStream, both: trio.CancelScope) -> None:
    """Pass bytes on until either side ends, which ends both: NATS knows no half-closed connection."""
    try:
        while piece := await source.receive_some(_PIECE):
            await sink.send_all(piece)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    both.cancel()
