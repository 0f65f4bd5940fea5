"""The pure rules of the uplink: what an answer means, where we stand, how much to send."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.aio.session import Message
from mra.errors import LinkLost, Misconfigured, MraError, Rejected, Unavailable
from mra.outbox.lanes import LaneState
from mra.outbox.record import Lane, Row
from mra.uplink import answers
from mra.uplink.batch import HEADER_ALLOWANCE, Batch, too_large
from mra.uplink.checkpoint import Checkpoint, Stored, decode, encode
from mra.uplink.pace import MAX_BYTES, MAX_ROWS, TOTAL_SECONDS, Pace, Shares
from mra.uplink.reconcile import Adopt, Ahead, Behind, Foreign, InStep, judge, needs_digest


def answer(body: bytes, status: str = "") -> Message:
    return Message("inbox", body, {}, status)


def refusal(err_code: int, code: int = 400) -> Message:
    return answer(json.dumps({"error": {"code": code, "err_code": err_code, "description": "no"}}).encode())


@pytest.mark.parametrize(
    ("err_code", "meaning"),
    [
        (10071, answers.CheckpointMoved),
        (10164, answers.CheckpointMoved),
        (10077, answers.NoRoom),
        (10023, answers.NoRoom),
        (10210, answers.NoRoom),
        (10176, answers.BatchIncomplete),
        (10201, answers.BatchIncomplete),
        (10174, answers.NotAtomic),
        (10054, Rejected),
        (10111, Rejected),
        (10109, Misconfigured),
        (10166, Misconfigured),
    ],
)
def test_every_refusal_has_one_meaning(err_code: int, meaning: type[MraError]) -> None:
    with pytest.raises(meaning):
        answers.stream_sequence(refusal(err_code))


@pytest.mark.parametrize("code", [429, 500, 503])
def test_an_unknown_trouble_of_the_server_is_not_the_messages_fault(code: int) -> None:
    with pytest.raises(answers.NoRoom):
        answers.stream_sequence(refusal(19999, code))


def test_an_unknown_refusal_is_the_messages_fault() -> None:
    with pytest.raises(Rejected):
        answers.stream_sequence(refusal(19999))


def test_no_stream_is_worth_another_try() -> None:
    with pytest.raises(Unavailable, match="No stream"):
        answers.stream_sequence(answer(b"", "503"))


def test_a_duplicate_is_a_success() -> None:
    assert answers.stream_sequence(answer(b'{"stream":"S","seq":7,"duplicate":true}')) == 7


@given(st.binary(max_size=200))
def test_whatever_is_no_acknowledgement_is_no_success(body: bytes) -> None:
    try:
        document = json.loads(body)
        acknowledged = isinstance(document, dict) and "seq" in document
    except ValueError:
        acknowledged = False
    if acknowledged:
        return
    with pytest.raises(MraError) as caught:
        answers.stream_sequence(answer(body))
    assert isinstance(caught.value, LinkLost | Rejected | Unavailable | Misconfigured)


def here(epoch: str, settled: int, *, checkpoint_seq: int = 0) -> LaneState:
    waiting = 99 - settled
    return LaneState(
        name=Lane.EVENTS, epoch=epoch, next_seq=100, claimed_through=settled, settled_through=settled,
        checkpoint_seq=checkpoint_seq, epoch_total=settled, thinned_through=0, thin_until=0, accepted=99,
        delivered=settled, waiting=waiting, parked=0, shed=0, accepted_bytes=0, waiting_bytes=0, held=None,
    )  # fmt: skip


def stored(epoch: str, through: int, *, count: int = 1, seq: int = 50) -> Stored:
    return Stored(Checkpoint(epoch, through, through, count, through, 0, "digest"), seq)


@pytest.mark.parametrize(
    ("state", "found", "ours", "verdict"),
    [
        (here("a", 0), None, False, InStep),
        (here("a", 5), None, False, Behind),
        (here("a", 5), stored("a", 5), False, InStep),
        (here("a", 5), stored("a", 8), True, Ahead),
        (here("a", 5), stored("a", 8), False, Foreign),
        (here("a", 5), stored("a", 3), False, Behind),
        (here("a", 0), stored("b", 8), False, Adopt),
        (here("a", 0), stored("b", 8), True, Ahead),
        (here("a", 0, checkpoint_seq=50), stored("b", 8), False, Adopt),
        (here("a", 0, checkpoint_seq=49), stored("b", 8), False, Foreign),
        (here("a", 5), stored("b", 8), False, Foreign),
        (here("a", 5), stored("b", 5, count=0), False, Foreign),
    ],
)
def test_the_verdict(state: LaneState, found: Stored | None, ours: bool, verdict: type) -> None:
    assert isinstance(judge(state, found, is_made_of_our_rows=ours), verdict)


def test_no_small_case_settles_what_is_not_proven_or_goes_on_from_somewhere_else() -> None:
    """Every combination of small marks: a verdict that lets the lane go on agrees with what the SaaS says."""
    both = (True, False)
    for settled, through, count, same, ours in itertools.product(range(4), range(4), range(2), both, both):
        state, found = here("a", settled), stored("a" if same else "b", through, count=count)
        proven = ours and needs_digest(state, found)
        verdict = judge(state, found, is_made_of_our_rows=ours)
        if isinstance(verdict, InStep):
            assert same
            assert through == settled
            assert verdict.expected == found.stream_seq
        if isinstance(verdict, Ahead):
            assert proven
        if isinstance(verdict, Adopt):
            assert settled == 0


@given(st.builds(Checkpoint, st.text(), *([st.integers(0, 2**62)] * 5), st.text()))
def test_a_checkpoint_reads_as_it_was_written(checkpoint: Checkpoint) -> None:
    assert decode(encode(checkpoint), 9) == Stored(checkpoint, 9)


@given(st.binary(max_size=100))
def test_a_foreign_checkpoint_is_refused_in_one_sentence(body: bytes) -> None:
    with pytest.raises(Misconfigured):
        decode(body, 9)


def rows(*bodies: bytes) -> list[Row]:
    return [Row(seq, f"id{seq}", "a.b", None, body, 0, 0) for seq, body in enumerate(bodies, 1)]


def test_frames_name_each_rows_predecessor_and_ask_for_one_answer() -> None:
    batch = Batch(Lane.EVENTS, "ep", 0, 0, rows(b"one", "zwölf".encode()), may_continue=False, id="batch")
    wire = batch.frames("n1", "inbox")
    first = (
        b"NATS/1.0\r\nNats-Batch-Id:batch\r\nNats-Batch-Sequence:1\r\nMra-Row:n1-events ep 1 0\r\nMra-Id:id1\r\n\r\n"
    )
    second = first.replace(b"Sequence:1", b"Sequence:2").replace(b"ep 1 0", b"ep 2 1").replace(b"id1", b"id2")
    assert wire == b"".join(
        [
            b"HPUB machine_room.events.a.b inbox %d %d\r\n" % (len(first), len(first) + 3), first, b"one\r\n",
            b"HPUB machine_room.events.a.b %d %d\r\n" % (len(second), len(second) + 6), second, "zwölf\r\n".encode(),
        ]
    )  # fmt: skip


@given(st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=50)), min_size=1, max_size=5))
def test_lengths_in_frames_are_true_whatever_the_headers(parts: list[tuple[str, bytes]]) -> None:
    made = [
        Row(seq, "id", "s", f"X: {text}\r\n".replace("\n", "", 0) if text.isprintable() else None, body, 0, 0)
        for seq, (text, body) in enumerate(parts, 1)
    ]
    wire = Batch(Lane.EVENTS, "ep", 0, 0, made, may_continue=False).frames("n1", "inbox")
    for _, body in parts:
        line, _, wire = wire.partition(b"\r\n")
        head, total = (int(number) for number in line.split()[-2:])
        assert wire[:head].endswith(b"\r\n\r\n")
        assert wire[head:total] == body
        assert wire[total : total + 2] == b"\r\n"
        wire = wire[total + 2 :]
    assert wire == b""


def test_rows_that_no_message_can_carry_are_named() -> None:
    limit = 2000
    made = rows(b"x" * (limit - HEADER_ALLOWANCE), b"x" * (limit - HEADER_ALLOWANCE + 1))
    assert too_large(made, limit) == [2]


def test_batches_grow_while_answers_are_quick_and_shrink_when_they_are_slow() -> None:
    pace = Pace()
    for _ in range(20):
        pace.observe(pace.bytes, 0.01, TOTAL_SECONDS)
    assert pace.bytes == MAX_BYTES
    for _ in range(40):
        pace.observe(pace.bytes, 5.0, TOTAL_SECONDS)
    assert pace.bytes < 4096


def test_a_search_by_halves_ends_at_one_row_and_recovers() -> None:
    pace = Pace()
    size = MAX_ROWS
    while size > 1:
        pace.split(size)
        size = pace.rows
    assert pace.rows == 1
    for _ in range(12):
        pace.observe(10, 0.01, TOTAL_SECONDS)
    assert pace.rows == MAX_ROWS


@given(st.sets(st.sampled_from(list(Lane)), min_size=1))
def test_busy_lanes_share_one_slice_of_the_link(busy: set[Lane]) -> None:
    shares = Shares({lane: weight for weight, lane in enumerate(Lane, 1)})
    for lane in busy:
        shares.enter(lane)
    assert sum(shares.slice(lane) for lane in busy) == pytest.approx(TOTAL_SECONDS)
