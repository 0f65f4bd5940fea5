"""How a node takes part in a site. (pure)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LEADER, FOLLOWER = "leader", "follower"


@dataclass(frozen=True)
class SiteSettings:
    """What `[site]` says.

    Attributes:
        role: "leader" or "follower", or empty when the enrolment says it.
        term: the leader's; it grows whenever another node takes over.
        listen: where the bus listens if this node leads, as (host, port); None for a node that never does.
        urls: the buses of all nodes that may lead.
        directory: the keys, see `mra.site.keys`; or what the bus of an enrolled node writes.
        name: of the site; empty where the customer has one only.
        identity: the directory of the enrolment that says who the node is on the bus; None where the keys do.
        relay: where this node passes connections of others on to the SaaS, if it may lead; see `mra.site.relay`.
    """

    role: str
    term: int
    listen: tuple[str, int] | None
    urls: tuple[str, ...]
    directory: Path
    name: str = ""
    identity: Path | None = None
    relay: tuple[str, int] | None = None
