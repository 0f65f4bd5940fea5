"""The expression language, case by case."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.machines.expressions import EvaluationError, Function, compile_expression

PUMPS = [
    {"name": "intake", "level": 80, "on": True},
    {"name": "booster", "level": 12.5, "on": False},
    {"name": "drain", "level": 40, "on": True},
]
ENVIRONMENT = {
    "level": 7,
    "ratio": 0.5,
    "name": "edge-07",
    "none": None,
    **dict.fromkeys(("nothing", "nullable", "organ", "inner")),
    "on": True,
    "numbers": [3, 1, 2],
    "empty": [],
    "pumps": PUMPS,
    "site": {"name": "North", "in": 1, "not": 2, "deep": {"er": "value"}, "gone": None},
    "shout": Function(lambda text: f"{text}!", 1, 1),
}


def value_of(source: str) -> Any:
    return compile_expression(source).evaluate(ENVIRONMENT)


VALUES = [
    # literals
    ("true", True),
    ("nil", None),
    ("42", 42),
    ("1_000", 1000),
    ("0x2A + 0o52 + 0b101010", 126),
    ("0.5", 0.5),
    (".5", 0.5),
    ("1.5e3", 1500.0),
    ("9223372036854775807", 2**63 - 1),
    ('"double"', "double"),
    ("'single'", "single"),
    (r'"a\"b\\\n\t\x41\101\u00e9\u{1F600}\U0001F600"', 'a"b\\\n\tAAé😀😀'),
    (r"'it\'s'", "it's"),
    (r"`raw \n ``quoted```", r"raw \n `quoted`"),
    ("[1, 'a', nil,]", [1, "a", None]),
    ("{a: 1, 'b c': 2, 3: 4,}", {"a": 1, "b c": 2, "3": 4}),
    ("{}", {}),
    ("1 // comment", 1),
    ("1 /* two\nlines */ + 2", 3),
    # arithmetic
    ("1 + 2 * 3", 7),
    ("(1 + 2) * 3", 9),
    ("7 - 2 - 1", 4),
    ("2 ** 3 ** 2", 512.0),
    ("2 ^ 3", 8.0),
    ("-2 ** 2", -4.0),
    ("7 / 2", 3.5),
    ("6 / 2", 3.0),
    ("1 / 0", math.inf),
    ("-1 / 0", -math.inf),
    ("0 ** -1", math.inf),
    ("(-10) ** 309", -math.inf),
    ("7 % 3", 1),
    ("-7 % 3", -1),
    ("7 % -3", 1),
    ("+level - -level", 14),
    ("9223372036854775807 + 1", -(2**63)),
    ("-(-9223372036854775807 - 1)", -(2**63)),
    ("3000000000 * 4000000000", -6446744073709551616),
    ("ratio + 1", 1.5),
    ("'a' + 'b'", "ab"),
    ("1..4", [1, 2, 3, 4]),
    ("4..1", []),
    # comparison
    ("level == 7.0", True),
    ("level == '7'", False),
    ("true == 1", False),
    ("nil == nil", True),
    ("none == false", False),
    ("[1, 2] == [1.0, 2]", True),
    ("[1] == [1, 2]", False),
    ("{a: [1]} == {a: [1]}", True),
    ("{a: 1} == {b: 1}", False),
    ("9007199254740993 == 9007199254740992.0", True),
    ("level != 8", True),
    ("1 < 2 and 2 <= 2 and 3 > 2 and 3 >= 3", True),
    ("'a' < 'b'", True),
    ("1 < level < 10", True),
    ("1 < level < 5", False),
    ("10 > level >= 7 > 1", True),
    # logic
    ("not on", False),
    ("nothing ?? nullable ?? organ ?? inner ?? 1", 1),
    ("!on", False),
    ("not not on", True),
    ("on && level > 100 || on", True),
    ("false and none.boom", False),
    ("true or none.boom", True),
    ("true or false and false", True),
    ("not false and false", False),
    ("not (level == 7) or true", True),
    ("on ? 'yes' : 'no'", "yes"),
    ("not on ? 1 : level == 7 ? 2 : 3", 2),
    ("on ?: none.boom", True),
    ("none ?? 'default'", "default"),
    ("none ?? nil ?? 3", 3),
    ("0 ?? 1", 0),
    ("1 + none ?? 2", 3),
    # text
    ("name contains 'ge-0'", True),
    ("name startsWith 'edge'", True),
    ("name endsWith '07'", True),
    ("name matches '^edge-[0-9]{2}$'", True),
    ("name matches 'g.-'", True),
    ("name not contains 'x'", True),
    ("name not startsWith 'edge' or name not matches 'x'", True),
    ("none contains 'x' or none matches 'x' or 'x' endsWith none", False),
    # membership
    ("2 in numbers", True),
    ("2.0 in numbers", True),
    ("true in [1]", False),
    ("9 not in numbers", True),
    ("'name' in site", True),
    ("'x' in none", False),
    ("site.name", "North"),
    ("site['name']", "North"),
    ("site.absent", None),
    ("site.in + site.not", 3),
    ("site.deep.er", "value"),
    ("site.gone?.anything.at.all", None),
    ("site?.deep?.er", "value"),
    ("(site.gone?.x).y", None),
    ("site.gone?.['x']", None),
    ("site?.['name']", "North"),
    ("numbers[0] + numbers[-1]", 5),
    ("numbers[1.9]", 1),
    ("numbers[1:]", [1, 2]),
    ("numbers[:-1]", [3, 1]),
    ("numbers[1:2]", [1]),
    ("numbers[:]", [3, 1, 2]),
    ("numbers[5:9]", []),
    ("numbers[-9:1]", [3]),
    ("numbers[on ? 1 : 2:]", [1, 2]),
    ("'abc'[0]", 97),
    ("'äbc'[2:]", "bc"),
    # predicates
    ("all(numbers, # > 0)", True),
    ("all(empty, # > 0)", True),
    ("any(pumps, .on)", True),
    ("any(empty, .on)", False),
    ("none(pumps, .level > 100)", True),
    ("one(pumps, not .on)", True),
    ("one(pumps, {.on})", False),
    ("count(pumps, .on)", 2),
    ("count([true, false, true])", 2),
    ("filter(pumps, {.level < 50 and .on})[0].name", "drain"),
    ("map(pumps, .name)", ["intake", "booster", "drain"]),
    ("map(numbers, # * 2 + #index)", [6, 3, 6]),
    ("map(numbers, {{v: #}})[0]", {"v": 3}),
    ("sum(numbers)", 6),
    ("sum(pumps, .level)", 132.5),
    ("sum(empty)", 0),
    ("find(numbers, # < 3)", 1),
    ("find(numbers, # > 3)", None),
    ("findIndex(numbers, # < 3)", 1),
    ("findLast(numbers, # < 3)", 2),
    ("findLastIndex(numbers, # < 3)", 2),
    ("findLastIndex(numbers, # > 3)", None),
    ("reduce(numbers, #acc + #)", 6),
    ("reduce(numbers, #acc + #, 10)", 16),
    ("reduce(empty, #acc + #, 10)", 10),
    ("any(pumps, any(numbers, # == 3) and .on)", True),
    # pipes
    ("name | upper()", "EDGE-07"),
    ("name | split('-') | last()", "07"),
    ("numbers | filter(# > 1) | len() == 2", True),
    ("numbers | map({# + 1}) | sum() * 2 + 1", 19),
    ("numbers | reduce(#acc * #, 1)", 6),
    # functions
    ("shout(name)", "edge-07!"),
    ("len('äö') + len(numbers) + len(site)", 10),
    ("first(numbers) + last(numbers)", 5),
    ("first(empty)", None),
    ("take(numbers, 2)", [3, 1]),
    ("take(numbers, 9)", [3, 1, 2]),
    ("reverse(numbers)", [2, 1, 3]),
    ("concat(numbers, [9])", [3, 1, 2, 9]),
    ("flatten([1, [2, [3]]])", [1, 2, 3]),
    ("uniq([1, 1.0, 2, '1', true])", [1, 2, "1", True]),
    ("sort(numbers)", [1, 2, 3]),
    ("sort(['b', 'a'], 'desc')", ["b", "a"]),
    ("get(numbers, 9)", None),
    ("get(numbers, -1)", 2),
    ("get(none, 'x')", None),
    ("get(site, 'name')", "North"),
    ("keys({a: 1, b: 2})", ["a", "b"]),
    ("values({a: 1, b: 2})", [1, 2]),
    ("toPairs({a: 1})", [["a", 1]]),
    ("fromPairs([['a', 1]])", {"a": 1}),
    ("upper('straße') + lower('ÄB')", "STRAßEäb"),
    ("trim('  x ') + trim('__y_', '_')", "xy"),
    ("trimPrefix('abc', 'a') + trimSuffix('abc', 'c')", "bcab"),
    ("hasPrefix('abc', 'ab') and hasSuffix('abc', 'bc')", True),
    ("split('a,b,c', ',')", ["a", "b", "c"]),
    ("split('a,b,c', ',', 2)", ["a", "b,c"]),
    ("split('abc', '')", ["a", "b", "c"]),
    ("split('abc', '', 2)", ["a", "bc"]),
    ("split('abc', ',', 0)", []),
    ("join(['a', 'b'], '-') + join(['a', 'b'])", "a-bab"),
    ("replace('aaa', 'a', 'b') + replace('aaa', 'a', 'b', 1)", "bbbbaa"),
    ("repeat('ab', 2)", "abab"),
    ("indexOf('äbc', 'b') + lastIndexOf('abab', 'b')", 5),
    ("indexOf('a', 'x')", -1),
    ("abs(-3) + abs(-0.5)", 3.5),
    ("ceil(1.2) + floor(1.8) + round(2.5) + round(-2.5)", 3.0),
    ("round(0.49999999999999994)", 0.0),
    ("max(1, [5, [7]], 2) + min(3, 1.5)", 8.5),
    ("max([])", None),
    ("mean([1, 2]) + mean([])", 1.5),
    ("median([3, 1, 2]) + median(1, 2) + median([])", 3.5),
    ("int('42') + int(1.9) + int('-2')", 41),
    ("float('1.5') + float(1)", 2.5),
    ("string(1.0) + string(1500000.0) + string(nil) + string([1, 'a'])", "11.5e+06<nil>[1 a]"),
    ("map([nil, true, 1, 1.5, 'a', [], {}], type(#))", ["nil", "bool", "int", "float", "string", "array", "map"]),
    ("toJSON({b: '<&>', a: [1.0, nil]})", '{\n  "a": [\n    1,\n    null\n  ],\n  "b": "\\u003c\\u0026\\u003e"\n}'),
    ("type(fromJSON('1'))", "float"),
    ("fromJSON('{\"a\": 1}').a", 1.0),
    ("toBase64('hi') + fromBase64('aGk=')", "aGk=hi"),
]


@pytest.mark.parametrize(
    ("source", "value"), [case for case in VALUES if case[1] is not None or "shout()" not in case[0]]
)
def test_an_expression_has_its_value(source: str, value: object) -> None:
    found = value_of(source)
    assert found == value
    assert type(found) is type(value)


def test_a_pipe_takes_everything_to_its_left() -> None:
    assert value_of("'a' + 'b' | upper() + 'c'") == "ABc"
    assert value_of("1 + 2 == 3 | string() | len() == 4") is True


def test_not_a_number_is_never_equal() -> None:
    assert value_of("0 / 0 == 0 / 0") is False
    assert math.isnan(value_of("(-8) ** 0.5"))


REFUSED = [
    ("", 1, "not complete"),
    ("1 +", 4, "not complete"),
    ("(on", 4, "not complete"),
    ("on)", 3, "unexpected ')'"),
    ("on level", 4, "unexpected 'level'"),
    ("'open", 1, "string is not closed"),
    ("'a\nb'", 1, "string is not closed"),
    (r"'\q'", 1, "does not exist"),
    (r"'\ud800'", 1, "no character"),
    ("/* open", 1, "comment is not closed"),
    ("12x", 1, "no number"),
    ("1 + 99999999999999999999", 5, "64 bits"),
    ("1e999", 1, "too large"),
    ("level & 1", 7, "unexpected '&'"),
    ("level = 1", 7, "unexpected '='"),
    ("level is 1", 7, "unexpected 'is'"),
    ("in", 1, "unexpected 'in'"),
    ("on orlevel", 4, "unexpected 'orlevel'"),
    ("on andlevel", 4, "unexpected 'andlevel'"),
    ("1 innumbers", 3, "unexpected 'innumbers'"),
    ("1 notin numbers", 3, "unexpected 'notin'"),
    ("name matches_ 'x'", 6, "unexpected 'matches_'"),
    ("1; 2", 2, "sequences"),
    ("let x = 1; x", 1, "'let'"),
    ("if on { 1 } else { 2 }", 1, "'if'"),
    ("b'bytes'", 1, "bytes"),
    ("$env['level']", 1, "$env"),
    ("name.upper()", 6, "methods"),
    ("name?.upper()", 7, "methods"),
    ("now()", 1, "'now' is not supported"),
    ("level > 1 and date('2026-01-01')", 15, "'date' is not supported"),
    ("bitand(1, 2)", 1, "'bitand' is not supported"),
    ("groupBy(pumps, .on)", 1, "'groupBy' is not supported"),
    ("{(1 + 1): 2}", 2, "unexpected"),
    ("none ?? 1 + 2", 11, "parentheses"),
    ("none ?? 1 == 2", 11, "parentheses"),
    ("# > 1", 1, "only inside predicates"),
    (".field", 2, "only inside predicates"),
    ("all(#, true)", 5, "only inside predicates"),
    ("map(numbers, #other)", 14, "'#other'"),
    ("all(numbers)", 1, "a predicate"),
    ("all(numbers, true, 1)", 1, "a predicate"),
    ("len({numbers})", 1, "braces"),
    ("all({numbers}, true)", 1, "braces"),
    ("len()", 1, "0 arguments"),
    ("upper(name, name)", 1, "2 arguments"),
    ("name matches '('", 14, "no regular expression"),
    ("name matches '(?=x)'", 14, "no regular expression"),
    ("level.5", 7, "unexpected '5'"),
]


@pytest.mark.parametrize(("source", "column", "reason"), REFUSED)
def test_what_is_wrong_or_unsupported_is_refused_with_its_column(source: str, column: int, reason: str) -> None:
    with pytest.raises(BadInput) as refusal:
        compile_expression(source)
    assert reason in refusal.value.sentence
    assert f"column {column}:" in refusal.value.sentence


def test_a_refusal_in_a_text_of_several_lines_names_the_line() -> None:
    with pytest.raises(BadInput, match="line 2, column 9: unexpected '&'"):
        compile_expression("on and\n  level &\n  1")


def test_unknown_names_are_refused_before_anything_runs() -> None:
    names = {"data", "get_fact"}
    compile_expression("any(data.list, # == get_fact('a') and len(data) > 1)", names)
    with pytest.raises(BadInput, match=r"column 10: there is no 'fact', only data, get_fact"):
        compile_expression("data.x + fact", names)
    with pytest.raises(BadInput, match="there is no 'has_file'"):
        compile_expression("has_file('x')", names)


FAULTS = [
    ("none < 3", 6, "nil < int"),
    ("3 > none", 3, "int > nil"),
    ("'a' < 1", 5, "string < int"),
    ("true < false", 6, "bool < bool"),
    ("1 + 'a'", 3, "int + string"),
    ("none + 1", 6, "nil + int"),
    ("1 - true", 3, "int - bool"),
    ("1.5 % 2", 5, "float % int"),
    ("1 % 0", 3, "division by zero"),
    ("-name", 1, "-string"),
    ("not level", 1, "a condition must be a bool, this is int"),
    ("none and true", 6, "this is nil"),
    ("true and none", 6, "this is nil"),
    ("level ? 1 : 2", 1, "this is int"),
    ("absent", 1, "there is no 'absent'"),
    ("absent()", 1, "no function 'absent'"),
    ("site()", 1, "no function 'site'"),
    ("shout()", 1, "does not take 0 arguments"),
    ("none.field", 6, "cannot read 'field' of nil"),
    ("site.gone.field", 11, "cannot read 'field' of nil"),
    ("site.gone?.x[0]", 14, "of nil"),
    ("level.field", 7, "of int"),
    ("shout.call", 7, "of function"),
    ("name.upper", 6, "an integer is needed, this is string"),
    ("numbers['x']", 9, "an integer is needed"),
    ("numbers[3]", 9, "there are 3"),
    ("numbers[-4]", 9, "there are 3"),
    ("site[1]", 6, "keys of a map are strings"),
    ("1 in site", 3, "keys of a map are strings"),
    ("1 in 'abc'", 3, "'in' needs"),
    ("level contains 'x'", 7, "a string is needed"),
    ("name matches name + '('", 6, "no regular expression"),
    ("level[1:]", 8, "an array is needed"),
    ("all(level, true)", 1, "an array is needed"),
    ("all(none, true)", 1, "an array is needed"),
    ("filter(numbers, 1)", 1, "must be a bool"),
    ("map(numbers, # > 'a')", 16, "int > string"),
    ("sum(['a'])", 1, "only numbers"),
    ("reduce(empty, #acc)", 1, "empty array"),
    ("len(none)", 1, "nil has no length"),
    ("upper(1)", 1, "a string is needed"),
    ("join([1])", 1, "a string is needed"),
    ("sort([1, 'a'])", 1, "only numbers, or only strings"),
    ("sort([1], 'up')", 1, "'asc' or 'desc'"),
    ("take(numbers, -1)", 1, "cannot be taken"),
    ("repeat('a', -1)", 1, "cannot be repeated"),
    ("keys(numbers)", 1, "a map is needed"),
    ("fromPairs([[1]])", 1, "each pair"),
    ("int('1.5')", 1, "no integer"),
    ("int('99999999999999999999')", 1, "no integer"),
    ("int(1e300)", 1, "64 bits"),
    ("float('x')", 1, "no number"),
    ("float(none)", 1, "nil cannot become"),
    ("max('a')", 1, "a number is needed"),
    ("fromJSON('{')", 1, "not JSON"),
    ("fromJSON('[NaN]')", 1, "not JSON"),
    ("fromJSON('1e999')", 1, "not JSON"),
    ("get(1, 2)", 1, "cannot read a member of int"),
    ("fromBase64('*')", 1, "not base64"),
    ("toJSON(1 / 0)", 1, "cannot be written"),
]


@pytest.mark.parametrize(("source", "column", "reason"), FAULTS)
def test_what_has_no_value_is_one_sentence_with_its_column(source: str, column: int, reason: str) -> None:
    with pytest.raises(EvaluationError) as failure:
        value_of(source)
    assert reason in failure.value.sentence
    assert f"column {column}:" in failure.value.sentence
    assert "\n" not in failure.value.sentence


def test_a_condition_must_be_a_boolean() -> None:
    assert compile_expression("level > 1").evaluate_boolean(ENVIRONMENT) is True
    with pytest.raises(EvaluationError, match="gives int, a bool is needed"):
        compile_expression("level").evaluate_boolean(ENVIRONMENT)


def test_no_python_attribute_can_be_reached() -> None:
    for source in ("site.__class__", "site['__class__']", "numbers?.__len__", "shout?.call", "pumps[0].keys"):
        try:
            assert value_of(source) is None
        except EvaluationError as failure:
            assert "cannot read" in failure.sentence or "integer is needed" in failure.sentence  # noqa: PT017


def test_python_callables_in_the_environment_cannot_be_called() -> None:
    with pytest.raises(EvaluationError, match="no function 'open'"):
        compile_expression("open('x')").evaluate({"open": open})


arithmetic = st.recursive(
    st.integers(0, 9).map(str),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(" ".join),
        inner.map("({})".format),
        inner.map("-({})".format),
    ),
    max_leaves=20,
)


@given(arithmetic)
def test_integer_arithmetic_agrees_with_python(source: str) -> None:
    expected = eval(source)
    assert value_of(source) == (expected + 2**63) % 2**64 - 2**63


logic = st.recursive(
    st.sampled_from(["true", "false", "1 < 2", "2 < 1", "on"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map("not ({})".format),
        inner.map("({})".format),
    ),
    max_leaves=20,
)


@given(logic)
def test_logic_agrees_with_python(source: str) -> None:
    assert value_of(source) is eval(source, {"true": True, "false": False, "on": True})


@given(st.text())
def test_any_text_survives_being_written_as_a_string(text: str) -> None:
    escaped = "".join(f"\\U{ord(c):08x}" for c in text)
    assert value_of(f"'{escaped}'") == text
