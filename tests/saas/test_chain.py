"""The chain tells legitimate holes from missing rows, and sees doubles and disorder."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.saas.chain import Chain, LaneChain, Message, Range
from mra.uplink.checkpoint import Checkpoint, encode

ORIGIN = "n1-events"
EPOCH = "e1"


def row(seq: int, previous: int, *, stream_seq: int = 0, epoch: str = EPOCH, customer: str = "acme") -> Message:
    headers = {"Mra-Row": f"{ORIGIN} {epoch} {seq} {previous}", "Mra-Id": f"id{seq}"}
    return Message(stream_seq, f"machine_room.events.{customer}.machine.transition", headers, b"{}")


def checkpoint(through: int, total: int, *, epoch: str = EPOCH) -> Message:
    body = encode(Checkpoint(epoch, 1, through, total, total, 0, ""))
    return Message(99, f"machine_room.events.acme.checkpoint.{ORIGIN}", {}, body)


def judged(*messages: Message) -> LaneChain:
    chain = Chain()
    for message in messages:
        chain.add(message)
    (lane,) = chain.finish()
    return lane


def test_a_chain_without_gaps_is_complete() -> None:
    lane = judged(row(1, 0), row(2, 1), row(3, 2), checkpoint(3, 3))
    assert lane.is_complete
    assert lane.rows == 3


def test_a_hole_that_the_next_row_does_not_claim_is_no_loss() -> None:
    """Rows 2 and 3 were shed or parked at the site: row 4 names row 1 as its predecessor."""
    assert judged(row(1, 0), row(4, 1), checkpoint(4, 2)).is_complete


def test_a_row_whose_predecessor_is_not_there_names_the_missing_range() -> None:
    lane = judged(row(1, 0), row(5, 4), checkpoint(5, 5))
    assert lane.missing() == [(EPOCH, Range(2, 4))]
    assert not lane.is_complete


def test_a_lost_tail_shows_against_the_checkpoint() -> None:
    assert judged(row(1, 0), row(2, 1), checkpoint(5, 5)).missing() == [(EPOCH, Range(3, 5))]


def test_a_row_stored_twice_is_a_duplicate() -> None:
    lane = judged(row(1, 0), row(2, 1), row(2, 1), checkpoint(2, 2))
    assert (lane.duplicated, lane.reordered) == (1, 0)


def test_a_row_that_comes_late_is_out_of_order_and_not_missing() -> None:
    lane = judged(row(1, 0), row(3, 2), row(2, 1), checkpoint(3, 3))
    assert (lane.reordered, lane.missing()) == (1, [])


def test_rows_before_the_streams_beginning_have_aged_out() -> None:
    lane = judged(row(11, 10), row(12, 11), checkpoint(12, 12))
    assert lane.aged_out() == 10
    assert lane.is_complete


def test_a_missing_row_in_the_middle_shows_in_the_count() -> None:
    """Row 2 was replaced by a row that names row 1: the chain looks whole, the checkpoint's total does not."""
    assert judged(row(1, 0), row(3, 1), checkpoint(3, 3)).problems


def test_a_new_epoch_begins_anew() -> None:
    lane = judged(row(1, 0), row(2, 1), row(3, 0, epoch="e2"), checkpoint(3, 1, epoch="e2"))
    assert lane.is_complete
    assert len(lane.epochs) == 2


def test_rows_without_a_checkpoint_are_a_problem() -> None:
    assert not judged(row(1, 0)).is_complete


def test_customers_are_kept_apart() -> None:
    chain = Chain()
    chain.add(row(1, 0))
    chain.add(row(1, 0, customer="globex"))
    assert [lane.rows for lane in chain.finish()] == [1, 1]


def good(**changed: object) -> bytes:
    fields = {
        "epoch": "e",
        "first_seq": 1,
        "through_seq": 1,
        "count": 1,
        "total": 1,
        "created_through": 0,
        "digest": "",
    }
    return json.dumps({**fields, **changed}).encode()


HOSTILE = (
    b"\xff\xfe",  # no UTF-8 at all
    good(epoch="?").replace(b"?", b"\xff"),  # none within a string
    good(epoch="?").replace(b"?", rb"\ud800"),  # half a surrogate pair
    b"[" * 100_000,
    b'{"x":' * 100_000,
    b'{"through_seq":' + b"9" * 5000 + b"}",
    good(through_seq=2**63),
    good(total=-1),
    good(count=1.5),
    b"null",
    b"",
)


@pytest.mark.parametrize("body", HOSTILE, ids=lambda body: repr(body[:24]))
def test_a_checkpoint_that_is_none_is_a_problem_of_its_lane_alone(body: bytes) -> None:
    chain = Chain()
    for message in (row(1, 0), checkpoint(1, 1), row(1, 0, customer="globex")):
        chain.add(message)
    chain.add(Message(100, "machine_room.events.globex.checkpoint.n1-events", {}, body))
    acme, globex = chain.finish()
    assert acme.is_complete
    assert "The checkpoint at stream sequence 100 is not one of mra's" in globex.problems[0]


@pytest.mark.parametrize(
    "header",
    [
        "n1-events e1",
        "n1-events e1 1",
        "n1-events e1 one 0",
        "n1-events e1 2 1 0",
        "n1-events e1 1 1",
        "n1-events e1 -1 -2",
        f"n1-events e1 {2**63} 0",
        f"n1-events e1 {'9' * 5000} 0",
        "n1-events e1 \u0663 0",
        "n1-events e1 1_0 0",
        "\x1b[31m e1 1 0",
    ],
)
def test_a_row_that_names_itself_wrongly_is_foreign(header: str) -> None:
    chain = Chain()
    chain.add(Message(1, "machine_room.events.acme.x", {"Mra-Row": header}, b""))
    assert (chain.foreign, chain.lanes) == (1, {})


@given(st.text(), st.text(), st.binary(max_size=64))
def test_anything_in_a_stream_is_survived(subject: str, header: str, body: bytes) -> None:
    chain = Chain()
    chain.add(Message(1, subject, {"Mra-Row": header}, body))
    chain.add(Message(2, "machine_room.events.acme.checkpoint.x", {}, body))
    assert list(chain.finish())


@given(st.data())
def test_whatever_is_taken_out_of_or_doubled_in_a_stream_is_found(data: st.DataObject) -> None:
    count = data.draw(st.integers(3, 40))
    kept = sorted(data.draw(st.sets(st.integers(1, count), min_size=2)))  # the others were shed at the site
    sent = [row(seq, previous) for previous, seq in zip([0, *kept], kept, strict=False)]
    index = data.draw(st.integers(1, len(sent) - 1))
    end = checkpoint(kept[-1], len(kept))
    assert judged(*sent, end).is_complete
    assert not judged(*sent[:index], *sent[index + 1 :], end).is_complete
    assert judged(*sent[: index + 1], *sent[index:], end).duplicated == 1


def test_each_follower_of_a_leader_has_a_chain_of_its_own() -> None:
    def carried(seq: int, follower: str, origin_seq: int, previous: int, epoch: str = "f1") -> Message:
        message = row(seq, seq - 1)
        origin = {"Mra-Origin": f"{follower}-events {epoch} {origin_seq} {previous}"}
        return message._replace(headers={**message.headers, **origin})

    chain = Chain()
    for message in (
        carried(1, "n2", 1, 0), carried(2, "n3", 5, 0), carried(3, "n2", 2, 1), carried(4, "n3", 9, 8),
        carried(5, "n2", 2, 1), carried(6, "n2", 3, 0, epoch="f2"), checkpoint(6, 6),
    ):  # fmt: skip
        chain.add(message)
    own, second, third = chain.finish()
    assert (own.origin, own.is_complete, own.via) == ("n1-events", True, set())
    assert (second.origin, second.rows, second.duplicated, second.missing()) == ("n2-events", 3, 1, [])
    assert (third.origin, third.missing(), third.via) == ("n3-events", [("f1", Range(6, 8))], {"n1-events"})
