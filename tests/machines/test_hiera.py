"""Hierarchical data, resolved for a node."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import BadInput, Refused
from mra.machines.expressions import EvaluationError
from mra.machines.hiera import find_placeholders, merge_deep, resolve

FACTS = {"role": "pump", "site": "North", "port": 8080, "load": 0.5, "list": [1, 2], "none": None, "empty": ""}


def data_of(value: object) -> Any:
    return resolve({"data": {"v": value}}, FACTS)["v"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{ lookup('facts.port') }}", 8080),
        ("  ${ lookup('facts.port') }\n", 8080),
        ("{{ lookup('facts.list') }}", [1, 2]),
        ("port {{ lookup('facts.port') }} at ${ lookup('facts.site') | lower() }", "port 8080 at north"),
        ("{{ lookup('facts.port') }}{{ lookup('facts.load') }}", "80800.5"),
        ("list {{ lookup('facts.list') }} {{ lookup('facts.none') }}", "list [1 2] <nil>"),
        ("{{ lookup('facts.absent') }}", ""),
        ("{{ lookup('facts.absent', 5) }}", 5),
        ("{{ lookup('facts.port') > 80 ? 'high' : 'low' }}", "high"),
        ("{{ lookup('facts.port') | int() }}", 8080),
        # quotes and braces inside expressions
        ("{{ '}}' + \"}}\" + `}}` }}", "}}}}}}"),
        ("${ '}' + '\\'}' }", "}'}"),
        ("${ filter([1, 2], {# > 1})[0] }", 2),
        ("${ {a: {b: 1}}.a.b }", 1),
        # what is no expression stays text
        ("$5 {x} ${", "$5 {x} ${"),
        ("{{ never closed", "{{ never closed"),
        ("{{ 'never closed }}", "{{ 'never closed }}"),
        ("${{ lookup('facts.port') }}", "$8080"),
        ("{{ open ${ 1 + 1 }", "{{ open 2"),
    ],
)
def test_strings_hold_expressions(text: str, value: object) -> None:
    assert data_of(text) == value
    assert type(data_of(text)) is type(value)


def test_expressions_are_found_at_any_depth_but_not_in_keys() -> None:
    document = {"a": [{"b": "{{ lookup('facts.port') }}"}], "{{ x }}": 1}
    assert data_of(document) == {"a": [{"b": 8080}], "{{ x }}": 1}


def test_whole_floats_become_integers() -> None:
    assert [type(item) for item in data_of([1.0, 1.5, True, 2])] == [int, float, bool, int]


def layered(merge: str | None, order: list[str]) -> dict[str, object]:
    return {
        "hierarchy": {"order": order, **({"merge": merge} if merge else {})},
        "data": {"level": 50, "packages": ["base"], "web": {"port": 80, "tls": False}, "kept": 1},
        "overrides": {
            "role:pump": {"packages": ["pump"], "web": {"tls": True}},
            "site:North": {"level": "{{ lookup('facts.port') }}", "packages": ["north"]},
            "default": {"level": 1},
            "all": {"level": 99},
        },
    }


ORDER = ["role:{{ lookup('facts.role') }}", "site:{{ lookup('facts.site') }}"]


def test_first_takes_the_first_override_and_replaces_whole_keys() -> None:
    assert resolve(layered(None, ORDER), FACTS) == {
        "level": 50,
        "packages": ["pump"],
        "web": {"tls": True},
        "kept": 1,
    }


def test_deep_merges_every_override_in_order() -> None:
    assert resolve(layered("Deep", ORDER), FACTS) == {
        "level": 8080,
        "packages": ["base", "pump", "north"],
        "web": {"port": 80, "tls": True},
        "kept": 1,
    }


@pytest.mark.parametrize(
    ("order", "level"),
    [
        (["absent", "all"], 99),
        (["{{ lookup('facts.absent') }}all", "default"], 1),
        (["all{{ lookup('facts.none') }}", "default"], 1),
        (["{{ lookup('facts.absent') }}{{ 'all' }}", "default"], 99),
        (["", "all"], 99),
        (["data", "all"], 99),
        ([], 50),
    ],
)
def test_an_entry_that_says_nothing_about_this_node_is_passed_over(order: list[str], level: int) -> None:
    assert resolve(layered("first", order), FACTS)["level"] == level


def test_without_a_hierarchy_the_default_override_applies() -> None:
    assert resolve({"data": {"a": 1}, "overrides": {"default": {"b": 2}}}, {}) == {"a": 1, "b": 2}
    assert resolve({"hierarchy": {}, "overrides": {"default": {"b": 2}}}, {}) == {"b": 2}
    assert resolve({"x": 1}, {}) == {}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"hierarchy": []}, "'hierarchy'"),
        ({"data": "text"}, "'data'"),
        ({"overrides": [1]}, "'overrides'"),
        ({"hierarchy": {"order": "a"}}, "hierarchy.order"),
        ({"hierarchy": {"order": ["a", 2]}}, "hierarchy.order"),
        ({"hierarchy": {"merge": 1}}, "hierarchy.merge"),
        ({"hierarchy": {"order": ["a"], "merge": "union"}, "overrides": {"a": {}}}, "'union'"),
        ({"data": {"v": "{{ readFile('/etc/passwd') }}"}}, "there is no 'readFile'"),
        ({"data": {"v": "{{ 1 + }}"}}, "not complete"),
        ({"data": {"v": "{{ }}"}}, "not complete"),
    ],
)
def test_what_is_no_hierarchical_data_is_refused(document: dict[str, object], reason: str) -> None:
    with pytest.raises(BadInput) as refusal:
        resolve(document, FACTS)
    assert reason in refusal.value.sentence


def test_an_expression_without_a_value_fails_the_resolution() -> None:
    with pytest.raises(EvaluationError, match="nil < int"):
        data_of("{{ lookup('facts.none') < 3 }}")


def test_the_expressions_of_one_document_share_one_budget() -> None:
    with pytest.raises(EvaluationError, match="too many steps"):
        data_of(["{{ len(filter(1..4000, # > 1)) }}"] * 100)
    with pytest.raises(EvaluationError, match="too much memory"):
        data_of(["{{ repeat('x', 100000) }}"] * 100)


def test_a_long_text_of_open_braces_is_refused() -> None:
    with pytest.raises(BadInput, match="many braces"):
        data_of("{{" * 100_000)


def test_data_nested_without_end_is_refused() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BadInput, match="nested"):
        data_of(deep)
    with pytest.raises(Refused, match="nested"):
        resolve({"data": {"v": "x {{ lookup('facts.deep') }}"}}, {"deep": deep})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=10,
)
maps = st.dictionaries(st.sampled_from("abc"), json_values, max_size=3)


@given(maps, maps)
def test_merging_keeps_every_key_and_changes_neither_side(one: dict[str, Any], two: dict[str, Any]) -> None:
    before = copy.deepcopy((one, two))
    assert set(merge_deep(one, two)) == set(one) | set(two)
    assert merge_deep(one, {}) == merge_deep({}, one) == one
    assert (one, two) == before


@given(st.text("{}$'\"`\\ a", max_size=30))
def test_placeholders_do_not_overlap_and_lie_within_the_text(text: str) -> None:
    end = 0
    for placeholder in find_placeholders(text):
        assert end <= placeholder.start < placeholder.stop <= len(text)
        assert text[placeholder.start : placeholder.start + 2] in ("{{", "${")
        assert text[placeholder.stop - 1] == "}"
        end = placeholder.stop


whole = st.sampled_from(["{{ 1 }}", "${ lookup('facts.role') }", "{{ nil }}", "data"])
texts = st.text("{}$'\"`\\ 1+a", max_size=12) | whole
orders = st.lists(texts, max_size=3) | json_values
merges = st.sampled_from(["deep", "first", "x", 1])
documents = st.fixed_dictionaries(
    {},
    optional={
        "hierarchy": st.fixed_dictionaries({}, optional={"order": orders, "merge": merges}) | json_values,
        "data": st.dictionaries(texts, texts | json_values, max_size=3) | json_values,
        "overrides": st.dictionaries(texts, st.dictionaries(texts, texts | json_values, max_size=3)) | json_values,
    },
)


@given(documents)
def test_any_document_is_resolved_or_refused_and_stays_unchanged(document: dict[str, Any]) -> None:
    before = copy.deepcopy(document)
    with contextlib.suppress(Refused):
        resolve(document, FACTS)
    assert document == before
