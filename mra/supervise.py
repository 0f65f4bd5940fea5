"""Subsystems under supervision: a crash in one is contained, counted, visible, and followed by a restart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from mra.backoff import full_jitter
from mra.errors import MraError
from mra.log import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logger("agent")
_FIRST, _CAP = 0.5, 30.0
_CALM_SECONDS = 60.0  # after running this long, a crash counts as the first again


@dataclass
class ServiceStatus:
    """What `mra status` shows of one subsystem."""

    state: str = "starting"  # starting, running, restarting, stopped
    restarts: int = 0
    last_error: str | None = None


@dataclass
class Supervisor:
    """Keeps services running until it is cancelled."""

    services: dict[str, ServiceStatus] = field(default_factory=dict)

    async def keep_running(self, name: str, service: Callable[[], Awaitable[None]]) -> None:
        """Run `service` for ever; an exception, or an early return, leads to a restart with back-off."""
        status = self.services.setdefault(name, ServiceStatus())
        delays = full_jitter(_FIRST, _CAP)
        while True:
            status.state = "running"
            started = trio.current_time()
            reasons: list[str] = []
            try:
                await service()
                reasons.append("it returned, although it should run for ever")
            except* MraError as group:
                reasons += _sentences(group)
                log.error("subsystem failed", name=name, reason="; ".join(reasons))
            except* Exception as group:
                reasons += _sentences(group)
                log.failure("subsystem crashed", group, name=name)
            status.last_error = "; ".join(reasons)
            status.state = "restarting"
            status.restarts += 1
            if trio.current_time() - started > _CALM_SECONDS:
                delays = full_jitter(_FIRST, _CAP)
            await trio.sleep(next(delays))


def _sentences(group: BaseExceptionGroup[BaseException]) -> list[str]:
    texts: list[str] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop()
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        else:
            texts.append(str(error) or type(error).__name__)
    return texts
