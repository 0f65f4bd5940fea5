"""The checkpoint's words: written, read, and read when somebody else wrote them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import Misconfigured
from mra.outbox.record import Lane
from mra.uplink.checkpoint import Checkpoint, Stored, checkpoint_name, decode, encode

MARKS = st.integers(0, 2**63 - 1)
CHECKPOINTS = st.builds(Checkpoint, st.text(), MARKS, MARKS, MARKS, MARKS, st.integers(-(2**63), 2**63 - 1), st.text())


@given(CHECKPOINTS)
def test_a_checkpoint_reads_as_it_was_written(checkpoint: Checkpoint) -> None:
    assert decode(encode(checkpoint), 9) == Stored(checkpoint, 9)


@given(CHECKPOINTS)
def test_it_is_plain_json_for_everybody_else(checkpoint: Checkpoint) -> None:
    assert json.loads(encode(checkpoint)) == {name: getattr(checkpoint, name) for name in Checkpoint.__struct_fields__}


def test_words_of_a_later_version_are_passed_over() -> None:
    body = b'{"epoch":"e","first_seq":1,"through_seq":2,"count":2,"total":2,"created_through":0,"digest":"","new":[1]}'
    assert decode(body, 1).checkpoint == Checkpoint("e", 1, 2, 2, 2, 0, "")


GOOD = {"epoch": "e", "first_seq": 1, "through_seq": 2, "count": 2, "total": 2, "created_through": 0, "digest": "d"}


@pytest.mark.parametrize(
    "change",
    [
        {"through_seq": -1}, {"through_seq": 2**63}, {"through_seq": "2"}, {"through_seq": 2.5}, {"count": None},
        {"total": 10**40}, {"epoch": 7}, {"digest": None}, {"created_through": 2**63}, {"first_seq": True},
    ],
)  # fmt: skip
def test_numbers_that_the_database_could_not_hold_are_somebody_elses(change: dict[str, object]) -> None:
    with pytest.raises(Misconfigured, match="stream sequence 9"):
        decode(json.dumps(GOOD | change).encode(), 9)


@pytest.mark.parametrize("missing", GOOD)
def test_every_word_is_needed(missing: str) -> None:
    with pytest.raises(Misconfigured):
        decode(json.dumps({name: value for name, value in GOOD.items() if name != missing}).encode(), 9)


@pytest.mark.parametrize("body", [b"", b"null", b"\xff", b'{"epoch":"\xff"}', b'{"a":' * 50_000, b"[" * 50_000])
def test_what_is_no_checkpoint_is_refused_in_one_sentence(body: bytes) -> None:
    with pytest.raises(Misconfigured, match="find out who writes there"):
        decode(body, 9)


@given(st.binary(max_size=100))
def test_so_are_random_bytes(body: bytes) -> None:
    with pytest.raises(Misconfigured):
        decode(body, 9)


def test_a_lane_of_an_agent_has_a_name_of_its_own() -> None:
    assert len({checkpoint_name("n1", lane) for lane in Lane}) == len(Lane)
