"""Readiness and watchdog notifications, as sd_notify(3) describes them; a no-op outside systemd."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


def notify(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send one state such as `READY=1`; return whether somebody listens. Never raises, never blocks."""
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
        try:
            sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:
            return False
    return True


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float | None:
    """How often the watchdog wants to hear from us, None when there is none, or when it watches another process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        seconds = int(environ["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None


async def run_watchdog(prove_alive: Callable[[], Awaitable[object]]) -> None:
    """Notify the watchdog as long as `prove_alive` returns; a wedged agent falls silent and is restarted."""
    interval = watchdog_seconds()
    if interval is None:
        await trio.sleep_forever()
    while True:
        await prove_alive()
        notify("WATCHDOG=1")
        await trio.sleep(interval / 3)
