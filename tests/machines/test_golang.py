"""How Go prints the values that templates and expressions turn into text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.machines.golang import (
    NestingError,
    format_float,
    format_float_plainly,
    format_value,
    numbers_as_floats,
    type_name,
    wrap_int,
)


@pytest.mark.parametrize(
    ("number", "text", "plainly"),
    [
        (0.0, "0", "0"),
        (-0.0, "-0", "-0"),
        (5.0, "5", "5"),
        (-2.5, "-2.5", "-2.5"),
        (999999.0, "999999", "999999"),
        (1000000.0, "1e+06", "1000000"),
        (1500000.0, "1.5e+06", "1500000"),
        (1234567.5, "1.2345675e+06", "1234567.5"),
        (0.0001, "0.0001", "0.0001"),
        (0.000025, "2.5e-05", "0.000025"),
        (1e100, "1e+100", "1" + "0" * 100),
        (math.inf, "+Inf", "+Inf"),
        (-math.inf, "-Inf", "-Inf"),
        (math.nan, "NaN", "NaN"),
    ],
)
def test_floats_print_with_the_fewest_digits(number: float, text: str, plainly: str) -> None:
    assert format_float(number) == text
    assert format_float_plainly(number) == plainly


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_printed_float_reads_back_as_the_same_number(number: float) -> None:
    assert float(format_float(number)) == number
    assert float(format_float_plainly(number)) == number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "<nil>"),
        (True, "true"),
        (1500000, "1500000"),
        (10**30, "1e+30"),
        (10**400, "+Inf"),
        ("plain", "plain"),
        ([], "[]"),
        ([1, None, "x"], "[1 <nil> x]"),
        ({"b": [1.0], "a": {}}, "map[a:map[] b:[1]]"),
    ],
)
def test_values_print_as_with_percent_v(value: object, text: str) -> None:
    assert format_value(value) == text


def test_values_have_the_type_that_go_decodes_them_to() -> None:
    values = [None, False, 1, 1.0, "", [], {}, object()]
    assert [type_name(value) for value in values] == [
        "<nil>",
        "bool",
        "int",
        "float64",
        "string",
        "[]interface {}",
        "map[string]interface {}",
        "unknown",
    ]


def test_json_numbers_become_floats_and_booleans_stay() -> None:
    converted = numbers_as_floats({"n": [1, True, "1"]})
    assert format_value(converted) == "map[n:[1 true 1]]"
    assert isinstance(converted, dict)
    assert [type(item) for item in converted["n"]] == [float, bool, str]


def test_integers_wrap_at_64_bits() -> None:
    assert wrap_int(2**63) == -(2**63)
    assert wrap_int(-(2**63) - 1) == 2**63 - 1
    assert wrap_int(42) == 42


def test_endless_nesting_is_an_error_rather_than_a_broken_stack() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NestingError):
        format_value(deep)
    with pytest.raises(NestingError):
        numbers_as_floats(deep)
