"""What `mra status` and `mra site ls` show of a site; written by its tasks, read by whoever asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mra.outbox.record import Lane


@dataclass
class FollowerStatus:
    """One follower, as its leader sees it."""

    heard_at: float  # Trio time of its last message
    waiting: dict[Lane, int] = field(default_factory=dict)  # rows that it has not handed over, as it said last
    taken: int = 0  # rows taken since the daemon's start
    refused: str | None = None  # why its last message was refused; None when it was not


@dataclass
class SiteStatus:
    """This node in its site."""

    role: str
    term: int = 0
    leader: str = ""
    bus: str | None = None  # where the bus is, as far as it is up
    followers: dict[str, FollowerStatus] = field(default_factory=dict)

    def heard(self, follower: str) -> FollowerStatus:
        """Note that a follower was heard just now."""
        found = self.followers.setdefault(follower, FollowerStatus(0.0))
        found.heard_at = trio.current_time()
        return found

    def report(self, stored: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
        """As a document; `stored` is what the database says of each follower."""
        stored = stored or {}
        return {
            "role": self.role,
            "term": self.term,
            "leader": self.leader,
            "bus": self.bus,
            "followers": {
                name: _follower(self.followers.get(name), stored.get(name, {}))
                for name in sorted(self.followers.keys() | stored.keys())
            },
        }


def _follower(seen: FollowerStatus | None, stored: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "last_contact": None if seen is None else round(trio.current_time() - seen.heard_at, 1),  # seconds ago
        "waiting": sum(seen.waiting.values()) if seen else None,
        "taken": seen.taken if seen else 0,
        "unsettled": stored.get("unsettled", 0),
        "last_error": seen.refused if seen else None,
    }
