"""What is accepted is accepted whole, once, and only if it could be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import BadInput, OutboxFull
from mra.outbox import inspection, parking
from mra.outbox.policy import Overflow
from mra.outbox.record import LARGEST_BODY, Draft, Lane, check_draft, wire_headers
from mra.outbox.sqlite import Error, IntegrityError
from mra.outbox.store import Request
from tests.outbox.desk import Desk, policy, settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mra.outbox.sqlite import Connection

EVENT = Draft(Lane.EVENTS, "a.b", b"event")


def note(connection: Connection) -> None:
    connection.execute("INSERT INTO meta VALUES ('noted', 'yes')")


def notes(desk: Desk) -> int:
    return int(desk.connection.execute("SELECT count(*) FROM meta").fetchone()[0])


def test_rows_are_numbered_without_gaps_in_the_order_given(desk: Desk) -> None:
    receipts = desk.accept(Lane.EVENTS, b"1", b"2") + desk.accept(Lane.EVENTS, b"3")
    assert [receipt.seq for receipt in receipts] == [1, 2, 3]
    assert len({receipt.id for receipt in receipts}) == 3
    assert desk.waiting(Lane.EVENTS) == [b"1", b"2", b"3"]


def test_a_request_over_several_lanes_is_accepted_whole(desk: Desk) -> None:
    drafts = [Draft(lane, "a.b", lane.encode()) for lane in (*Lane, *Lane)]
    outcome = desk.offer(*drafts)
    assert isinstance(outcome, list)
    assert [(receipt.lane, receipt.seq) for receipt in outcome] == [(lane, n) for n in (1, 2) for lane in Lane]


def test_a_request_refused_in_its_second_lane_leaves_nothing_in_the_first(path: Path) -> None:
    tight = settings({Lane.EVENTS: policy(Overflow.DROP_OLDEST, 2000), Lane.SUBMISSIONS: policy(max_bytes=1000)})
    with Desk.open(path, tight) as desk:
        desk.accept(Lane.EVENTS, *(b"%d" % n * 100 for n in range(8)))
        desk.accept(Lane.SUBMISSIONS, b"x" * 800)
        before = desk.waiting(Lane.EVENTS)
        outcome = desk.offer(EVENT._replace(body=b"y" * 1000), Draft(Lane.SUBMISSIONS, "a.b", b"z" * 500))
        assert isinstance(outcome, OutboxFull)
        assert desk.waiting(Lane.EVENTS) == before
        assert desk.losses() == []
        assert desk.problems() == []


@pytest.mark.parametrize("spoiled", [0, 1, 2])
def test_one_refused_request_of_a_group_refuses_no_other(desk: Desk, spoiled: int) -> None:
    requests = [Request([Draft(Lane.EVENTS, "a.b", b"%d" % n)]) for n in range(3)]
    requests[spoiled] = Request([EVENT, EVENT._replace(subject="not a subject")])
    outcomes = desk.offer_group(*requests)
    assert [isinstance(outcome, BadInput) for outcome in outcomes] == [n == spoiled for n in range(3)]
    assert desk.waiting(Lane.EVENTS) == [b"%d" % n for n in range(3) if n != spoiled]


# -- also --------------------------------------------------------------------------------------------------------------


def test_a_change_of_state_and_its_event_are_stored_together(desk: Desk) -> None:
    desk.offer(EVENT, also=note)
    assert (notes(desk), desk.waiting(Lane.EVENTS)) == (1, [b"event"])


def breaks_a_constraint(connection: Connection) -> None:
    note(connection)
    note(connection)


def has_a_bug(connection: Connection) -> None:
    note(connection)
    raise ZeroDivisionError


def speaks_bad_sql(connection: Connection) -> None:
    note(connection)
    connection.execute("SELECT nothing FROM nowhere")


def binds_a_giant(connection: Connection) -> None:
    note(connection)
    connection.execute("SELECT ?", (1 << 80,))


@pytest.mark.parametrize(
    ("also", "error"),
    [
        (breaks_a_constraint, IntegrityError),
        (has_a_bug, ZeroDivisionError),
        (speaks_bad_sql, Error),
        (binds_a_giant, OverflowError),
    ],
)
def test_a_failing_also_fails_its_own_request_alone(desk: Desk, also: Any, error: type[Exception]) -> None:
    first, failed, last = desk.offer_group(
        Request([EVENT._replace(body=b"first")]), Request([EVENT], also), Request([EVENT._replace(body=b"last")])
    )
    assert isinstance(failed, error)
    assert isinstance(first, list)
    assert isinstance(last, list)
    assert [receipt.seq for receipt in first + last] == [1, 2]
    assert (notes(desk), desk.waiting(Lane.EVENTS)) == (0, [b"first", b"last"])


def test_what_also_changed_goes_when_its_rows_are_refused(path: Path) -> None:
    with Desk.open(path, settings({Lane.EVENTS: policy(max_bytes=300)})) as desk:
        desk.accept(Lane.EVENTS, b"x" * 150)
        assert isinstance(desk.offer(EVENT, also=note), OutboxFull)
        assert notes(desk) == 0


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_an_also_that_ends_the_transaction_fails_the_group_and_leaves_the_connection_usable(
    desk: Desk, ending: str
) -> None:
    with pytest.raises(RuntimeError, match="ended the transaction"):
        desk.offer(EVENT, also=lambda connection: connection.execute(ending))
    assert desk.waiting(Lane.EVENTS) == []
    desk.accept(Lane.EVENTS, b"next")


# -- submissions are accepted once -----------------------------------------------------------------------------------


def test_a_submission_repeated_under_its_id_is_accepted_once(desk: Desk) -> None:
    [first] = desk.accept(Lane.SUBMISSIONS, b"order", id="order-1")
    [again] = desk.accept(Lane.SUBMISSIONS, b"order", id="order-1")
    assert (again.seq, again.repeated, first.repeated) == (first.seq, True, False)
    assert desk.waiting(Lane.SUBMISSIONS) == [b"order"]


def test_repetition_shows_within_a_group_and_within_a_request(desk: Desk) -> None:
    order = Draft(Lane.SUBMISSIONS, "a.b", b"order", id="order-1")
    other = order._replace(id="order-2")
    first, second = desk.offer_group(Request([order, other, order]), Request([other, order]))
    assert [r.seq for r in first] == [1, 2, 1]
    assert [r.repeated for r in first] == [False, False, True]
    assert [(r.seq, r.repeated) for r in second] == [(2, True), (1, True)]


def test_a_request_taken_back_does_not_count_as_an_earlier_one(desk: Desk) -> None:
    order = Draft(Lane.SUBMISSIONS, "a.b", b"order", id="order-1")
    _, accepted = desk.offer_group(Request([order], has_a_bug), Request([order]))
    assert [(r.seq, r.repeated) for r in accepted] == [(1, False)]


@pytest.mark.parametrize("standing", ["in flight", "delivered", "parked", "requeued"])
def test_an_id_is_remembered_wherever_its_row_stands(desk: Desk, standing: str) -> None:
    desk.accept(Lane.SUBMISSIONS, b"order", id="order-1")
    if standing == "in flight":
        desk.claim(Lane.SUBMISSIONS, 1)
    elif standing == "delivered":
        desk.deliver(Lane.SUBMISSIONS)
    else:
        parking.park(desk.connection, Lane.SUBMISSIONS, [1], "refused")
    if standing == "requeued":
        from mra.outbox import operator

        operator.requeue(desk.connection, [1], actor="test")
    [again] = desk.accept(Lane.SUBMISSIONS, b"order", id="order-1")
    assert again.repeated


def test_a_repeated_submission_gets_its_receipt_although_the_lane_is_full(path: Path) -> None:
    with Desk.open(path, settings({Lane.SUBMISSIONS: policy(max_bytes=300)})) as desk:
        desk.accept(Lane.SUBMISSIONS, b"x" * 150, id="order-1")
        assert isinstance(desk.offer(Draft(Lane.SUBMISSIONS, "a.b", b"x" * 150, id="order-2")), OutboxFull)
        [again] = desk.accept(Lane.SUBMISSIONS, b"x" * 150, id="order-1")
        assert again.repeated


def test_other_lanes_take_an_id_as_often_as_it_comes(desk: Desk) -> None:
    assert [r.seq for r in desk.accept(Lane.EVENTS, b"1", b"2", id="same")] == [1, 2]


# -- what could never be sent ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lane", "events"),
        ("lane", None),
        ("subject", ""),
        ("subject", "a b"),
        ("subject", "a..b"),
        ("subject", ".a"),
        ("subject", "a."),
        ("subject", "a.*"),
        ("subject", "a.>"),
        ("subject", "a\r\nPUB x 0\r\n"),
        ("subject", "a\x00"),
        ("subject", "\udcff"),
        ("subject", "x" * 1025),
        ("subject", "\N{PILE OF POO}" * 300),  # 1,200 bytes: a protocol line has room for 4 KiB
        ("subject", "checkpoint"),
        ("subject", "checkpoint.site1-events"),
        ("body", "text"),
        ("body", None),
        ("body", bytearray(b"x")),
        ("id", ""),
        ("id", "a\r\nNats-Rollup: all"),
        ("id", "a b"),
        ("id", "é"),
        ("id", "x" * 129),
        ("key", ""),
        ("key", "a\nb"),
        ("key", "\ud800"),
        ("key", "k" * 1025),
        ("ttl", 0),
        ("ttl", -1.0),
        ("ttl", float("nan")),
        ("ttl", float("inf")),
        ("ttl", 1e18),
        ("headers", {"Nats-Rollup": "all"}),
        ("headers", {"mra-row": "x"}),
        ("headers", {"": "x"}),
        ("headers", {"a b": "x"}),
        ("headers", {"a:b": "x"}),
        ("headers", {"a": "x\r\ny"}),
        ("headers", {"a": "x\x00"}),
        ("headers", {"a": "\udcff"}),
    ],
)
def test_a_record_that_could_never_be_sent_is_refused_in_one_sentence(desk: Desk, field: str, value: Any) -> None:
    outcome = desk.offer(EVENT._replace(**{field: value}))
    assert isinstance(outcome, BadInput)
    assert str(outcome).endswith(".")
    assert "\n" not in str(outcome)
    assert len(str(outcome)) < 250


def test_a_body_that_no_server_takes_is_refused() -> None:
    with pytest.raises(BadInput, match="split it"):
        check_draft(EVENT._replace(body=bytes(LARGEST_BODY + 1)))
    check_draft(EVENT._replace(body=bytes(LARGEST_BODY)))


def test_more_than_a_lane_may_ever_hold_is_refused_for_good(path: Path) -> None:
    with Desk.open(path, settings({Lane.EVENTS: policy(Overflow.DROP_OLDEST, 1000)})) as desk:
        desk.accept(Lane.EVENTS, b"small")
        assert isinstance(desk.offer(EVENT._replace(body=b"x" * 1000)), BadInput)
        assert desk.waiting(Lane.EVENTS) == [b"small"]


@given(st.dictionaries(st.text(), st.text()))
def test_headers_are_refused_or_stay_one_line_each(headers: Mapping[str, str]) -> None:
    try:
        lines = wire_headers(headers)
    except BadInput:
        return
    if not headers:
        assert lines is None
        return
    assert lines is not None
    assert lines.encode().count(b"\r\n") == len(headers)
    assert lines.count("\n") == lines.count("\r") == len(headers)


@given(st.text())
def test_a_subject_is_refused_or_stays_one_word_of_the_protocol(subject: str) -> None:
    try:
        check_draft(EVENT._replace(subject=subject))
    except BadInput:
        return
    assert len(f"PUB machine_room.events.{subject} 0\r\n".encode().split()) == 3


@given(st.binary(max_size=64), st.integers(0, 2**33), st.sampled_from(["id", "subject", "headers", "body", "seq"]))
def test_any_changed_part_of_a_row_changes_its_checksum(body: bytes, seq: int, part: str) -> None:
    from mra.outbox.record import checksum

    whole: dict[str, Any] = {"seq": seq, "id": "id", "subject": "a.b", "headers": None, "body": body}
    other = {"seq": seq + 1, "id": "di", "subject": "a.c", "headers": "A: b\r\n", "body": body + b"\0"}
    changed = {**whole, part: other[part]}
    assert checksum(*whole.values()) != checksum(*changed.values())


# -- bounds of the file and of the host ------------------------------------------------------------------------------


def test_nothing_is_accepted_that_would_leave_the_host_without_space(path: Path) -> None:
    with Desk.open(path, settings(min_free=1 << 60)) as desk:
        outcome = desk.offer(EVENT)
        assert isinstance(outcome, OutboxFull)
        assert "min_free" in str(outcome)


def test_a_full_file_refuses_and_goes_on_after_the_drain(path: Path) -> None:
    """The file stays within its bound, settling works in the full file, and delivered rows make room."""
    with Desk.open(path, settings(max_bytes=1 << 20)) as desk:
        while isinstance(outcome := desk.offer(Draft(Lane.SUBMISSIONS, "a.b", b"x" * 3000)), list):
            pass
        assert isinstance(outcome, OutboxFull)
        assert path.stat().st_size <= 1 << 20
        accepted = desk.state(Lane.SUBMISSIONS).accepted
        assert accepted > 100
        desk.deliver(Lane.SUBMISSIONS)
        large = Draft(Lane.EVENTS, "a.b", b"x" * 3000)
        assert isinstance(desk.offer(large), OutboxFull)  # ten minutes are kept in any case
        desk.sleep(700)
        assert isinstance(desk.offer(large), list)
        assert desk.problems() == []


@pytest.mark.parametrize("size", [1, 700, 2100, 3000, 9000])
@pytest.mark.parametrize("lane", [Lane.METRICS, Lane.EVENTS])
def test_a_lane_that_fills_the_file_never_meets_the_end_of_it(path: Path, lane: Lane, size: int) -> None:
    """No write ever fails: the policy gives way before the last pages, which belong to settling and pruning."""
    with Desk.open(path, settings(max_bytes=1 << 20)) as desk:
        for _ in range(40):
            outcomes = desk.offer_group(*(Request([Draft(lane, "a.b", b"x" * size)]) for _ in range(60)))
            assert all(isinstance(outcome, list) for outcome in outcomes)
            assert path.stat().st_size <= 1 << 20
        desk.deliver(lane)
        assert desk.problems() == []


def test_a_lane_that_could_not_free_enough_gives_up_nothing(path: Path) -> None:
    with Desk.open(path, settings(max_bytes=1 << 20)) as desk:
        desk.accept(Lane.EVENTS, b"one", b"two")
        while isinstance(desk.offer(Draft(Lane.SUBMISSIONS, "a.b", b"x" * 3000)), list):
            pass
        assert isinstance(desk.offer(EVENT._replace(body=b"x" * 9000)), OutboxFull)
        assert desk.waiting(Lane.EVENTS) == [b"one", b"two"]
        assert desk.losses() == []


def test_the_replay_window_gives_way_before_any_row_that_waits(path: Path) -> None:
    with Desk.open(path, settings(max_bytes=1 << 20)) as desk:
        for _ in range(40):
            desk.accept(Lane.EVENTS, *(b"x" * 1000 for _ in range(10)))
        desk.deliver(Lane.EVENTS)
        desk.sleep(700)
        for _ in range(30):
            desk.accept(Lane.METRICS, *(b"y" * 1000 for _ in range(10)))
        assert len(desk.waiting(Lane.METRICS)) == 300
        assert desk.losses() == []
        assert len(desk.kept(Lane.EVENTS)) < 400


def test_every_row_can_be_looked_at_whole(desk: Desk) -> None:
    [receipt] = desk.accept(Lane.NODES, b"\xff\x00", key="k", headers={"A": "b"}, ttl=60)
    row = inspection.row(desk.connection, Lane.NODES, receipt.seq)
    assert row is not None
    assert (row["body"], row["headers"], row["key"], row["intact"]) == (b"\xff\x00", "A: b\r\n", "k", True)
    assert inspection.row(desk.connection, Lane.NODES, 99) is None
