"""A damaged database becomes a new one: row by row, loudly, with the damaged file kept."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import stat
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mra.clock import now
from mra.errors import BadInput, Busy
from mra.outbox import inspection, lanes, operator, parking, salvage, sqlite, verification
from mra.outbox.opening import prepare, salvaged_name
from mra.outbox.pages import Pages, _records_of
from mra.outbox.record import Draft, Lane
from mra.outbox.store import Request, accept
from tests.outbox.desk import SETTINGS, Desk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mra.outbox.sqlite import Connection

ROWS = {Lane.SUBMISSIONS: 300, Lane.EVENTS: 3000, Lane.NODES: 300, Lane.METRICS: 300}
PAGE = sqlite.PAGE_SIZE


@pytest.fixture
def full(path: Path) -> Path:
    """An outbox in which rows of every kind stand everywhere; every page is in the file and the log is empty."""
    with Desk.open(path) as desk:
        for lane, rows in ROWS.items():
            for start in range(0, rows, 300):
                desk.offer(*(Draft(lane, "a.b", body(no), key=f"k{no}") for no in range(start, start + 300)))
        desk.deliver(Lane.EVENTS, 400)
        desk.claim(Lane.EVENTS, 600)
        desk.deliver(Lane.NODES, 100)
        parking.park(desk.connection, Lane.EVENTS, [700, 701, 702], "too large")
        desk.sleep(60)
    return path


def body(number: int) -> bytes:
    """Sizes from a fraction of a page to several."""
    return b"%d " % number + b"x" * (9000 if number % 97 == 0 else 600 + number % 400)


def damage(path: Path, *pages: int) -> None:
    """The disk returns rubbish for these pages."""
    with path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * PAGE)
            file.write(random.Random(page).randbytes(PAGE))


def root_of(path: Path, table: str) -> int:
    with closing(sqlite.connect_readonly(path)) as connection:
        return int(connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0])


def seqs_on(path: Path, leaf: int) -> list[int]:
    """Numbers of the rows on a page."""
    with Pages(path) as pages:
        return [record.rowid for record in _records_of(pages, pages.read(leaf), "") if record.rowid]


def leaves_of(path: Path, table: str) -> list[int]:
    """Pages that hold the table's rows."""
    root = root_of(path, table)
    with Pages(path) as pages:

        def belongs(no: int) -> bool:
            while (found := pages.owner(no))[0] == 5:
                no = found[1]
            return no == root

        return [no for no in range(3, pages.count + 1) if pages.read(no)[0] == 0x0D and belongs(no)]


def counts(connection: Connection, lane: Lane) -> tuple[int, int, int, int]:
    """Accepted, delivered, waiting, parked."""
    state = lanes.load(connection, lane)
    return state.accepted, state.delivered, state.waiting, state.parked


Counts = dict[Lane, tuple[int, int, int, int]]


@pytest.fixture
def before(full: Path) -> Counts:
    with closing(sqlite.connect_readonly(full)) as connection:
        return {lane: counts(connection, lane) for lane in Lane}


def inner_pages(path: Path) -> list[int]:
    with Pages(path) as pages:
        return [no for no in range(3, pages.count + 1) if pages.read(no)[0] == 0x05 and pages.owner(no)[0] == 5]


def schema_leaf(path: Path) -> int:
    with Pages(path) as pages:
        return next(no for no in range(3, pages.count + 1) if pages.owner(no) == (5, 1))


@contextmanager
def salvaged(path: Path) -> Iterator[tuple[salvage.Report, Connection]]:
    """Salvage, and open the result, which has to add up."""
    report = salvage.salvage(path)
    with closing(prepare(path, SETTINGS)) as connection:
        yield report, connection
        assert verification.verify(connection) == []


HARMLESS = ("first page", "root of a lane", "an inner page", "pointer map", "checkpoints", "schema", "lane marks")


def page_of(path: Path, what: str) -> int:
    return {
        "first page": lambda: 1,
        "root of a lane": lambda: root_of(path, "row_events"),
        "an inner page": lambda: inner_pages(path)[0],
        "pointer map": lambda: 2,
        "checkpoints": lambda: root_of(path, "checkpoint"),
        "schema": lambda: schema_leaf(path),
        "lane marks": lambda: root_of(path, "lane"),
    }[what]()


@pytest.mark.parametrize("what", HARMLESS)
def test_no_row_is_lost_when_the_page_that_broke_holds_no_rows(full: Path, before: Counts, what: str) -> None:
    damage(full, page_of(full, what))
    with salvaged(full) as (report, connection):
        assert (report.rows, report.lost) == (sum(ROWS.values()) - 3, 0)
        after = {lane: counts(connection, lane) for lane in Lane}
    if what == "lane marks":  # how much was delivered and pruned long ago is no longer known, what waits is
        assert {lane: c[2:] for lane, c in after.items()} == {lane: c[2:] for lane, c in before.items()}
    else:
        assert after == before


def test_what_a_broken_page_held_is_counted_as_lost_and_the_rest_is_kept(full: Path, before: Counts) -> None:
    leaf = next(no for no in leaves_of(full, "row_events") if 1000 in seqs_on(full, no))
    gone = seqs_on(full, leaf)
    damage(full, leaf)
    with salvaged(full) as (report, connection):
        assert report.lost == len(gone)
        kept = {seq for (seq,) in connection.execute("SELECT seq FROM row_events")}
        assert kept == set(range(1, ROWS[Lane.EVENTS] + 1)) - {700, 701, 702} - set(gone)
        losses = [(loss["lane"], loss["reason"], loss["count"]) for loss in inspection.losses(connection)]
        assert losses == [("events", "corrupt", len(gone))]
        accepted, delivered, waiting, _ = counts(connection, Lane.EVENTS)
        assert (accepted, delivered) == before[Lane.EVENTS][:2]
        assert waiting == before[Lane.EVENTS][2] - len(gone)


def test_rows_beside_a_broken_one_on_its_page_are_kept(full: Path) -> None:
    leaf = next(no for no in leaves_of(full, "row_events") if 1000 in seqs_on(full, no))
    neighbours = seqs_on(full, leaf)
    with full.open("r+b") as file:
        file.seek((leaf - 1) * PAGE + 8)
        file.write(b"\xff\xff")  # the place of the first row on the page
    with salvaged(full) as (report, connection):
        assert report.lost == 1
        kept = {seq for (seq,) in connection.execute("SELECT seq FROM row_events")}
        assert kept.issuperset(neighbours[1:])


@pytest.mark.parametrize("seed", range(12))
def test_random_damage_is_survived_and_counted(full: Path, before: Counts, seed: int) -> None:
    dice = random.Random(seed)
    with Pages(full) as pages:
        broken = dice.sample(range(1, pages.count + 1), dice.choice((1, 3, 10)))
    damage(full, *broken)
    with salvaged(full) as (report, connection):
        after = {lane: counts(connection, lane) for lane in Lane}
        lost = sum(sum(before[lane][2:]) - sum(after[lane][2:]) for lane in Lane)
        if root_of(full, "lane") not in broken:
            assert report.lost == lost
        assert lost <= 20 * len(broken)


def test_the_damaged_file_is_kept_byte_for_byte_and_the_new_one_belongs_to_the_agent_alone(full: Path) -> None:
    damage(full, inner_pages(full)[0])
    image = full.read_bytes()
    with salvaged(full) as (report, connection):
        assert Path(report.kept_file).read_bytes() == image
        assert stat.S_IMODE(full.stat().st_mode) == 0o600
        [audit] = connection.execute("SELECT actor, action, count, detail FROM audit").fetchall()
        assert audit[:3] == ("salvage", "salvage", report.rows)
        assert report.kept_file in audit[3]
    kept = Path(report.kept_file).name
    assert {file.name for file in full.parent.iterdir()} <= {full.name, kept, f"{kept}-wal"}


def test_commits_that_are_only_in_the_log_are_salvaged(path: Path) -> None:
    writer = prepare(path, SETTINGS)
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    accept(writer, path, [Request([Draft(Lane.EVENTS, "a.b", body(no)) for no in range(500)])], SETTINGS, now())
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    shutil.copy(path.with_name(path.name + "-wal"), copy.with_name(copy.name + "-wal"))
    writer.close()
    with copy.open("r+b") as file:
        file.write(b"\0" * PAGE)
    with salvaged(copy) as (report, _):
        assert (report.rows, report.lost) == (500, 0)


def test_a_lane_without_marks_goes_on_behind_its_newest_checkpoint(full: Path) -> None:
    with closing(sqlite.connect_readonly(full)) as connection:
        old = lanes.load(connection, Lane.EVENTS)
    damage(full, page_of(full, "lane marks"))
    with salvaged(full) as (report, connection):
        state = lanes.load(connection, Lane.EVENTS)
        assert (state.settled_through, state.checkpoint_seq) == (old.settled_through, old.checkpoint_seq)
        assert (state.epoch_total, state.next_seq) == (0, old.next_seq)
        assert state.epoch != old.epoch
        assert any("marks" in note for note in report.notes)


def test_a_lane_without_marks_and_checkpoints_sends_everything_again(full: Path) -> None:
    damage(full, page_of(full, "lane marks"), page_of(full, "checkpoints"))
    with salvaged(full) as (_, connection):
        state = lanes.load(connection, Lane.EVENTS)
        assert (state.settled_through, state.waiting) == (0, ROWS[Lane.EVENTS] - 3)


def test_loss_entries_that_cannot_be_read_leave_a_ledger_that_adds_up(path: Path) -> None:
    with Desk.open(path) as desk:
        desk.accept(Lane.EVENTS, *(b"x" for _ in range(10)))
        operator.drop_waiting(desk.connection, Lane.EVENTS, [1, 2, 3], actor="test")
    damage(path, root_of(path, "loss"))
    with salvaged(path) as (report, connection):
        assert report.lost == 0
        assert [(loss["reason"], loss["count"]) for loss in inspection.losses(connection)] == [("ledger-lost", 3)]


@pytest.mark.parametrize("content", [b"Dear diary\n" * 1000, b"\0" * 40960, b"SQLite format 3\0" + b"\0" * 9000])
def test_a_file_in_which_nothing_can_be_recognised_is_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(BadInput, match="move it away"):
        salvage.salvage(path)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_process_that_writes_is_waited_for_and_finds_its_file_gone(full: Path) -> None:
    with closing(sqlite.connect(full)) as other:
        salvage.salvage(full)
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    with closing(prepare(full, SETTINGS)) as connection:
        assert verification.verify(connection) == []
        assert connection.execute("SELECT count(*) FROM row_events").fetchone() == (ROWS[Lane.EVENTS] - 3,)


def die_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process be killed before its `step`th change of a directory."""
    steps = itertools.count()

    def deadly(change: Any) -> Any:
        def counted(*arguments: Any) -> Any:
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*arguments)

        return counted

    monkeypatch.setattr(Path, "rename", deadly(Path.rename))
    monkeypatch.setattr(salvage, "sync_directory", deadly(salvage.sync_directory))
    monkeypatch.setattr(os, "fsync", deadly(os.fsync))


@pytest.mark.parametrize("step", range(12))
def test_a_salvage_that_was_killed_is_finished_or_begun_anew(
    full: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(full, inner_pages(full)[0])
    child = os.fork()
    if child == 0:
        die_at(step, monkeypatch)
        salvage.salvage(full)
        os._exit(0)
    _, status = os.waitpid(child, 0)

    if os.WIFSIGNALED(status):
        if salvaged_name(full).exists():
            with pytest.raises(Busy, match="being salvaged"):
                prepare(full, SETTINGS)
            assert salvage.finish(full)
        elif not [file for file in full.parent.iterdir() if ".damaged-" in file.name]:
            salvage.salvage(full)
    assert not salvage.finish(full)
    with closing(prepare(full, SETTINGS)) as connection:
        assert verification.verify(connection) == []
        assert connection.execute("SELECT count(*) FROM row_events").fetchone() == (ROWS[Lane.EVENTS] - 3,)
    kept = {file.name for file in full.parent.iterdir() if ".damaged-" in file.name}
    assert len({name.removesuffix("-wal") for name in kept}) == 1
