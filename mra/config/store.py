"""The copy of desired state in SQLite: units for `Outbox.run_unit` and `Outbox.read`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mra.config.index import Mark
from mra.outbox.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mra.outbox.sqlite import Connection


class Stored(NamedTuple):
    """A value of desired state, with the revision the bucket gave it."""

    value: bytes
    revision: int


class Row(NamedTuple):
    """A stored value, and the number of the change that brought it: revisions start again, changes never do."""

    stored: Stored
    change: int


class Copy(NamedTuple):
    """What is known: the index followed (None before the first) and each key's revision."""

    mark: Mark | None
    revisions: Mapping[str, int]


def load(connection: Connection, customer: str) -> Copy:
    """The copy for `customer`; one of another customer counts as nothing known."""
    mark = _mark(connection, customer)
    if mark is None:
        return Copy(None, {})
    return Copy(mark, dict(connection.execute("SELECT key, revision FROM desired").fetchall()))


def find(connection: Connection, customer: str, key: str) -> tuple[bool, Row | None]:
    """(whether anything is known at all, the key's row); both of the same moment."""
    found = connection.execute(
        "SELECT i.customer, d.value, d.revision, d.change "
        "FROM desired_index AS i LEFT JOIN desired AS d ON d.key = ? WHERE i.customer = ?",
        (key, customer),
    ).fetchone()
    if found is None:
        return False, None
    _, value, revision, change = found
    return True, None if revision is None else Row(Stored(value, revision), change)


def apply(
    connection: Connection,
    customer: str,
    mark: Mark,
    put: Mapping[str, Stored],
    drop: Collection[str],
    wall: int,
) -> None:
    """Store values and removals together with the index they follow from, in one transaction.

    A copy that belongs to another customer is emptied first.
    """
    with transaction(connection):
        if _mark(connection, customer) is None:
            connection.execute("DELETE FROM desired")
        found = connection.execute("SELECT changes FROM desired_index").fetchone()
        changes = found[0] if found else 0
        connection.executemany("DELETE FROM desired WHERE key = ?", [(key,) for key in drop])
        connection.executemany(
            "INSERT OR REPLACE INTO desired (key, revision, change, wall, value) VALUES (?, ?, ?, ?, ?)",
            [
                (key, stored.revision, change, wall, stored.value)
                for change, (key, stored) in enumerate(put.items(), start=changes + 1)
            ],
        )
        connection.execute(
            "INSERT OR REPLACE INTO desired_index (no, customer, revision, written, bucket, changes, wall) "
            "VALUES (1, ?, ?, ?, ?, ?, ?)",
            (customer, *mark, changes + len(put), wall),
        )


def _mark(connection: Connection, customer: str) -> Mark | None:
    found = connection.execute(
        "SELECT revision, written, bucket FROM desired_index WHERE customer = ?", (customer,)
    ).fetchone()
    return Mark(*found) if found else None
