"""The index of desired state: what may stand in it, how one follows another, and what has to be done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.config.bucket import Entry, entry_of, index_of
from mra.config.index import (
    GREATEST_REVISION,
    MOST_KEYS,
    Index,
    Mark,
    Relation,
    check_customer,
    check_key,
    decode,
    encode,
    parse_time,
    plan,
    relate,
)
from mra.errors import BadInput

keys = st.from_regex(r"[a-z]{1,3}(\.[a-z]{1,2})?", fullmatch=True)
revisions = st.integers(1, 50)
contents = st.dictionaries(keys, revisions, max_size=8)
wild_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=9,
)


@given(contents)
def test_an_index_reads_as_it_was_written(content):
    assert decode(encode(content)) == content


@given(st.binary(max_size=200) | wild_json.map(lambda value: repr(value).replace("'", '"').encode("utf-8", "replace")))
def test_garbled_indexes_are_refused_or_hold_only_keys_and_revisions(body):
    try:
        found = decode(body)
    except BadInput:
        return
    assert all(check_key(key) and 0 < revision <= GREATEST_REVISION for key, revision in found.items())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"machines": "7"}',
        b'{"machines": 0}',
        b'{"machines": 1.5}',
        b'{"machines": 99999999999999999999}',
        b'{"index": 1}',
        b'{"a..b": 1}',
        b'{"a.>": 1}',
        b'{"\\ud800": 1}',
        b"[" * 100_000,
        encode({f"k{number}": 1 for number in range(MOST_KEYS + 1)}),
    ],
)
def test_an_index_with_one_wrong_entry_is_refused_whole(body):
    with pytest.raises(BadInput):
        decode(body)


@pytest.mark.parametrize("text", ["", "a.b", "*", ">", "a b", "é", "x" * 65, "a\n"])
def test_a_customer_id_is_one_token_without_wildcards(text):
    with pytest.raises(BadInput):
        check_customer(text)


@pytest.mark.parametrize("text", ["", "index", ".a", "a.", "a..b", "*", "a.>", "a b", "a\n", "x" * 201])
def test_a_key_cannot_reach_beyond_its_customer_nor_replace_the_index(text):
    with pytest.raises(BadInput):
        check_key(text)


@given(known=contents, listed=contents, revision=st.integers(1, 100), afresh=st.booleans())
def test_a_plan_leaves_alone_exactly_what_agrees_with_the_index(known, listed, revision, afresh):
    read, drop = plan(known, Index(listed, revision), afresh=afresh)
    untouched = known.keys() - read - drop
    assert not read & drop
    assert drop <= known.keys()
    assert not drop & listed.keys()
    assert listed.keys() <= read | untouched
    if afresh:
        assert not untouched
    assert all(listed.get(key) == known[key] for key in untouched)


@given(listed=contents, revision=st.integers(51, 100), known=contents)
def test_obeying_an_index_once_leaves_nothing_to_do(listed, revision, known):
    index = Index(listed, revision)
    read, drop = plan(known, index)
    after = {key: value for key, value in known.items() if key not in drop} | {key: listed[key] for key in read}
    assert after == listed
    assert plan(after, index) == (frozenset(), frozenset())


def test_a_key_written_after_the_index_is_looked_at_before_it_goes():
    assert plan({"new": 12, "old": 3}, Index({}, 10)) == ({"new"}, {"old"})


@pytest.mark.parametrize(
    ("index", "mark", "expected"),
    [
        (Index({}, 5), None, Relation.NEXT),
        (Index({}, 6, 200), Mark(5, 100, ""), Relation.NEXT),
        (Index({}, 5, 100), Mark(5, 100, ""), Relation.NEXT),
        (Index({}, 5), Mark(5, 100, ""), Relation.NEXT),
        (Index({}, 5, 200), Mark(5, 100, ""), Relation.OTHER),
        (Index({}, 2, 200), Mark(5, 100, ""), Relation.OTHER),
        (Index({}, 9, 200, "second"), Mark(5, 100, "first"), Relation.OTHER),
        (Index({}, 4, 90, "first"), Mark(5, 100, "first"), Relation.BACK),
        (Index({}, 4), Mark(5, 100, ""), Relation.BACK),
    ],
)
def test_an_index_is_told_from_one_of_another_bucket_and_from_an_older_one(index, mark, expected):
    assert relate(index, mark) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T01:00:00.000000007+01:00", 7),
        ("2026-13-01T00:00:00Z", 0),
        ("yesterday", 0),
        ("0001-01-01T00:00:00Z", 0),
        ("9999-12-31T23:59:59-99:99", 0),
    ],
)
def test_times_of_the_saas_are_read_to_the_nanosecond(text, expected):
    assert parse_time(text) == expected


@given(
    key=st.text(max_size=9) | st.just("index") | keys,
    headers=st.dictionaries(
        st.sampled_from(["Nats-Sequence", "KV-Operation", "Nats-Time-Stamp", "Mra-Bucket"]),
        st.text(max_size=9)
        | st.integers().map(str)
        | st.sampled_from(["DEL", "²", "9" * 5000, "0001-01-01T00:00:00Z"]),
    ),
    body=st.binary(max_size=30),
)
def test_no_message_of_the_feed_raises_anything_but_bad_input(key, headers, body):
    entry = entry_of(key, headers, body)
    if entry is None:
        return
    assert 0 < entry.revision <= GREATEST_REVISION
    assert 0 <= entry.written <= GREATEST_REVISION
    try:
        index_of(entry)
    except BadInput:
        assert entry.value is not None


def test_a_removal_is_an_entry_without_value_and_a_removed_index_is_none():
    assert entry_of("a", {"Nats-Sequence": "4", "KV-Operation": "DEL"}, b"") == Entry("a", 4, None)
    assert index_of(entry_of("index", {"Nats-Sequence": "4", "KV-Operation": "PURGE"}, b"")) is None
