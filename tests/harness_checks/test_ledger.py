"""The count every chaos test ends in: it must find each kind of failure, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tests.harness.ledger import Counts, LedgerWriter, Row, read_ledger, reconcile

if TYPE_CHECKING:
    from collections.abc import Sequence

ROWS = [Row.new("events", "p1", number) for number in range(1, 6)]


def count(accepted: Sequence[Row], stored: Sequence[Row]) -> Counts:
    return reconcile(accepted, stored)["events"]


def test_everything_once_and_in_order_is_perfect() -> None:
    counts = count(ROWS, ROWS)
    assert counts == Counts(accepted=5, delivered=5)
    assert counts.perfect


def test_lost_row_is_found() -> None:
    counts = count(ROWS, ROWS[:2] + ROWS[3:])
    assert counts == Counts(accepted=5, delivered=4, lost=1)
    assert not counts.perfect


def test_duplicated_row_is_found_and_is_not_also_reordered() -> None:
    counts = count(ROWS, ROWS + ROWS[1:3])
    assert counts == Counts(accepted=5, delivered=5, duplicated=2)
    assert not counts.perfect


def test_reordered_row_is_found() -> None:
    counts = count(ROWS, [ROWS[0], ROWS[2], ROWS[1], ROWS[3], ROWS[4]])
    assert counts == Counts(accepted=5, delivered=5, reordered=1)
    assert not counts.perfect


def test_producers_may_interleave() -> None:
    others = [Row.new("events", "p2", number) for number in range(1, 6)]
    mixed = [row for pair in zip(others, ROWS, strict=True) for row in pair]
    assert count(ROWS + others, mixed) == Counts(accepted=10, delivered=10)


def test_unanswered_row_may_be_there_or_not() -> None:
    assert count(ROWS[:4], ROWS[:4]).perfect
    assert count(ROWS[:4], ROWS) == Counts(accepted=4, delivered=4, unanswered=1)
    assert count(ROWS[:4], ROWS).perfect


def test_unanswered_row_must_not_be_there_twice_or_out_of_turn() -> None:
    assert count(ROWS[:4], [*ROWS, ROWS[4]]).duplicated == 1
    assert count(ROWS[1:], [*ROWS[1:], ROWS[0]]).reordered == 1


def test_row_stored_in_place_of_another_is_a_loss() -> None:
    stranger = Row.new("events", "p1", 3)
    assert count(ROWS, [*ROWS[:2], stranger, *ROWS[3:]]) == Counts(accepted=5, delivered=4, lost=1, unanswered=1)


def test_lanes_are_counted_apart() -> None:
    metrics = [Row.new("metrics", "p1", 1)]
    assert reconcile(ROWS + metrics, ROWS) == {
        "events": Counts(accepted=5, delivered=5),
        "metrics": Counts(accepted=1, lost=1),
    }


@given(accepted=st.sets(st.sampled_from(ROWS)), stored=st.lists(st.sampled_from(ROWS)))
def test_accepted_is_always_delivered_plus_lost(accepted: set[Row], stored: list[Row]) -> None:
    for counts in reconcile(accepted, stored).values():
        assert counts.accepted == counts.delivered + counts.lost
        assert counts.delivered + counts.unanswered + counts.duplicated == len(stored)


def test_row_survives_its_body() -> None:
    assert Row.from_body(ROWS[0].body()) == ROWS[0]
    assert Row.from_body(ROWS[0].body(512)) == ROWS[0]
    assert len(ROWS[0].body(512)) == 512


def test_checkpoints_and_strangers_are_no_rows() -> None:
    for body in (b"", b"17", b"\xff\xfe", b'{"epoch": "e", "through_seq": 5}', b'{"row": 5}'):
        assert Row.from_body(body) is None


def test_ledger_holds_what_was_accepted_by_all_writers(tmp_path: Path) -> None:
    first, second = LedgerWriter(tmp_path), LedgerWriter(tmp_path)
    first.accepted(ROWS[:2])
    second.accepted(ROWS[2:4])
    first.accepted(ROWS[4:])
    first.close()
    second.close()
    assert read_ledger(tmp_path) == frozenset(ROWS)


def test_torn_line_of_a_killed_writer_is_not_accepted(tmp_path: Path) -> None:
    writer = LedgerWriter(tmp_path)
    writer.accepted(ROWS)
    writer.close()
    [file] = tmp_path.glob("*.ledger")
    size = file.stat().st_size
    for missing in (1, 10, 40):
        os.truncate(file, size - missing)
        assert read_ledger(tmp_path) == frozenset(ROWS[:4])


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.harness.ledger import LedgerWriter, Row
LedgerWriter(Path(sys.argv[1])).accepted([Row("events", "p1", 1, "a")])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_ledger_outlives_a_killed_writer(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL
    assert read_ledger(tmp_path) == {Row("events", "p1", 1, "a")}
