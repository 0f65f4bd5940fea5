"""Make the kernel ignore what arrives at a TCP socket, so that its peer gets not even an acknowledgement.

A socket filter that accepts nothing drops segments before TCP sees them. To the peer this is a cable that was pulled:
its bytes stay unacknowledged, its kernel retransmits, keep-alives and TCP_USER_TIMEOUT run. On a listening socket the
filter drops SYN segments, so that connecting hangs. No privilege is needed. Linux only, see socket(7).
"""

from __future__ import annotations

import ctypes
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio.socket import SocketType

SOL_SOCKET, SO_ATTACH_FILTER, SO_DETACH_FILTER = 1, 26, 27
RETURN_ZERO_BYTES = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K, 0


def darken(socket: SocketType) -> None:
    """Drop everything that arrives from now on."""
    program = ctypes.create_string_buffer(RETURN_ZERO_BYTES, len(RETURN_ZERO_BYTES))
    socket.setsockopt(SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))


def lighten(socket: SocketType) -> None:
    """Let segments through again; retransmissions bring what was dropped. Harmless on a socket never darkened."""
    with suppress(FileNotFoundError):
        socket.setsockopt(SOL_SOCKET, SO_DETACH_FILTER, 0)
