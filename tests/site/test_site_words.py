"""Words of the bus: whatever arrives is one of them or is refused, and what was said is what is heard."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import BadInput, Fenced, LinkLost, MraError, OutboxFull, Rejected, Unavailable
from mra.outbox.record import Lane, Row, wire_headers
from mra.site.words import (
    ORIGIN_ALLOWANCE,
    Commit,
    Committed,
    Hello,
    Report,
    Welcome,
    answer,
    decode,
    drafts,
    encode,
    refusal,
    sent,
)
from mra.uplink.answers import CheckpointMoved, NoRoom, TooManyRows
from mra.uplink.checkpoint import Checkpoint

KINDS = (Commit, Hello, Report, Welcome, Committed)
NAMES = st.text("abcXYZ-_019", min_size=1, max_size=20)
VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=40).filter(
    lambda value: value == value.strip() and "\x85" not in value
)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_word_or_are_refused(body: bytes) -> None:
    for kind in KINDS:
        for read, refused in ((decode, BadInput), (answer, MraError)):
            with suppress(refused):
                assert isinstance(read(body, kind), kind)


@given(st.recursive(st.none() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(), st.lists, max_leaves=20))
def test_any_message_pack_is_a_word_or_is_refused(value: object) -> None:
    for kind in KINDS:
        with suppress(BadInput):
            assert isinstance(decode(b"+" + msgspec.msgpack.encode(value), kind), kind)


@pytest.mark.parametrize(
    ("error", "heard"),
    [
        (CheckpointMoved("x"), CheckpointMoved), (NoRoom("x"), NoRoom), (OutboxFull("x"), NoRoom),
        (TooManyRows("x"), TooManyRows), (Rejected("x"), Rejected), (Fenced("x"), Fenced), (BadInput("x"), LinkLost),
        (Unavailable("x"), Unavailable),
    ],
)  # fmt: skip
def test_an_error_of_the_leader_is_the_followers_to_act_upon(error: MraError, heard: type[MraError]) -> None:
    with pytest.raises(heard, match="x"):
        answer(encode(refusal(error)), Committed)


@given(st.dictionaries(NAMES.filter(lambda name: not name.lower().startswith(("mra-", "nats-"))), VALUES, max_size=5))
def test_headers_of_a_row_arrive_as_they_were(headers: dict[str, str]) -> None:
    row = Row(3, "id", "a.b", wire_headers(headers), b"x", 0, 0)
    (draft,) = drafts("n2", Lane.EVENTS, "e1", 2, sent([row]))
    assert wire_headers(draft.headers) == row.headers
    assert draft.origin == "n2-events e1 3 2"


def test_the_longest_origin_fits_its_allowance() -> None:
    (draft,) = drafts(
        "n" * 64, Lane.SUBMISSIONS, "e" * 64, 2**63 - 2, sent([Row(2**63 - 1, "i", "a", None, b"", 0, 0)])
    )
    assert len(f"Mra-Origin: {draft.origin}\r\n") <= ORIGIN_ALLOWANCE


def test_a_commit_survives_its_way() -> None:
    rows = [Row(1, "id1", "a.b", None, b"\x00\xff", 0, 5), Row(4, "id4", "a.c", "A: b\r\n", b"", 0, 6)]
    word = Commit("0" * 16, 7, 5, 0, Checkpoint("e", 1, 4, 2, 2, 6, "d"), sent(rows))
    assert decode(encode(word), Commit) == word
