"""Brings a database up to today's schema through the numbered files of `sqlite/migrations/`.

Each file is applied together with its `user_version` in one transaction, so a kill at any point leaves a database at
exactly one version. A database newer than this program is refused without changing a byte.
"""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from mra.errors import StoreBroken
from mra.outbox.sqlite import APPLICATION_ID, Error, translate

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from mra.outbox.sqlite import Connection

_NUMBERED = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


def sql_files() -> Traversable:
    """The folder of SQL files: `mra/sql` in an installed wheel, `sqlite/` in a checkout."""
    installed = resources.files("mra") / "sql"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "sqlite"


def migrations() -> list[tuple[int, str]]:
    """Every migration as (version, SQL text), in order."""
    return sorted(
        (int(match[1]), file.read_text(encoding="utf-8"))
        for file in (sql_files() / "migrations").iterdir()
        if (match := _NUMBERED.fullmatch(file.name))
    )


def migrate(connection: Connection, path: Path) -> int:
    """Apply what is missing and return the version reached. Raises StoreBroken for a newer database."""
    known = migrations()
    newest = known[-1][0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > newest:
        raise StoreBroken(
            f"{path} has schema {version}, and this program knows schemas up to {newest}: install a newer mra."
        )
    for number, text in known:
        if number > version:
            _apply(connection, path, number, text)
    return newest


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
    """SQL text cut into statements; `executescript` would commit behind our back."""
    plain = "\n".join(line.split("--", 1)[0] for line in text.splitlines())
    return [part.strip() for part in plain.split(";") if part.strip()]


def secure(path: Path) -> None:
    """Create the state directory 0700 and an empty database file 0600, durably, before SQLite touches either."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        return
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
