"""One transaction, whole: it commits, or it leaves no trace and the connection ready for the next."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mra.outbox.sqlite import Connection


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """`BEGIN IMMEDIATE` ... `COMMIT`; any exception rolls back. A failing COMMIT leaves the outcome unknown."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """A part of a transaction that can fail alone."""
    connection.execute("SAVEPOINT part")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # SQLite itself may have rolled back everything (disk full)
            connection.execute("ROLLBACK TO part")
            connection.execute("RELEASE part")
        raise
    connection.execute("RELEASE part")
