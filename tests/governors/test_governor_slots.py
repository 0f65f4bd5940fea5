"""What capacities, slots and their events look like."""

from __future__ import annotations

import contextlib
import json
import random
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.governors.events import governor_event
from mra.governors.slots import (
    HOLDER_HEADER,
    Capacity,
    check_name,
    decode_capacity,
    encode_capacity,
    slot_body,
    slot_headers,
    slot_of,
    waits,
)
from mra.outbox.record import check_draft

AT = 1_773_480_061_000_000_000


@given(st.builds(Capacity, st.integers(0, 1000), st.integers(1, 86_400)))
def test_a_capacity_is_read_as_it_was_written(capacity):
    assert decode_capacity("G", encode_capacity(capacity)) == capacity


@given(
    st.binary() | st.builds(lambda a, b: json.dumps({"slots": a, "lease": b}).encode(), st.integers(), st.integers())
)
def test_a_capacity_is_read_within_its_limits_or_refused_in_one_sentence(body):
    with contextlib.suppress(BadInput):
        capacity = decode_capacity("G", body)
        assert 0 <= capacity.slots <= 1000
        assert 1 <= capacity.lease <= 86_400


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"slots": 1}', b'{"slots": -1, "lease": 60}', b"9" * 5000])
def test_a_garbled_capacity_is_named(body):
    with pytest.raises(BadInput, match=r"^The capacity of governor G is garbled at the SaaS: set it again\.$"):
        decode_capacity("G", body)


@given(st.text())
def test_a_holder_is_read_back_as_printable_text_and_never_as_nobody(holder):
    slot = slot_of(3, {"Nats-Sequence": "7", HOLDER_HEADER: "abc"}, slot_body(holder))
    assert (slot.number, slot.sequence, slot.owner) == (3, 7, "abc")
    assert slot.holder.isprintable()
    assert len(slot_body(holder)) <= 400


@given(st.dictionaries(st.sampled_from(["Nats-Sequence", HOLDER_HEADER, "Nats-Time-Stamp"]), st.text()), st.binary())
def test_a_slot_with_a_body_is_held_whatever_its_headers_say(headers, body):
    slot = slot_of(0, headers, body)
    assert slot is None or bool(slot.owner) == bool(body)


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", ">", "ä", "x" * 65, "a\r\nNats-TTL:never"])
def test_a_name_is_one_word_of_a_subject(name):
    with pytest.raises(BadInput, match="is no name of a governor"):
        check_name(name)


def test_a_change_of_a_slot_names_what_it_replaces_and_when_it_ends():
    assert slot_headers("id", 60, 12).decode().split("\r\n") == [
        "Nats-Expected-Last-Subject-Sequence:12",
        "Nats-TTL:60s",
        "Mra-Holder:id",
        "",
    ]


def test_the_waits_grow_from_a_quarter_second_to_about_five():
    first, second, *others = islice(waits(random.Random(1)), 200)
    assert first == 0.25
    assert 0.375 <= second <= 1.125
    assert all(2.5 <= wait <= 7.5 for wait in others[9:])


def test_an_event_names_the_machine_in_its_subject_and_has_one_id():
    draft = governor_event("edge", "pump guard.1", "REFILL", 212, "enter", AT)
    check_draft(draft)
    assert draft.subject == "lifecycle.event.governor.pump_guard_1"
    event = json.loads(draft.body)
    assert list(event["data"]) == [
        *("protocol", "id", "identity", "component", "timestamp", "governor", "sequence", "event_type")
    ]
    assert event["id"] == event["data"]["id"] == draft.id
    assert (event["data"]["component"], event["data"]["sequence"], event["data"]["event_type"]) == (
        "pump guard.1",
        212,
        "enter",
    )
