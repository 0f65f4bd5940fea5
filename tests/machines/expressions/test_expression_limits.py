"""Expressions come from outside: whatever they say, they end soon, take little and fail in one sentence."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.machines.expressions import Budget, EvaluationError, Function, compile_expression

ENVIRONMENT = {
    "data": {"list": list(range(1000)), "text": "x" * 10_000, "map": {"a": {"b": [1, None, "c"]}}, "flag": True},
    "facts": {"n": 1.5, "surrogate": "\udc80"},
    "identity": "edge-07",
    "f": Function(lambda *arguments: arguments[0] if arguments else None, 0, 2),
}

TOO_MUCH = [
    ("all(1..900, all(1..900, true))", "too many steps"),
    ("len(1..2000000)", "too much memory"),
    ("len(1..9223372036854775807)", "too much memory"),
    ("reduce(1..40, #acc + #acc, 'xxxx')", "too much memory"),
    ("repeat('x', 1000000000000)", "too much memory"),
    ("repeat('', 1000000000000)", "too much memory"),
    ("repeat(repeat('x', 1000), 1000)", "too much memory"),
    ("replace(data.text, 'x', data.text)", "too much memory"),
    ("join(map(1..1000, data.text))", "too much memory"),
    ("map(1..1000, string(data.list))", "too m"),
    ("toJSON(map(1..1000, data))", "too m"),
    ("any(1..5000, data.list == data.list and false)", "too many steps"),
    ("uniq(1..9000)", "too many steps"),
    ("map(1..9000, f(1))", "too many steps"),
    ("map(1..9000, -1 in data.list)", "too many steps"),
    ("map(1..200, sort(data.list)) | map(reverse(#)) | map(concat(#, #)) | flatten()", "too much memory"),
    ("map(1..9000, upper(data.text))", "too much memory"),
    ("map(1..9000, split(data.text, ''))", "too much memory"),
    ("map(1..9000, data.list[1:])", "too much memory"),
    ("reduce(1..100, [#acc], 1) | string()", "nested"),
    ("reduce(1..100, [#acc], 1) == reduce(1..100, [#acc], 1)", "nested"),
    ("reduce(1..100, [#acc], 1) | flatten()", "nested"),
    ("reduce(1..100, [#acc], 1) | max()", "nested"),
    ("fromJSON(repeat('[', 9000) + repeat(']', 9000)) | toJSON()", "not JSON|nested"),
]


@pytest.mark.parametrize(("source", "reason"), TOO_MUCH)
def test_what_costs_too_much_is_stopped(source: str, reason: str) -> None:
    with pytest.raises(EvaluationError, match=reason):
        compile_expression(source).evaluate(ENVIRONMENT)


def test_several_evaluations_can_share_one_budget() -> None:
    budget = Budget(steps=1000)
    expression = compile_expression("len(filter(1..100, # > 50))")
    assert expression.evaluate({}, budget) == 50
    for _ in range(2):
        expression.evaluate({}, budget)
    with pytest.raises(EvaluationError, match="too many steps"):
        expression.evaluate({}, budget)


@pytest.mark.parametrize(
    "source",
    [
        "(" * 5000 + "1" + ")" * 5000,
        "[" * 5000 + "]" * 5000,
        "-" * 5000 + "1",
        "not " * 3000 + "true",
        " ** ".join(["1"] * 3000),
        " + ".join(["1"] * 3000),
        " ? true : ".join(["true"] * 1000) + " ? 1 : 2",
        "a" + ".b" * 5000,
        "a" + "[0" * 3000 + "]" * 3000,
        "all(xs, " * 1000 + "true" + ")" * 1000,
        "1 < " * 3000 + "1",
        "1" + " | f()" * 2000,
    ],
    ids=lambda source: source[:12],
)
def test_a_text_of_endless_depth_is_refused_or_flat(source: str) -> None:
    with contextlib.suppress(BadInput, EvaluationError):
        compile_expression(source).evaluate(ENVIRONMENT)


def test_the_deepest_tree_that_compiles_can_be_evaluated() -> None:
    assert compile_expression(" or ".join(["data.flag == 1"] * 147 + ["true"])).evaluate(ENVIRONMENT) is True
    assert compile_expression("-(" * 70 + "1" + ")" * 70).evaluate({}) == 1
    nested = "any([1], " * 45 + "true" + ")" * 45
    assert compile_expression(nested).evaluate({}) is True
    with pytest.raises(BadInput, match="nested more than 150"):
        compile_expression("any([1], " * 60 + "true" + ")" * 60)


def test_a_text_without_end_is_refused() -> None:
    with pytest.raises(BadInput, match="at most"):
        compile_expression("1 + " * 5000 + "1")


def test_a_pattern_that_hurts_backtracking_engines_is_harmless() -> None:
    environment: dict[str, Any] = {"text": "a" * 20_000}
    assert compile_expression("text matches '^(a+)+$' and text not matches '(a|aa)+b'").evaluate(environment) is True


def _words(text: str) -> list[str]:
    return text.split()


CALLS = _words(
    "all any filter map reduce sum count find len upper split join replace repeat int float string type toJSON "
    "fromJSON toBase64 fromBase64 keys values get take flatten sort uniq max mean median round trim indexOf concat "
    "fromPairs toPairs f now"
)
OPERATORS = _words("+ - * / % ** .. == != < > and or in matches contains startsWith endsWith")
WORDS = (
    OPERATORS
    + [f"{name}(" for name in CALLS]
    + _words("data facts identity f list text map flag n a b # #acc #index . ?. [ ] ( ) { } , : ? ?: ?? | ^ ! && ||")
    + _words("not true false nil 0 1 2.5 -1 1e300 9223372036854775807 'x' `a` '\\u00e9' // /* */ let if ; $env")
)
VALUES = _words(
    "1 2.5 -1 0 nil true 'x' data.text data.list data.map data facts.n facts.surrogate facts.absent identity [] {} "
    "[1,'a']"
)

tokens = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)
expressions = st.recursive(
    st.sampled_from(VALUES),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([*OPERATORS, "not in"]), inner).map("({0[0]} {0[1]} {0[2]})".format),
        st.tuples(st.sampled_from(["-", "not ", "+"]), inner).map("{0[0]}({0[1]})".format),
        st.tuples(st.sampled_from(CALLS), inner).map("{0[0]}({0[1]})".format),
        st.tuples(st.sampled_from(CALLS), inner, inner).map("{0[0]}({0[1]}, {0[2]})".format),
        st.tuples(inner, st.sampled_from(["all", "filter", "map", "sum", "reduce"]), inner).map(
            "({0[0]} | {0[1]}(# == {0[2]}))".format
        ),
        st.tuples(inner, inner).map("({0[0]})[{0[1]}]".format),
        st.tuples(inner, inner).map("({0[0]})[{0[1]}:]".format),
        st.tuples(inner, inner).map("({0[0]} ?? {0[1]})".format),
    ),
    max_leaves=8,
)


@given(st.text() | tokens)
def test_any_text_compiles_or_is_refused(source: str) -> None:
    try:
        expression = compile_expression(source)
    except BadInput:
        return
    with contextlib.suppress(EvaluationError):
        expression.evaluate(ENVIRONMENT)


@given(expressions)
def test_any_expression_has_a_value_or_a_reason(source: str) -> None:
    try:
        expression = compile_expression(source)
    except BadInput:
        return
    with contextlib.suppress(EvaluationError):
        expression.evaluate(ENVIRONMENT)
