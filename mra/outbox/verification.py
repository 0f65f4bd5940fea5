"""Whether an outbox is sound: the file's pages, the books of each lane, and every row's checksum."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mra.outbox import lanes, sqlite
from mra.outbox.inspection import SLICE, slices
from mra.outbox.record import Lane, Row, is_intact
from mra.outbox.sqlite import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mra.outbox.sqlite import Connection


@dataclass
class Finding:
    """Something that `verify` found wrong."""

    lane: str
    problem: str


def check_pages(path: Path) -> None:
    """Raise Damaged when the file's pages, as they lie on the disk, contradict each other. Blocking."""
    with closing(sqlite.connect_readonly(path)) as connection:
        try:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except Error as error:
            raise sqlite.translate(error, path) from error
    if found != "ok":
        raise sqlite.damaged(path, " ".join(found.split()))


def verify(connection: Connection, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Finding]:
    """Recount every lane against its counters and check every row's checksum; an empty list means all is well.

    The recount sees one moment of a live database. Checksums are looked at in slices, so that a long check does not
    hold up the log of a busy daemon. `progress(done, total)` is called now and then.
    """
    findings: list[Finding] = []
    try:
        findings += [
            Finding("", f"SQLite: {row[0]}") for row in connection.execute("PRAGMA quick_check(10)") if row[0] != "ok"
        ]
        findings += _recount(connection)
        findings += _check_rows(connection, progress)
    except Error as error:
        findings.append(Finding("", f"SQLite: {error}"))
    return findings


def _recount(connection: Connection) -> list[Finding]:
    connection.execute("BEGIN")
    try:
        return [finding for lane in Lane for finding in _compare(connection, lanes.load(connection, lane))]
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


def _compare(connection: Connection, state: lanes.LaneState) -> Iterator[Finding]:
    waiting, waiting_bytes = connection.execute(
        f"SELECT count(*), coalesce(sum(size), 0) FROM {state.table} WHERE seq > ?", (state.settled_through,)
    ).fetchone()
    name = (state.name.value,)
    parked = connection.execute("SELECT count(*) FROM parked WHERE lane = ?", name).fetchone()[0]
    shed = connection.execute("SELECT coalesce(sum(count), 0) FROM loss WHERE lane = ?", name).fetchone()[0]
    for what, counted, kept in (
        ("waiting rows", waiting, state.waiting),
        ("waiting bytes", waiting_bytes, state.waiting_bytes),
        ("parked rows", parked, state.parked),
        ("shed rows in the loss ledger", shed, state.shed),
        ("accepted rows", state.delivered + waiting + parked + state.shed, state.accepted),
    ):
        if counted != kept:
            yield Finding(state.name, f"{what}: {counted} counted, {kept} on the books")


def _check_rows(connection: Connection, progress: Callable[[int, int], None]) -> Iterator[Finding]:
    total = sum(_extent(connection, lane) for lane in Lane)
    done = 0
    for lane in Lane:
        for row in slices(connection, f"seq, id, subject, headers, body, sum, wall FROM {lanes.table_of(lane)}", 0):
            done += 1
            if done % SLICE == 0:
                progress(done, total)
            if not is_intact(Row(*row)):
                yield Finding(lane, f"row {row[0]} does not match its checksum")


def _extent(connection: Connection, lane: Lane) -> int:
    """About how many rows a lane's table holds, at no cost."""
    first, last = connection.execute(f"SELECT min(seq), max(seq) FROM {lanes.table_of(lane)}").fetchone()
    return last - first + 1 if first else 0
