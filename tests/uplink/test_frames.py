"""Batches as bytes, read back by a parser that knows nothing of how they were made."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from mra.aio.session import frame
from mra.errors import BadInput
from mra.outbox.record import Lane, Row, wire_headers
from mra.uplink.batch import HEADER_ALLOWANCE, Batch, checkpoint_headers, too_large
from mra.uplink.checkpoint import Checkpoint, decode, encode
from mra.uplink.pace import MAX_ROWS
from mra.uplink.subjects import Subjects, kind_of


class Published(NamedTuple):
    """One PUB or HPUB as a server reads it."""

    subject: bytes
    reply: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


def parse(wire: bytes) -> list[Published]:
    """The protocol's own grammar; anything else raises."""
    found = []
    while wire:
        line, _, wire = wire.partition(b"\r\n")
        verb, subject, *middle = line.split(b" ")
        head = int(middle[-2]) if verb == b"HPUB" else 0
        total = int(middle[-1])
        reply = middle[0] if len(middle) == (3 if verb == b"HPUB" else 2) else b""
        assert verb in (b"PUB", b"HPUB")
        block, body, ending, wire = wire[:head], wire[head:total], wire[total : total + 2], wire[total + 2 :]
        assert ending == b"\r\n"
        found.append(Published(subject, reply, parse_headers(block), body))
    return found


def parse_headers(block: bytes) -> list[tuple[bytes, bytes]]:
    if not block:
        return []
    version, *lines = block.split(b"\r\n")
    assert version == b"NATS/1.0"
    assert lines[-2:] == [b"", b""], "a header block ends in an empty line"
    pairs = [line.partition(b":") for line in lines[:-2]]
    return [(name, value.strip(b" ")) for name, _, value in pairs]


def row(seq: int, body: bytes = b"body", *, subject: str = "a.b", headers: str | None = None, id_: str = "id") -> Row:
    return Row(seq, id_, subject, headers, body, 0, 7)


def batch(*rows: Row, lane: Lane = Lane.EVENTS, previous: int = 0) -> Batch:
    return Batch(lane, "ep", previous, 0, rows, may_continue=False, id="batch")


def test_rows_name_their_place_in_the_batch_and_their_predecessor_and_the_first_asks_for_an_answer() -> None:
    made = batch(row(5, b"one", id_="x"), row(9, "zwölf".encode(), id_="y"), previous=3)
    assert parse(made.frames(Subjects("n1"), "inbox")) == [
        Published(
            b"machine_room.events.a.b",
            b"inbox",
            [
                (b"Nats-Batch-Id", b"batch"),
                (b"Nats-Batch-Sequence", b"1"),
                (b"Mra-Row", b"n1-events ep 5 3"),
                (b"Mra-Id", b"x"),
            ],
            b"one",
        ),
        Published(
            b"machine_room.events.a.b",
            b"",
            [
                (b"Nats-Batch-Id", b"batch"),
                (b"Nats-Batch-Sequence", b"2"),
                (b"Mra-Row", b"n1-events ep 9 5"),
                (b"Mra-Id", b"y"),
            ],
            "zwölf".encode(),
        ),
    ]


def test_the_commit_is_the_next_message_of_the_batch_and_expects_its_predecessor() -> None:
    made = batch(row(5), row(9))
    wire = frame("machine_room.events.checkpoint.n1-events", "inbox", made.commit_headers(44), encode(made.checkpoint))
    (published,) = parse(wire)
    assert dict(published.headers) == {
        b"Nats-Batch-Id": b"batch",
        b"Nats-Batch-Sequence": b"3",
        b"Nats-Batch-Commit": b"1",
        b"Nats-Expected-Last-Subject-Sequence": b"44",
        b"Nats-TTL": b"never",
    }
    assert decode(published.body, 50).checkpoint == made.checkpoint


def test_a_checkpoint_alone_has_the_same_conditions() -> None:
    (published,) = parse(frame("s", "inbox", checkpoint_headers(0), b"{}"))
    assert dict(published.headers) == {
        b"Nats-Expected-Last-Subject-Sequence": b"0",
        b"Nats-TTL": b"never",
    }


def test_a_row_published_alone_carries_its_id_for_the_duplicate_window() -> None:
    made = batch(row(5, id_="x"), row(9, id_="y", headers="A: b\r\n"), previous=3)
    (published,) = parse(frame("s", "inbox", made.single_headers("n1", 1), b"body"))
    assert published.headers == [
        (b"Nats-Msg-Id", b"y-9"),
        (b"Mra-Row", b"n1-events ep 9 5"),
        (b"Mra-Id", b"y"),
        (b"A", b"b"),
    ]


def test_a_message_without_headers_and_one_without_reply() -> None:
    assert parse(frame("s", "", b"", b"x")) == [Published(b"s", b"", [], b"x")]
    assert parse(frame("s", "r", b"", b"")) == [Published(b"s", b"r", [], b"")]


SUBJECTS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="*>."), min_size=1, max_size=30)
HEADERS = st.dictionaries(st.from_regex(r"X-[A-Za-z]{1,10}", fullmatch=True), st.text(max_size=30), max_size=4)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    pairs = draw(HEADERS)
    try:
        headers = wire_headers(pairs)
    except BadInput:
        headers = None
    id_ = draw(st.from_regex(r"[!-~]{1,128}", fullmatch=True))
    return row(
        draw(st.integers(1, 2**63 - 1)), draw(st.binary(max_size=200)), subject=draw(SUBJECTS), headers=headers, id_=id_
    )


@given(st.lists(rows(), min_size=1, max_size=8), st.sampled_from(list(Lane)))
def test_whatever_can_be_accepted_is_framed_byte_by_byte(made: list[Row], lane: Lane) -> None:
    published = parse(batch(*made, lane=lane).frames(Subjects("n1"), "inbox"))
    assert [one.body for one in published] == [one.body for one in made]
    assert [one.subject.decode() for one in published] == [
        f"machine_room.{kind_of(lane)}.{one.subject}" for one in made
    ]
    for message, source in zip(published, made, strict=True):
        own = b"".join(b"%s: %s\r\n" % pair for pair in message.headers[4:]).decode()
        assert own.replace(": ", ":").replace(" ", "") == (source.headers or "").replace(": ", ":").replace(" ", "")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 4000), st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=300))
def test_a_row_that_passes_the_size_check_fits_into_a_message_either_way(size: int, value: str) -> None:
    """At the worst: the last place in a batch, the longest name of an agent, the longest id, the largest numbers."""
    limit, last = 4096, 2**63 - 1
    one = row(last, bytes(size), headers=wire_headers({"X": value}) if value else None, id_="i" * 128)
    made = Batch(Lane.SUBMISSIONS, "e" * 16, last, 0, [row(last, b"")] * (MAX_ROWS - 1) + [one], may_continue=False)
    *_, atomic = parse(made.frames(Subjects("n" * 64), "inbox"))
    (alone,) = parse(frame("s", "inbox", made.single_headers("n" * 64, MAX_ROWS - 1), one.body))
    largest = max(message_size(atomic), message_size(alone))
    assert (largest <= limit) if not too_large([one], limit) else (largest > limit - HEADER_ALLOWANCE)


def message_size(published: Published) -> int:
    block = b"NATS/1.0\r\n" + b"".join(b"%s: %s\r\n" % pair for pair in published.headers) + b"\r\n"
    return len(block) + len(published.body)


def test_every_oversize_row_is_named_and_no_other() -> None:
    fits, not_ = bytes(2000 - HEADER_ALLOWANCE), bytes(2001 - HEADER_ALLOWANCE)
    assert too_large([row(1, fits), row(2, not_), row(3, b""), row(4, not_)], 2000) == [2, 4]


def test_what_a_header_weighs_is_counted_in_bytes() -> None:
    """A header of three-byte characters would end every new connection if it were counted in characters."""
    headers = wire_headers({"X": "€" * 700})
    assert too_large([row(1, b"", headers=headers)], 2048) == [1]


def test_a_batchs_checkpoint_counts_it_and_goes_on_from_the_total() -> None:
    made = Batch(Lane.EVENTS, "ep", 3, 10, [row(5), row(9)], may_continue=True)
    assert made.checkpoint == Checkpoint("ep", 5, 9, 2, 12, 7, made.checkpoint.digest)
    assert made.size == 8
    assert made.id != Batch(Lane.EVENTS, "ep", 3, 10, [row(5)], may_continue=True).id
