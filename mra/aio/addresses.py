"""Names into addresses, in Trio: asyncio looks a name up in a thread and loses a cancellation that comes meanwhile.

A name server that answers late is what a site on a poor line has every day, so a look-up may take as long as it likes;
nobody waits for it longer than he wants to.
"""

from __future__ import annotations

import random
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

import trio

from mra.errors import LinkLost

_PORT = 4222
_MOST_ADDRESSES = 4  # of one name that are tried


class Target(NamedTuple):
    """One address to connect to. `url` holds it in the place of the name; `host` is what a certificate has to name."""

    url: str
    host: str


async def resolve(url: str, seconds: float, relay: str = "") -> list[Target]:
    """The addresses of a server, in the system's order, or those of a `relay` (host:port) that leads to it.

    Raises LinkLost when there are none, or not in time.
    """
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    way = urlsplit(f"//{relay}") if relay else parts
    host, port = way.hostname or "", way.port or _PORT
    try:
        with trio.fail_after(seconds):
            found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except trio.TooSlowError as error:
        raise LinkLost(f"The name server has no answer for {host!r} within {seconds:g} s.") from error
    except (OSError, UnicodeError) as error:
        raise LinkLost(f"There is no address of {host!r} ({error}).") from error
    login, at, _ = parts.netloc.rpartition("@")
    addresses = dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)
    return [
        Target(
            f"{parts.scheme}://{login}{at}{f'[{address}]' if ':' in address else address}:{port}", parts.hostname or ""
        )
        for address in list(addresses)[:_MOST_ADDRESSES]
    ]


def in_any_order(urls: tuple[str, ...]) -> list[str]:
    """The servers as one agent of many tries them, so that a herd spreads over them."""
    return random.sample(urls, len(urls))


def is_address(text: str) -> bool:
    """Whether a text is a host and a port, and nothing else."""
    try:
        parts = urlsplit(f"//{text}")
        return bool(parts.hostname and parts.port) and text.isprintable() and not set(text) & set(" \"'\\@/?#")
    except ValueError:
        return False
