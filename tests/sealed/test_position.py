"""Where a file's part begins at the SaaS: every case of the table."""

from __future__ import annotations

import pytest

from mra.errors import Refused
from mra.outbox.record import Lane
from mra.sealed.contents import Part
from mra.sealed.position import Position, find_position
from mra.uplink.checkpoint import Checkpoint, Stored


def part(first: int, total_before: int, checkpoint_seq: int = 0) -> Part:
    return Part(Lane.EVENTS, "ours", first, first + 9, total_before, checkpoint_seq)


def stored(epoch: str, through: int, total: int, stream_seq: int = 50) -> Stored:
    return Stored(Checkpoint(epoch, 1, through, 1, total, 0, "digest"), stream_seq)


@pytest.mark.parametrize(
    ("file", "found", "position"),
    [
        (part(1, 0), None, Position(0, 0, 0)),
        (part(4, 0), None, Position(3, 0, 0)),  # the first rows were shed, or sent in an epoch before
        (part(1, 0), stored("ours", 0, 0), Position(0, 0, 50)),  # a marker
        (part(4, 3), stored("ours", 3, 3), Position(3, 3, 50)),
        (part(4, 3), stored("ours", 7, 6), Position(7, 6, 50)),  # one of them was parked at the site
        (part(4, 3), stored("ours", 99, 90), Position(99, 90, 50)),
        (part(4, 0, checkpoint_seq=50), stored("theirs", 8, 8), Position(3, 0, 50)),
    ],
)
def test_a_file_that_fits_begins_behind_what_is_stored(file: Part, found: Stored | None, position: Position) -> None:
    assert find_position(file, found, agent="site1") == position


@pytest.mark.parametrize(
    ("file", "found", "sentence"),
    [
        (part(4, 3), None, "rows up to 3 first"),
        (part(9, 8), stored("ours", 3, 3), "Rows 4 to 8 of lane events of site1 are missing"),
        (part(1, 0), stored("theirs", 8, 8), "import with --adopt"),
        (part(4, 3, checkpoint_seq=50), stored("theirs", 8, 8), "another writer"),
        (part(4, 0, checkpoint_seq=49), stored("theirs", 8, 8), "another writer"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_a_sentence(file: Part, found: Stored | None, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        find_position(file, found, agent="site1")


def test_a_new_installation_begins_with_its_own_rows_when_the_operator_says_so() -> None:
    position = find_position(part(1, 0), stored("theirs", 8, 8), agent="site1", adopt=True)
    assert position == Position(0, 0, 50)
    assert position.previous == 0
    with pytest.raises(Refused):  # a site that has delivered is no new one, whatever the operator says
        find_position(part(4, 3), stored("theirs", 8, 8), agent="site1", adopt=True)
