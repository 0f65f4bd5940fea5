"""Loopback ports that stay free while their server is down.

A port of the ephemeral range will not do: while a killed server is away, any outgoing connection may be given its port,
and a client that retries on loopback may even connect to itself. So ports come from below that range.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 10_000
ATTEMPTS = 200


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on and the kernel gives to no one."""
    highest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]) - 1
    for _ in range(ATTEMPTS):
        port = random.randint(LOWEST, highest)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port of 127.0.0.1 among {ATTEMPTS} between {LOWEST} and {highest}")
