"""Terms, stints and marks: units for the outbox's transactions.

Changing whom a node drains into is one transaction: it keeps where the stint ended, and begins a new epoch of every
lane behind what is settled.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from mra.clock import now
from mra.errors import LinkLost, Misconfigured
from mra.outbox import lanes
from mra.outbox.ledger import record_audit
from mra.outbox.record import Lane
from mra.outbox.transaction import transaction
from mra.site.words import Ended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mra.outbox.sqlite import Connection


class Term(NamedTuple):
    """Who leads in which term; term 0 and nobody when none is known."""

    term: int
    leader: str


class Stint(NamedTuple):
    """The time of a node under one leader in one term."""

    stint: str
    leader: str
    term: int


class Outdated(LinkLost):
    """A leader that is not the newest one known: it is left alone."""


def known(connection: Connection) -> Term:
    """The highest term that this node knows of."""
    found = connection.execute("SELECT term, leader FROM site_term").fetchone()
    return Term(*found) if found else Term(0, "")


def learn(connection: Connection, term: int, leader: str) -> Term:
    """Remember a term, unless a higher one is known; return what is known then."""
    with transaction(connection):
        return _learn(connection, term, leader)


def current(connection: Connection) -> Stint | None:
    """The stint that this node is in; None while it drains into the SaaS."""
    found = connection.execute("SELECT stint, leader, term FROM site_stint").fetchone()
    return Stint(*found) if found else None


def ended(connection: Connection) -> list[Ended]:
    """Where the lanes of earlier stints ended, as far as their leaders have not heard it."""
    found = connection.execute("SELECT stint, lane, leader, number FROM site_mark ORDER BY stint, lane")
    return [Ended(stint, Lane(lane), leader, number) for stint, lane, leader, number in found]


def heard(connection: Connection, stints: Sequence[str]) -> None:
    """The leaders of these stints know how they ended."""
    with transaction(connection):
        connection.executemany("DELETE FROM site_mark WHERE stint = ?", [(stint,) for stint in stints])


def join(connection: Connection, term: int, leader: str) -> Stint:
    """Drain into `leader` from now on.

    Raises Outdated for one that was replaced, Misconfigured while rows may be in flight to the SaaS: whether it has
    them, only the SaaS can tell.
    """
    with transaction(connection):
        newest = _learn(connection, term, leader)
        if newest != Term(term, leader):
            raise Outdated(
                f"{leader} leads in term {term}, and {newest.leader} in term {newest.term}: it is not joined again."
            )
        here = current(connection)
        if here and (here.leader, here.term) == (leader, term):
            return here
        if here is None:
            _require_nothing_in_flight(connection)
        made = Stint(os.urandom(8).hex(), leader, term)
        _rebase(connection, here, f"drains into {leader}, which leads in term {term}")
        connection.execute("INSERT OR REPLACE INTO site_stint (no, stint, leader, term) VALUES (1, ?, ?, ?)", made)
        return made


def leave(connection: Connection) -> bool:
    """Drain into the SaaS from now on; return whether that is new."""
    with transaction(connection):
        here = current(connection)
        if here is not None:
            _rebase(connection, here, "drains into the SaaS")
            connection.execute("DELETE FROM site_stint")
        return here is not None


def _learn(connection: Connection, term: int, leader: str) -> Term:
    newest = known(connection)
    if term <= newest.term:
        return newest
    connection.execute("INSERT OR REPLACE INTO site_term (no, term, leader) VALUES (1, ?, ?)", (term, leader))
    return Term(term, leader)


def in_flight_to_the_saas(connection: Connection) -> list[Lane]:
    """Lanes of which rows were sent, or exported, and only the SaaS knows whether it has them; none in a stint."""
    if current(connection):
        return []
    states = [lanes.load(connection, lane) for lane in Lane]
    return [one.name for one in states if max(one.claimed_through, one.exported_through) > one.settled_through]


def _require_nothing_in_flight(connection: Connection) -> None:
    if found := in_flight_to_the_saas(connection):
        raise Misconfigured(
            f"Rows of lane {found[0]} may be in flight to the SaaS since this node drained there: give it a way to the"
            " SaaS (saas.urls) until they are settled."
        )


def _rebase(connection: Connection, here: Stint | None, detail: str) -> None:
    for lane in Lane:
        state = lanes.load(connection, lane)
        if here:
            connection.execute(
                "INSERT OR REPLACE INTO site_mark (stint, lane, leader, number) VALUES (?, ?, ?, ?)",
                (here.stint, lane.value, here.leader, state.checkpoint_seq),
            )
        state.epoch = os.urandom(8).hex()
        state.epoch_total = state.checkpoint_seq = 0
        state.claimed_through = state.based_at = state.settled_through
        state.held = None
        state.save(connection)
        record_audit(connection, wall=now().wall, actor="site", action="rebase", lane=lane, count=state.waiting,
                     detail=detail)  # fmt: skip
