"""The numbers in a plugin's output: what Choria reads, what it trips over, and anything else."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.machines.perfdata import MOST_ENTRIES, Measurement, as_event, json_number, parse

UNITS = ["", "s", "ms", "us", "%", "B", "KB", "MB", "TB", "c"]  # what the published schema allows


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ("OK|level=18%;20;10", [Measurement("level", 18.0, "%")]),
        ("OK: fine | a=1 b=2.5s;1;2;0;9", [Measurement("a", 1.0), Measurement("b", 2.5, "s")]),
        ("OK|a=-1.5 b=+2", [Measurement("a", -1.5), Measurement("b", 2.0)]),
        ("OK|'quoted'=3c", [Measurement("quoted", 3.0, "c")]),
        ("OK|'free space'=3MB 'a=b'=4 'it''s'=5",
         [Measurement("free space", 3.0, "MB"), Measurement("a=b", 4.0), Measurement("it's", 5.0)]),
        ("OK|a=1\nlong text\n", [Measurement("a", 1.0)]),
        ("OK|a=1  b=2\tc=3", [Measurement("a", 1.0), Measurement("b", 2.0), Measurement("c", 3.0)]),
        ("|a=1", [Measurement("a", 1.0)]),
        ("OK", []),
        ("", []),
        ("OK|", []),
        ("OK|a=1|b=2", []),
        ("OK|a=U b=2", [Measurement("b", 2.0)]),
        ("OK|a= b=2", [Measurement("b", 2.0)]),
        ("OK|=1 b=2", [Measurement("b", 2.0)]),
        ("OK|''=1 b=2", [Measurement("b", 2.0)]),
        ("OK|a=5GB b=2", [Measurement("b", 2.0)]),
        ("OK|a=1.2.3 b=2", [Measurement("b", 2.0)]),
        ("OK|a=1=2 b=2", [Measurement("b", 2.0)]),
        ("OK|a b=2", [Measurement("b", 2.0)]),
        ("OK|'open=1 b=2", [Measurement("b", 2.0)]),
        ("OK|a=" + "9" * 400 + " b=2", [Measurement("b", 2.0)]),
        ("OK|a=1;~:10;@5", [Measurement("a", 1.0)]),
        ("OK|a=٣ b=2", [Measurement("b", 2.0)]),
    ],
)  # fmt: skip
def test_measurements_are_what_stands_behind_the_one_bar(output: str, found: list[Measurement]) -> None:
    assert parse(output) == found


def test_a_flood_of_numbers_is_bounded() -> None:
    assert len(parse("OK|" + "a=1 " * 5000)) == MOST_ENTRIES


def test_events_carry_whole_numbers_without_a_fraction() -> None:
    text = json.dumps(as_event([Measurement("level", 18.0, "%"), Measurement("lag", 0.5)]), separators=(",", ":"))
    assert text == '[{"unit":"%","label":"level","value":18},{"unit":"","label":"lag","value":0.5}]'


@given(st.text() | st.text("|='; \n\t0123456789.-+%sBKU*", max_size=60).map("OK|".__add__))
def test_any_output_gives_finite_numbers_with_known_units(output: str) -> None:
    for label, value, unit in parse(output):
        assert label
        assert math.isfinite(value)
        assert unit in UNITS


labels = st.text(st.characters(exclude_characters="|'", exclude_categories=["Cs"]), min_size=1, max_size=10)
numbers = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9).map(lambda x: round(x, 6))


@given(st.lists(st.tuples(labels, numbers, st.sampled_from(UNITS)), max_size=5))
def test_what_a_plugin_writes_is_read_back(written: list[tuple[str, float, str]]) -> None:
    text = " ".join(f"'{label}'={value:f}{unit};1;2" for label, value, unit in written)
    assert parse(f"OK|{text}") == [Measurement(*entry) for entry in written]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_in_json_keeps_its_value(value: float) -> None:
    assert json_number(value) == value
