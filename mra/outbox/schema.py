"""Brings a database up to today's schema through the numbered files of `sqlite/migrations/`.

Each file is applied together with its `user_version` in one transaction, so a kill at any point leaves a database at
exactly one version.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from mra.outbox.sqlite import APPLICATION_ID, Error, complete_statement, translate

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from mra.outbox.sqlite import Connection

_NUMBERED = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


def sql_files() -> Traversable:
    """The folder of SQL files: `mra/sql` in an installed wheel, `sqlite/` in a checkout."""
    installed = resources.files("mra") / "sql"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "sqlite"


@cache
def migrations() -> tuple[tuple[int, str], ...]:
    """Every migration as (version, SQL text), in order."""
    found = (
        (int(match[1]), file.read_text(encoding="utf-8"))
        for file in (sql_files() / "migrations").iterdir()
        if (match := _NUMBERED.fullmatch(file.name))
    )
    return tuple(sorted(found))


def newest() -> int:
    """The schema that this program writes."""
    return migrations()[-1][0]


def migrate(connection: Connection, path: Path) -> None:
    """Apply what is missing."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    for number, text in migrations():
        if number > version:
            _apply(connection, path, number, text)


def _apply(connection: Connection, path: Path, number: int, text: str) -> None:
    try:
        connection.execute("BEGIN IMMEDIATE")
        # Two processes may open a new file together: the second finds the work done once it has the lock.
        if connection.execute("PRAGMA user_version").fetchone()[0] < number:
            for statement in statements(text):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise translate(error, path) from error


def statements(text: str) -> list[str]:
    """SQL text cut into statements, comments included; `executescript` would commit behind our back."""
    found, lines = [], []
    for line in text.splitlines():
        lines.append(line)
        if complete_statement("\n".join(lines)):
            found.append("\n".join(lines).strip())
            lines = []
    return found
