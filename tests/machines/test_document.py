from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.machines.document import MOST_BYTES, from_plain, load


def plain(text):
    return load(text).plain()


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("~", None),
        ("", None),
        ("null", None),
        ("0640", 416),
        ("-017", -15),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b101", 5),
        ("1_000", 1000),
        ("_1", "_1"),
        ("09", "09"),
        ("42", 42),
        ("+7", 7),
        ("1.50", 1.5),
        ("1.2e3", 1200.0),
        (".5", 0.5),
        (".inf", float("inf")),
        ("1e3", "1e3"),
        ("1.2.3", "1.2.3"),
        ("2026-01-01", "2026-01-01"),
        ("12:30:45", "12:30:45"),
        ("'true'", "true"),
        ('"0640"', "0640"),
        ("!!str 0640", "0640"),
        ("! 12", "12"),
        ("!!float 3", 3.0),
        ("٣", "٣"),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(scalar, value):
    found = plain(f"key: {scalar}\n")["key"]
    assert (found, type(found)) == (value, type(value))


def test_every_key_and_value_knows_its_place():
    root = load("a: 1\nlist:\n  - name: x\n    other: [p, q]\n")
    entry = root.value["list"].node.value[0].value["other"]
    assert (entry.line, entry.column) == (4, 5)
    assert (entry.node.value[1].line, entry.node.value[1].column) == (4, 16)
    assert root.value["a"].node.text == "1"


def test_aliases_and_merge_keys_repeat_values():
    text = "base: &b {x: 1, y: 2}\nsame: *b\nown:\n  <<: *b\n  y: 3\nboth:\n  <<: [{x: 7}, *b]\n"
    assert plain(text) == {
        "base": {"x": 1, "y": 2},
        "same": {"x": 1, "y": 2},
        "own": {"x": 1, "y": 3},
        "both": {"x": 7, "y": 2},
    }


def test_only_the_first_document_counts():
    assert plain("a: 1\n---\nb: 2\n") == {"a": 1}
    assert plain("") == {}


def test_values_from_a_program_become_the_same_tree():
    assert from_plain({"a": [1, {"b": None}], "c": "x"}).plain() == {"a": [1, {"b": None}], "c": "x"}


BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
MERGE_BOMB = "m0: &m0 {k0: 1}\n" + "".join(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 40))

REFUSED = [
    ("a: 1\nb: 2\na: 3\n", "line 3: 'a' stands twice"),
    ("a: {b: 1, b: 2}", "line 1: 'b' stands twice"),
    ("'1': a\n1: b\n", "line 2: '1' stands twice"),
    ("a: *nowhere\n", "line 1: \\*nowhere names no value"),
    ("a: &a [*a]\n", "names no value"),
    ("[a, b]: 1\n", "line 1: a key is a map or a list"),
    ("? {a: 1}\n: 2\n", "a key is a map or a list"),
    ("a: [1, 2\nb: 3\n", "line "),
    ("a: 'open\n", "line "),
    ("a:\n\t- b\n", "line "),
    ("a: b: c\n", "line 1"),
    ("a: !!python/object:os.system x\n", "line 1: the tag"),
    ("a: !!binary aGk=\n", "the tag 'binary'"),
    ("a: !!int x\n", "is no int"),
    ("a: !!seq {b: 1}\n", "the tag 'seq'"),
    ("<<: 3\n", "line 1: << can only merge maps"),
    ("%YAML 9.9\n---\na: 1\n", "line 1"),
    ("a: @b\n", "line 1"),
    ("a: \x00\n", "not readable"),
    (b"a: \xff\xfe\n", "not readable"),
    ("[" * 5000, "nested more than 64"),
    ("{a: " * 5000, "nested more than 64"),
    ("\n".join("  " * n + "a:" for n in range(300)), "nested more than 64"),
    ("- " * 5000, "nested more than 64"),
    (BOMB, "more than 50000 values"),
    (MERGE_BOMB, "more than 50000 values"),
    ("- x\n" * (MOST_BYTES // 4), "more than 50000 values"),
    ("#" * (MOST_BYTES + 1), "more than the 256 KiB"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_hostile_documents_are_refused_in_one_sentence(text, reason):
    with pytest.raises(BadInput, match=reason) as refusal:
        load(text)
    assert "\n" not in refusal.value.sentence
    assert len(refusal.value.sentence) < 300


YAML_ISH = st.text(alphabet="ab01.-_:,#&*!|>'\"%@`?{}[]<= \n\t~\\é\x85\ufeff", max_size=120)


@settings(max_examples=1500, deadline=None)
@given(YAML_ISH)
@example("?")
@example("- !<x")
@example("a: |9\n")
@example("%TAG ! x\n---\n!y z")
@example('"\\U00110000"')
@example('"\\ud800"')
def test_any_text_loads_or_is_refused(text):
    with suppress(BadInput):
        load(text)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_load_or_are_refused(raw):
    with suppress(BadInput):
        load(raw)
