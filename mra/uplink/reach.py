"""Whether the server at the other end still reaches the streams. Pure.

A connection to one server of a cluster may stand while that server is cut off from the others: then no lane is served
for as long as we stay, although the SaaS is well. A SaaS that has lost its quorum looks the same from here, so an agent
leaves its server after a while, and stays twice as long with the next one until something is stored again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mra.errors import LinkLost

_LONGEST = 16  # times the ordinary stay with a server that serves nobody


class CutOff(LinkLost):
    """No stream is served through this server; another one may do better."""


@dataclass
class Reach:
    """What the lanes find out together. `stay` is the seconds to wait for service; without end for the only server."""

    stay: float = math.inf
    _factor: int = 1
    _unserved_since: float | None = None

    def connected(self) -> None:
        """A server has yet to show what it can do."""
        self._unserved_since = None

    def served(self) -> None:
        """A stream has taken something."""
        self._unserved_since = None
        self._factor = 1

    def unserved(self, now: float) -> None:
        """A stream had no leader, kept silent, or spoke of others. Raises CutOff when all have for too long."""
        if self._unserved_since is None:
            self._unserved_since = now
        elif now - self._unserved_since >= self.stay * self._factor:
            self._factor = min(_LONGEST, self._factor * 2)
            raise CutOff("This server of the SaaS reaches none of its streams: another one is tried.")
