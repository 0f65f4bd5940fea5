"""The reader that counts: its parser against any split of the bytes, and whole streams against a real server."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.protocol import Event, Failure, Info, Message, Parser, Ping, Pong, ProtocolError, encode
from tests.harness.saas import EVENTS, Saas
from tests.harness.wire import ApiError, Part

if TYPE_CHECKING:
    from collections.abc import Iterable

SUBJECT = "machine_room.events.acme.metric.cpu"
CHECKPOINT = "machine_room.events.acme.checkpoint.site1-metrics"

SAID = (
    b'INFO {"server_id": "x"}\r\n'
    b"PING\r\n"
    b"+OK\r\n"
    b"MSG a.b 1 5\r\nhel\r\n\r\n"
    b"MSG a.b 1 back 0\r\n\r\n"
    b"HMSG a 1 24 27\r\nNATS/1.0\r\nA: b\r\nC: d\r\n\r\nxyz\r\n"
    b"HMSG a 1 back 20 20\r\nNATS/1.0 204 EOB\r\n\r\n\r\n"
    b"-ERR 'Authorization Violation'\r\n"
    b"PONG\r\n"
)
HEARD: list[Event] = [
    Info({"server_id": "x"}),
    Message("a.b", "", {}, b"hel\r\n"),
    Message("a.b", "back", {}, b""),
    Message("a", "", {"A": "b", "C": "d"}, b"xyz"),
    Message("a", "back", {}, b"", 204, "EOB"),
    Failure("Authorization Violation"),
]


def hear(chunks: Iterable[bytes]) -> list[Event]:
    parser, heard = Parser(), list[Event]()
    for chunk in chunks:
        parser.feed(chunk)
        while (event := parser.next_event()) is not None:
            heard.append(event)
    return heard


@given(st.lists(st.integers(0, len(SAID))))
def test_parser_hears_the_same_however_the_bytes_are_split(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(SAID)]
    heard = hear(SAID[start:end] for start, end in itertools.pairwise(edges))
    assert [event for event in heard if not isinstance(event, Ping | Pong)] == HEARD
    assert [type(event) for event in heard if isinstance(event, Ping | Pong)] == [Ping, Pong]


def test_parser_refuses_what_is_no_nats() -> None:
    with pytest.raises(ProtocolError, match="HTTP"):
        hear([b"HTTP/1.1 400 Bad Request\r\n"])


def test_publish_is_written_with_and_without_headers() -> None:
    assert encode("a", b"xyz", {}) == b"PUB a 3\r\nxyz\r\n"
    assert encode("a", b"xyz", {"A": "b"}, "r") == b"HPUB a r 18 21\r\nNATS/1.0\r\nA: b\r\n\r\nxyz\r\n"


async def test_reader_sees_every_message_of_a_long_stream_in_order(saas: Saas) -> None:
    async with saas.connect() as wire:
        for start in range(0, 5_000, 1_000):
            numbers = range(start, start + 1_000)
            await wire.store_batch([Part(SUBJECT, b"%d" % n, {"Mra-Id": str(n)}) for n in numbers])
        stored = await wire.read_stream(EVENTS)
    assert [(message.sequence, message.body) for message in stored] == [(n + 1, b"%d" % n) for n in range(5_000)]
    assert stored[4_321].headers["Mra-Id"] == "4321"


async def test_reader_steps_over_holes(saas: Saas) -> None:
    async with saas.connect() as wire:
        await wire.store_batch([Part(SUBJECT, b"%d" % n, {}) for n in range(10)])
    for sequence in (1, 4, 5, 10):
        await saas.delete_message(EVENTS, sequence)
    async with saas.connect() as wire:
        assert [message.sequence for message in await wire.read_stream(EVENTS)] == [2, 3, 6, 7, 8, 9]


async def test_reader_sees_checkpoints_where_they_stand(saas: Saas) -> None:
    headers = {"Nats-TTL": "never"}
    async with saas.connect() as wire:
        for n in range(3):
            await wire.store_batch([Part(SUBJECT, b"%d" % n, {}), Part(CHECKPOINT, b"%d" % n, headers)])
        stored = await wire.read_stream(EVENTS)
    assert [(message.subject, message.body) for message in stored] == [
        (SUBJECT, b"0"),
        (CHECKPOINT, b"0"),
        (SUBJECT, b"1"),
        (CHECKPOINT, b"1"),
        (SUBJECT, b"2"),
        (CHECKPOINT, b"2"),
    ]


async def test_empty_stream_reads_as_nothing(saas: Saas) -> None:
    async with saas.connect() as wire:
        assert await wire.read_stream(EVENTS) == []
        await wire.store(SUBJECT, b"gone")
        await wire.ask(f"$JS.API.STREAM.PURGE.{EVENTS}")
        assert await wire.read_stream(EVENTS) == []


async def test_batch_is_stored_whole_or_not_at_all(saas: Saas) -> None:
    fence = {"Nats-Expected-Last-Subject-Sequence": "0"}
    async with saas.connect() as wire:
        parts = [Part(SUBJECT, b"row", {}), Part(CHECKPOINT, b"1", fence)]
        assert (await wire.store_batch(parts))["count"] == 2
        with pytest.raises(ApiError) as refused:
            await wire.store_batch(parts)
        assert refused.value.code == 10071
        stored = await wire.read_stream(EVENTS)
    assert [(message.sequence, message.subject, message.body) for message in stored] == [
        (1, SUBJECT, b"row"),
        (2, CHECKPOINT, b"1"),
    ]
    assert fence.items() <= stored[1].headers.items()


async def test_what_is_subscribed_to_is_heard_unasked(saas: Saas) -> None:
    async with saas.connect() as listener, saas.connect() as speaker:
        await listener.subscribe("a.*")
        for subject in ("a.b", "b.a", "a.c"):
            await speaker.publish(subject, b"said", reply="back")
        await speaker.flush()
        heard = await listener.heard()
        assert [(message.subject, message.reply) for message in heard] == [("a.b", "back"), ("a.c", "back")]
        assert await listener.heard() == []


async def test_stream_without_atomic_batches_refuses_them(saas: Saas) -> None:
    await saas.change_stream(EVENTS, allow_atomic=False)
    async with saas.connect() as wire:
        with pytest.raises(ApiError) as refused:
            await wire.store_batch([Part(SUBJECT, b"row", {})])
    assert refused.value.code == 10174
