"""Choria's watcher types that this agent does not run, and what to use instead (section 3.15 of the reference). (pure)

Of `gossip` and `httpswitch` the reference tells neither what a registration holds nor what goes over HTTP, so nothing
that is built from it could be called compatible. The first has no network to publish to here, as a customer's account
takes rows of the outbox and nothing else; the second is not served by Choria's own server either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

UNSUPPORTED: Final[Mapping[str, str]] = {
    "ccm_manifest": "it needs Choria's configuration manager; run that program with an exec watcher",
    "gossip": "it publishes on a Choria network, which this agent is no part of; run `mra submit` with an exec watcher",
    "homekit": "Choria has removed it; fire transitions with `mra machines transition`",
    "httpswitch": "Choria's server opens no HTTP port for it either; fire transitions with `mra machines transition`",
    "machines": "it obeys an older form of signed specifications; use a plugins watcher",
}


def why_missing(type_: str, kinds: Iterable[str]) -> str:
    """Why there is no watcher of this type, in a clause with a remedy; `kinds` are the types there are."""
    if reason := UNSUPPORTED.get(type_):
        return f"watcher type {type_!r} is not supported: {reason}"
    return f"there is no watcher type {type_[:40]!r}; use one of {', '.join(sorted(kinds))}"
