"""Who is at the other end of a Unix socket: the kernel's word, not the peer's."""

from __future__ import annotations

import pwd
import socket
import struct
from typing import Final

import trio

_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_NAME_SECONDS: Final = 2.0


def uid_of(stream: trio.SocketStream) -> int:
    """User id of the process that connected, as it was then. Raises OSError."""
    _, uid, _ = _CREDENTIALS.unpack(stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)


async def sender_of(uid: int, lookups: trio.CapacityLimiter) -> str:
    """`user <name>`, or `user <uid>` when the name is unknown, unusual or slow to come."""
    with trio.move_on_after(_NAME_SECONDS):
        name = await trio.to_thread.run_sync(_user_name, uid, abandon_on_cancel=True, limiter=lookups)
        return f"user {name or uid}"
    return f"user {uid}"


def _user_name(uid: int) -> str:
    try:
        name = pwd.getpwuid(uid).pw_name
    except (KeyError, OSError):
        return ""
    return name if name.isascii() and name.isprintable() and " " not in name else ""
