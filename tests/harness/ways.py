"""One direction through the proxy, and how it treats bytes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from weakref import WeakKeyDictionary

import trio

Predicate = Callable[[bytes], bool]
REMEMBERED_BYTES = 64 << 10


class Flow(Enum):
    """What happens to bytes."""

    FORWARD = auto()
    HOLD = auto()
    """They wait, and soon fill the buffers of the sender."""
    SWALLOW = auto()
    """They are acknowledged to the sender and vanish."""


@dataclass(eq=False)
class Trigger:
    """Cut a connection when what passes it in one direction, from now on, satisfies `matches`."""

    matches: Predicate
    deliver: bool
    refuse: bool
    fired: trio.Event = field(default_factory=trio.Event)
    _recent: WeakKeyDictionary[object, bytes] = field(default_factory=WeakKeyDictionary)

    def fires(self, connection: object, data: bytes) -> bool:
        """Whether these bytes of the connection, with up to 64 KiB before them, are what was waited for."""
        recent = (self._recent.get(connection, b"") + data)[-REMEMBERED_BYTES:]
        self._recent[connection] = recent
        return self.matches(recent)


class Way:
    """A direction; its settings hold for all connections at once and may change at any time."""

    def __init__(self) -> None:
        self.delay = 0.0
        """Seconds that each byte travels."""
        self.bytes_per_second = math.inf
        self.forwarded = 0
        """Bytes handed on."""
        self.swallowed = 0
        """Bytes that vanished."""
        self.triggers: list[Trigger] = []
        self._flow = Flow.FORWARD
        self._changed = trio.Event()

    @property
    def flow(self) -> Flow:
        """What happens to bytes now."""
        return self._flow

    @flow.setter
    def flow(self, flow: Flow) -> None:
        self._flow = flow
        self._changed.set()
        self._changed = trio.Event()

    async def wait_flow(self, *wanted: Flow) -> Flow:
        """Wait until bytes are treated in one of these ways."""
        while self._flow not in wanted:
            await self._changed.wait()
        return self._flow

    def triggered(self, connection: object, data: bytes) -> Trigger | None:
        """The trigger that these bytes fire, disarmed."""
        fired = [trigger for trigger in self.triggers if trigger.fires(connection, data)]
        if not fired:
            return None
        self.triggers.remove(fired[0])
        return fired[0]
