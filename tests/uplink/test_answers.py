"""What an answer of JetStream means; each code of the server has one meaning, and garbage is never a success."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.aio.session import Message
from mra.errors import LinkLost, Misconfigured, MraError, Rejected, Unavailable
from mra.uplink.answers import (
    BatchIncomplete,
    CheckpointMoved,
    NoRoom,
    NotAtomic,
    StreamAway,
    TooManyRows,
    committed_sequence,
    meaning,
    stream_sequence,
)

# Every code of nats-server 2.15.1 that publishing to a stream can be answered with, its HTTP-like code, our meaning.
TABLE: list[tuple[int, int, type[MraError]]] = [
    (10002, 400, NoRoom),  # account limits
    (10008, 503, StreamAway),  # JetStream temporarily unavailable
    (10009, 500, StreamAway),  # not the leader
    (10023, 503, NoRoom),  # server limits
    (10028, 500, NoRoom),  # memory
    (10035, 503, NoRoom),  # account not found: it is being loaded
    (10039, 503, Misconfigured),  # JetStream not enabled for the account
    (10047, 500, NoRoom),  # storage
    (10051, 500, NoRoom),  # stream general error
    (10054, 400, Rejected),  # larger than the stream's max_msg_size
    (10059, 404, Misconfigured),  # stream not found
    (10060, 400, Misconfigured),  # expected stream does not match
    (10063, 503, NoRoom),  # a replica is not up to date
    (10070, 400, CheckpointMoved),
    (10071, 400, CheckpointMoved),  # wrong last sequence
    (10076, 503, Misconfigured),  # JetStream not enabled
    (10077, 503, NoRoom),  # store failed: the stream is full
    (10096, 500, NoRoom),  # stream not valid
    (10097, 400, Rejected),  # header over 64k
    (10109, 400, Misconfigured),  # sealed
    (10111, 500, Misconfigured),  # rollup not permitted: only checkpoints ask for it
    (10118, 500, NoRoom),  # stream offline
    (10122, 400, NoRoom),
    (10158, 409, Unavailable),  # the same id is in process at a replica
    (10163, 503, NoRoom),
    (10164, 400, CheckpointMoved),  # wrong last sequence, from a replica that cannot say more
    (10165, 400, Misconfigured),  # invalid TTL: only checkpoints have one
    (10166, 400, Misconfigured),  # TTLs disabled
    (10167, 429, NoRoom),  # too many requests
    (10169, 400, Misconfigured),  # the stream is a counter
    (10174, 400, NotAtomic),
    (10175, 400, BatchIncomplete),
    (10176, 400, BatchIncomplete),
    (10179, 400, BatchIncomplete),
    (10194, 500, NoRoom),
    (10198, 400, NotAtomic),  # a mirror
    (10199, 400, TooManyRows),
    (10200, 400, BatchIncomplete),
    (10201, 400, BatchIncomplete),
    (10205, 400, Misconfigured),
    (10208, 400, BatchIncomplete),
    (10210, 429, NoRoom),  # too many open batches
    (10211, 429, NoRoom),
]


def answer(body: bytes, status: str = "") -> Message:
    return Message("inbox", body, {}, status)


def refusal(err_code: int, code: int) -> Message:
    """As the server words it: an acknowledgement of message 0 with an error."""
    error = {"code": code, "err_code": err_code, "description": "so"}
    return answer(json.dumps({"error": error, "stream": "S", "seq": 0}).encode())


@pytest.mark.parametrize(("err_code", "code", "expected"), TABLE)
def test_every_code_has_one_meaning(err_code: int, code: int, expected: type[MraError]) -> None:
    with pytest.raises(MraError, match=str(err_code)) as caught:
        stream_sequence(refusal(err_code, code))
    assert type(caught.value) is expected


@given(st.integers(0, 20_000), st.integers(0, 599), st.text(max_size=20))
def test_every_number_has_some_meaning_and_it_is_one_sentence(err_code: int, code: int, description: str) -> None:
    error = meaning(err_code, code, description)
    assert isinstance(error, Unavailable | Rejected | Misconfigured)
    assert not isinstance(error, LinkLost)
    assert str(err_code) in error.sentence


@pytest.mark.parametrize("code", [429, 500, 503])
def test_an_unknown_trouble_of_the_server_is_not_the_messages_fault(code: int) -> None:
    with pytest.raises(NoRoom):
        stream_sequence(refusal(19999, code))


def test_an_unknown_refusal_is_the_messages_fault() -> None:
    """Harmless when it is not: before a row is blamed, its lane must take a checkpoint."""
    with pytest.raises(Rejected):
        stream_sequence(refusal(19999, 400))


def test_no_stream_is_worth_another_try() -> None:
    with pytest.raises(Unavailable, match="No stream"):
        stream_sequence(answer(b"", "503"))


def test_a_duplicate_is_a_success() -> None:
    assert stream_sequence(answer(b'{"stream":"S","seq":7,"duplicate":true}')) == 7


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"7", b"[]", b"{}", b"\xff\xfe", b"+OK", b'{"stream":"S"}', b'{"seq":7}',
        b'{"stream":"S","seq":0}', b'{"stream":"S","seq":-7}', b'{"stream":"S","seq":"7"}', b'{"stream":"S","seq":7.5}',
        b'{"stream":"S","seq":true}', b'{"stream":"S","seq":1e400}', b'{"stream":"S","seq":99999999999999999999999}',
        b'{"stream":"\xff","seq":7}', b'{"stream":"S","seq":7,"error":"no"}', b'{"error":{"code":"x"}}',
        b'{"error":{"err_code":[]}}', b'{"error":[]}', b'{"a":' * 50_000, b"[" * 50_000, b'{"stream":"S","seq":7',
        b'{"stream":"S","seq":7}x',
    ],
)  # fmt: skip
def test_what_is_no_acknowledgement_is_a_lost_link(body: bytes) -> None:
    with pytest.raises(LinkLost, match="no acknowledgement"):
        stream_sequence(answer(body))
    with pytest.raises(LinkLost, match="no acknowledgement"):
        committed_sequence(answer(body), "id", 2)


@given(st.binary(max_size=200), st.sampled_from(["", "100", "404", "408", "503"]))
def test_random_bytes_are_no_success(body: bytes, status: str) -> None:
    with pytest.raises(MraError):
        stream_sequence(answer(body, status))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["stream", "seq", "error", "code", "x"]), inner),
)


@given(JSON)
def test_any_document_is_an_acknowledgement_or_an_error_of_ours(document: object) -> None:
    try:
        sequence = stream_sequence(answer(json.dumps(document).encode()))
    except MraError:
        return
    assert isinstance(document, dict)
    assert document["seq"] == sequence > 0
    assert document["stream"]
    assert document.get("error") is None


def test_a_commit_is_acknowledged_by_naming_the_batch() -> None:
    assert committed_sequence(answer(b'{"stream":"S","seq":4,"batch":"b1","count":4}'), "b1", 4) == 4


@pytest.mark.parametrize(
    "body",
    [
        b'{"stream":"S","seq":4}',  # a server that has never heard of batches stored one message
        b'{"stream":"S","seq":4,"batch":"b2","count":4}',
        b'{"stream":"S","seq":4,"batch":"b1","count":3}',
    ],
)
def test_an_acknowledgement_of_something_else_is_no_commit(body: bytes) -> None:
    with pytest.raises(NotAtomic):
        committed_sequence(answer(body), "b1", 4)
