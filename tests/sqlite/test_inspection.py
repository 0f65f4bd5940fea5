"""The SQL files work with the plain `sqlite3` program and with Datasette, on a live database, and are documented."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mra.clock import now
from mra.outbox import drain, parking
from mra.outbox.outbox import prepare
from mra.outbox.policy import OutboxSettings
from mra.outbox.record import Draft, Lane
from mra.outbox.schema import migrations, statements
from mra.outbox.sqlite import connect
from mra.outbox.store import Request, accept

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mra.outbox.sqlite import Connection

SQL = Path(__file__).resolve().parents[2] / "sqlite"
README = (SQL / "README.md").read_text()
SETTINGS = OutboxSettings(ballast=0, min_free=0)
QUERIES = sorted((SQL / "inspect").glob("*.sql"))


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Path]:
    """A database that somebody has open for writing, with rows in every standing."""
    path = tmp_path / "outbox.db"
    with closing(prepare(path, SETTINGS)) as connection:
        drafts = [Draft(lane, f"some.{lane}", b"{}", key="k") for lane in Lane for _ in range(3)]
        accept(connection, path, [Request(drafts)], SETTINGS, now())
        drain.advance(connection, Lane.EVENTS, claim=drain.Claim(0, 1, 1), settled=drain.Settlement("e", 1, 1, 7))
        parking.park(connection, Lane.EVENTS, [2], "too large")
        yield path


def objects(connection: Connection, kind: str) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = ? AND name NOT LIKE 'sqlite_%'", (kind,))
    return {name for (name,) in rows}


@pytest.mark.parametrize("query", QUERIES, ids=[query.stem for query in QUERIES])
def test_every_query_runs_in_the_plain_program_on_a_live_database(query: Path, live: Path) -> None:
    if shutil.which("sqlite3") is None:
        pytest.skip("the program sqlite3 is not installed")
    with query.open() as text:
        done = subprocess.run(
            ["sqlite3", "-readonly", "-bail", str(live)], stdin=text, capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (0, "")
    if query.stem not in ("losses", "audit"):
        assert done.stdout


def test_every_table_view_and_query_is_documented(live: Path) -> None:
    with closing(connect(live)) as connection:
        names = objects(connection, "table") | objects(connection, "view")
    for name in sorted(names | {query.name for query in QUERIES}):
        assert f"`{name}`" in README, name


def test_the_readable_schema_is_what_the_migrations_make(tmp_path: Path) -> None:
    with (
        closing(prepare(tmp_path / "migrated.db", SETTINGS)) as migrated,
        closing(connect(tmp_path / "whole.db")) as whole,
    ):
        for statement in statements((SQL / "schema.sql").read_text()):
            whole.execute(statement)
        query = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
        assert whole.execute(query).fetchall() == migrated.execute(query).fetchall()
    assert migrations()


def test_the_views_add_up(live: Path) -> None:
    with closing(connect(live)) as connection:
        assert connection.execute("SELECT sum(abs(imbalance)) FROM v_lanes").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM v_parked").fetchone() == (1,)
        waiting = dict(connection.execute("SELECT lane, waiting FROM v_lanes").fetchall())
        counted = dict(connection.execute("SELECT lane, count(*) FROM v_backlog GROUP BY lane").fetchall())
    assert {lane: count for lane, count in waiting.items() if count} == counted


@pytest.mark.lab
@pytest.mark.parametrize("view", ["v_lanes", "v_backlog", "v_parked", "v_losses", "v_checkpoints"])
def test_datasette_shows_the_views_with_their_descriptions(view: str, live: Path) -> None:
    def page(path: str) -> str:
        command = [
            sys.executable,
            "-m",
            "datasette",
            str(live),
            "--metadata",
            str(SQL / "datasette.yaml"),
            "--get",
            path,
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "rows" in json.loads(page(f"/outbox/{view}.json"))
    described = json.loads(page("/-/metadata.json"))
    description = described["databases"]["outbox"]["tables"][view]["description"]
    assert description.split(".")[0].split("`")[0] in page(f"/outbox/{view}")
