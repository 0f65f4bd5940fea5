"""Migrations: each whole or not at all, killed anywhere; and `schema.sql` shows where they lead."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from mra.outbox import schema, sqlite
from mra.outbox.opening import prepare
from mra.outbox.policy import OutboxSettings

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = OutboxSettings(min_free=0, ballast=0)
FIRST = (1, "CREATE TABLE first (a);\nINSERT INTO first VALUES (1);\n")
SECOND = (2, "ALTER TABLE first ADD COLUMN b;\nUPDATE first SET b = 2;\nCREATE VIEW v AS SELECT a, b FROM first;\n")


def shape(connection: sqlite.Connection) -> list[tuple[str, str, str | None]]:
    return connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()


def test_migrations_are_numbered_from_one_without_gaps() -> None:
    assert [number for number, _ in schema.migrations()] == list(range(1, schema.newest() + 1))


def test_the_readable_schema_is_what_the_migrations_lead_to(tmp_path: Path) -> None:
    text = (schema.sql_files() / "schema.sql").read_text(encoding="utf-8")
    with (
        closing(sqlite.connect(tmp_path / "read.db")) as read,
        closing(prepare(tmp_path / "made.db", SETTINGS)) as made,
    ):
        for statement in schema.statements(text):
            read.execute(statement)
        assert shape(read) == shape(made)
        lanes = "SELECT name, rank, next_seq, accepted FROM lane ORDER BY rank"
        assert read.execute(lanes).fetchall() == made.execute(lanes).fetchall()


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", 0),
        ("-- nothing but a comment\n", 0),
        ("SELECT 1;\n-- a comment; with a semicolon\nSELECT 2;\n", 2),
        ("SELECT ';--';\n", 1),
        ("CREATE TABLE t (\n  a TEXT DEFAULT '-- no comment;',  -- a comment; here\n  b\n);\n", 1),
        ("CREATE TRIGGER x AFTER INSERT ON t BEGIN\n  SELECT 1;\n  SELECT 2;\nEND;\n", 1),
    ],
)
def test_a_text_is_cut_where_its_statements_end(text: str, statements: int) -> None:
    assert len(schema.statements(text)) == statements


def test_comments_stay_in_the_schema_for_people_who_look(tmp_path: Path) -> None:
    with closing(prepare(tmp_path / "outbox.db", SETTINGS)) as connection:
        for kind, name, sql in shape(connection):
            if kind == "view":
                assert "\n-- " in (sql or ""), f"{name} does not say what it shows"


@pytest.fixture
def two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "migrations", lambda: (FIRST, SECOND))


@pytest.mark.usefixtures("two_steps")
@pytest.mark.parametrize("begin_at", [0, 1])
def test_a_migration_killed_at_any_statement_leaves_one_version_and_resumes(tmp_path: Path, begin_at: int) -> None:
    killed = 0
    for step in range(40):
        path = tmp_path / f"{step}.db"
        with closing(sqlite.connect(path)) as connection:
            if begin_at:
                schema._apply(connection, path, *FIRST)
        child = os.fork()
        if child == 0:
            with closing(sqlite.connect(path)) as connection:
                schema.migrate(dying(connection, step), path)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        with closing(sqlite.connect(path)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            names = {name for _, name, _ in shape(connection)}
            assert names == {0: set(), 1: {"first"}, 2: {"first", "v"}}[version]
            schema.migrate(connection, path)
            assert connection.execute("SELECT a, b FROM v").fetchall() == [(1, 2)]
            assert connection.execute("PRAGMA user_version").fetchone()[0] == 2
        if not os.WIFSIGNALED(status):
            break
    assert killed > 5


def dying(connection: sqlite.Connection, step: int) -> Any:
    """A connection whose process is killed at the statement with this number."""

    class Dying:
        left = step
        in_transaction = property(lambda self: connection.in_transaction)

        def execute(self, *arguments: Any) -> Any:
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
            return connection.execute(*arguments)

    return Dying()


@pytest.mark.usefixtures("two_steps")
def test_an_older_database_is_brought_up_to_date_with_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "outbox.db"
    with monkeypatch.context() as patch:
        patch.setattr(schema, "migrations", lambda: (FIRST,))
        prepare(path, SETTINGS).close()
    with closing(prepare(path, SETTINGS)) as connection:
        assert connection.execute("SELECT a, b FROM v").fetchall() == [(1, 2)]


@pytest.mark.parametrize(
    ("version", "is_safe"),
    [
        ("3.40.1", False), ("3.44.5", False), ("3.44.6", True), ("3.45.0", False), ("3.50.6", False), ("3.50.7", True),
        ("3.51.0", False), ("3.51.2", False), ("3.51.3", True), ("3.53.4", True), ("4.0.0", True),
    ],
)  # fmt: skip
def test_only_libraries_with_the_fix_are_used(version: str, is_safe: bool) -> None:
    assert sqlite.is_safe(version) is is_safe


def test_an_unsafe_library_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "library_version", lambda: "3.40.1")
    with pytest.raises(sqlite.StoreBroken, match=r"SQLite 3\.40\.1.*install pysqlite3"):
        prepare(tmp_path / "outbox.db", SETTINGS)
