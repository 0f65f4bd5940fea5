"""What the uplink does to rows: read, claim, settle, go back, park; also with rows that the disk has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import Fenced
from mra.outbox import drain, inspection, operator, parking
from mra.outbox.policy import Overflow
from mra.outbox.record import Draft, Lane
from tests.outbox.desk import Desk, policy, settings

if TYPE_CHECKING:
    from pathlib import Path

LANE = Lane.EVENTS


def read(desk: Desk, after: int = 0, rows: int = 100, size: int = 1 << 20) -> drain.Rows:
    return drain.read(desk.connection, LANE, after, max_rows=rows, max_bytes=size)


# -- reading and claiming --------------------------------------------------------------------------------------------


def test_rows_are_read_in_order_behind_a_mark_and_say_whether_more_follow(desk: Desk) -> None:
    desk.accept(LANE, *(b"%d" % n for n in range(5)))
    assert [row.body for row in read(desk, after=2, rows=2).rows] == [b"2", b"3"]
    assert read(desk, after=2, rows=2).more
    assert not read(desk, after=2, rows=3).more
    assert read(desk, after=5) == drain.Rows([], [], more=False)


@given(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=20), limit=st.integers(1, 400))
def test_a_batch_keeps_its_bound_but_is_never_empty(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], limit: int
) -> None:
    with Desk.open(tmp_path_factory.mktemp("drain") / "outbox.db") as desk:
        desk.offer(*(Draft(LANE, "a", bytes(size)) for size in sizes))
        after = 0
        batches = []
        while rows := read(desk, after, size=limit).rows:
            batches.append([len(row.body) for row in rows])
            after = rows[-1].seq
        assert [size for batch in batches for size in batch] == sizes
        assert all(len(batch) == 1 or sum(size + 1 for size in batch) <= limit for batch in batches)


def test_a_claim_holds_when_every_row_that_was_read_is_still_there(desk: Desk) -> None:
    desk.accept(LANE, b"1", b"2", b"3")
    assert drain.advance(desk.connection, LANE, claim=drain.Claim(0, 2, 2))
    assert desk.state(LANE).claimed_through == 2


def test_a_claim_does_not_hold_when_a_row_has_left_since_it_was_read(path: Path) -> None:
    """A newer report of a node may replace one that has just been read; that one must not be sent."""
    with Desk.open(path, settings({LANE: policy(Overflow.NEWEST_PER_KEY)})) as desk:
        desk.accept(LANE, b"1", key="k")
        rows = read(desk).rows
        desk.accept(LANE, b"2", key="k")
        assert not drain.advance(desk.connection, LANE, claim=drain.Claim(0, rows[-1].seq, len(rows)))
        assert desk.state(LANE).claimed_through == 0
        assert [row.body for row in read(desk).rows] == [b"2"]


def test_a_failed_claim_does_not_undo_the_settlement_beside_it(desk: Desk) -> None:
    desk.accept(LANE, b"1", b"2")
    epoch = desk.state(LANE).epoch
    assert not drain.advance(
        desk.connection, LANE, settled=drain.Settlement(epoch, 1, 1, 9), claim=drain.Claim(1, 2, 2)
    )
    state = desk.state(LANE)
    assert (state.settled_through, state.claimed_through, state.delivered) == (1, 1, 1)


# -- settling --------------------------------------------------------------------------------------------------------


def test_a_settlement_counts_what_was_there_and_names_the_checkpoint(desk: Desk) -> None:
    desk.accept(LANE, b"1", b"2", b"3", b"4")
    operator.drop_waiting(desk.connection, LANE, [2], actor="test")
    drain.advance(desk.connection, LANE, settled=drain.Settlement("e", 3, 2, 77))
    state = desk.state(LANE)
    assert (state.delivered, state.waiting, state.shed, state.checkpoint_seq) == (2, 1, 1, 77)
    assert desk.connection.execute("SELECT first_seq, through_seq, count FROM checkpoint").fetchall() == [(1, 3, 2)]


def test_settling_the_same_checkpoint_again_changes_nothing(desk: Desk) -> None:
    desk.accept(LANE, b"1", b"2")
    for _ in range(2):
        drain.advance(desk.connection, LANE, settled=drain.Settlement("e", 1, 1, 5))
        assert (desk.state(LANE).delivered, desk.state(LANE).waiting) == (1, 1)


def test_a_checkpoint_that_lies_behind_is_no_settlement(desk: Desk) -> None:
    """It would make delivered rows wait uncounted."""
    desk.accept(LANE, b"1", b"2")
    desk.deliver(LANE, 2)
    with pytest.raises(Fenced, match=r"settled up to row 2"):
        drain.advance(desk.connection, LANE, settled=drain.Settlement("e", 1, 1, 5))
    assert desk.state(LANE).settled_through == 2


# -- going back ------------------------------------------------------------------------------------------------------


def test_after_a_lost_tail_the_rows_of_the_replay_window_wait_again(desk: Desk) -> None:
    desk.accept(LANE, b"1", b"2", b"3")
    desk.deliver(LANE)
    assert drain.rewind(desk.connection, LANE, through_seq=1, total=1, stream_seq=4) == (2, 0)
    state = desk.state(LANE)
    assert (state.delivered, state.waiting, state.settled_through, state.epoch_total) == (1, 2, 1, 1)
    assert desk.waiting(LANE) == [b"2", b"3"]
    assert drain.rewind(desk.connection, LANE, through_seq=1, total=1, stream_seq=4) == (0, 0)


def test_rows_lost_beyond_the_replay_window_are_counted_as_lost(desk: Desk) -> None:
    desk.accept(LANE, b"1", b"2", b"3")
    desk.deliver(LANE, 2)
    desk.sleep(90_000)
    desk.prune()
    desk.deliver(LANE, 3)
    assert drain.rewind(desk.connection, LANE, through_seq=0, total=0, stream_seq=0) == (1, 2)
    assert desk.losses() == [("events", "saas-lost-tail", 2)]
    assert desk.waiting(LANE) == [b"3"]


# -- parking ---------------------------------------------------------------------------------------------------------


def test_a_parked_row_keeps_its_reason_and_can_be_sent_again_under_a_new_number(desk: Desk) -> None:
    desk.accept(LANE, b"poison", b"fine", key="k", headers={"A": "b"}, ttl=3600)
    assert parking.park(desk.connection, LANE, [1], "too large for the stream") == 1
    [parked] = inspection.parked(desk.connection)
    assert (parked["seq"], parked["reason"]) == (1, "too large for the stream")
    assert operator.requeue(desk.connection, [parked["no"]], actor="olivia") == 1
    row = inspection.row(desk.connection, LANE, 3)
    assert row is not None
    assert (row["body"], row["key"], row["headers"], row["intact"]) == (b"poison", "k", "A: b\r\n", True)
    assert desk.waiting(LANE) == [b"fine", b"poison"]
    assert desk.connection.execute("SELECT actor, action, lane, count FROM audit").fetchall() == [
        ("olivia", "requeue", "events", 1)
    ]


def test_delivered_and_unknown_rows_cannot_be_parked(desk: Desk) -> None:
    desk.accept(LANE, b"1")
    desk.deliver(LANE)
    assert parking.park(desk.connection, LANE, [1, 2, 99], "late") == 0


@pytest.mark.parametrize("size", [3000, 200_000])
def test_poison_is_parked_requeued_and_dropped_in_a_full_file(path: Path, size: int) -> None:
    """Moving a row takes the pages that it leaves: no spare room is needed."""
    with Desk.open(path, settings(max_bytes=1 << 20)) as desk:
        while isinstance(desk.offer(Draft(LANE, "a.b", bytes(size))), list):
            if desk.state(LANE).shed:
                break
        first = desk.kept(LANE)[0]
        assert parking.park(desk.connection, LANE, [first], "too large") == 1
        [parked] = inspection.parked(desk.connection)
        assert operator.requeue(desk.connection, [parked["no"]], actor="test") == 1
        parking.park(desk.connection, LANE, desk.kept(LANE)[-1:], "again")
        [parked] = inspection.parked(desk.connection)
        assert operator.drop_parked(desk.connection, [parked["no"]], actor="test") == 1
        assert desk.problems() == []


# -- damage that SQLite does not see ---------------------------------------------------------------------------------


DAMAGE = {
    "a flipped bit in the body": "body = x'00'",
    "a flipped bit in the id": "id = id || 'x'",
    "an id that is no text": "id = CAST(x'ff41' AS TEXT)",
    "a subject that is no UTF-8": "subject = CAST(x'6180' AS TEXT)",
    "headers from nowhere": "headers = 'A: b'",
    "a body that became a text": "body = 'text'",
    "a body that became a number": "body = 5",
    "an id that became nothing": "id = NULL",
    "a size that became a text": "size = 'large'",
    "a checksum that became nothing": "sum = NULL",
}


@pytest.fixture
def torn(path: Path) -> Path:
    """An outbox whose strict types are gone, as they are on a disk that changes bits."""
    with Desk.open(path) as desk:
        desk.accept(LANE, b"first", b"second", b"third")
        desk.connection.execute("PRAGMA writable_schema = ON")
        lenient = "replace(replace(sql, ' STRICT', ''), ' NOT NULL', '')"
        desk.connection.execute(f"UPDATE sqlite_schema SET sql = {lenient} WHERE name = 'row_events'")
    return path


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_row_that_the_disk_changed_is_found_parked_and_never_sent(torn: Path, change: str) -> None:
    with Desk.open(torn) as desk:
        desk.connection.execute(f"UPDATE row_events SET {change} WHERE seq = 2")
        is_in_the_books = change.startswith("size")
        if not is_in_the_books:
            found = read(desk)
            assert ([row.body for row in found.rows], found.damaged) == ([b"first", b"third"], [2])
            assert any("row 2" in problem for problem in desk.problems())
            assert drain.digest_between(desk.connection, LANE, 1, 3) == ""
        assert parking.park(desk.connection, LANE, [2], "damaged") == 1
        assert [row.body for row in read(desk).rows] == [b"first", b"third"]
        [parked] = inspection.parked(desk.connection)
        if not is_in_the_books:
            with pytest.raises(Exception, match="damaged and cannot be sent"):
                operator.requeue(desk.connection, [parked["no"]], actor="test")
        assert operator.drop_parked(desk.connection, [parked["no"]], actor="test") == 1


def test_the_digest_of_a_batch_is_the_same_as_of_the_rows_it_was_made_of(desk: Desk) -> None:
    desk.accept(LANE, b"1", b"22", b"")
    assert drain.digest_between(desk.connection, LANE, 1, 3) == drain.digest(read(desk).rows)
    assert drain.digest_between(desk.connection, LANE, 1, 2) != drain.digest(read(desk).rows)
