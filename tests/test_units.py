"""Sizes and durations as people write and read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.units import LARGEST_SIZE, LONGEST_DURATION, parse_duration, parse_size, show_duration, show_size

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
parts = st.tuples(st.integers(0, 9999), st.sampled_from(sorted(UNITS)))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("512B", 512),
        ("1KiB", 1024),
        ("4 GiB", 4 << 30),
        (" 2MiB ", 2 << 20),
        ("1048576TiB", LARGEST_SIZE),
        (7, 7),
    ],
)
def test_a_size_is_read(text: str | int, count: int) -> None:
    assert parse_size(text, "x") == count


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", "1.5MiB", "1MB", "1mib", "1 2", "1048577TiB", "9" * 5000, "٣", -1, LARGEST_SIZE + 1]
)
def test_what_is_no_size_is_refused_where_it_stands(text: str | int) -> None:
    with pytest.raises(BadInput, match=r"^table\.key is .*: write a size"):
        parse_size(text, "table.key")


@pytest.mark.parametrize(
    "text",
    ["", "s", "5", "-1s", "1 s", "1e3s", "1s5", "6000w", "9" * 5000 + "s", "٣s", -1, math.nan, math.inf, 10**400],
)
def test_what_is_no_duration_is_refused_where_it_stands(text: str | float) -> None:
    with pytest.raises(BadInput, match=r"^table\.key is .*: write a duration"):
        parse_duration(text, "table.key")


@given(st.lists(parts, min_size=1, max_size=4))
def test_a_duration_is_the_sum_of_its_parts(found: list[tuple[int, str]]) -> None:
    text = "".join(f"{count}{unit}" for count, unit in found)
    seconds = sum(count * UNITS[unit] for count, unit in found)
    if seconds <= LONGEST_DURATION:
        assert parse_duration(text, "x") == pytest.approx(seconds)
    else:
        with pytest.raises(BadInput):
            parse_duration(text, "x")


@given(st.one_of(st.text(), st.from_regex(r"[0-9.]{0,30}[a-zA-Z]{0,3}", fullmatch=True), st.integers(), st.floats()))
def test_anything_is_a_number_in_range_or_refused(text: str | float) -> None:
    for parse, most in ((parse_duration, LONGEST_DURATION), (parse_size, LARGEST_SIZE)):
        if parse is parse_size and isinstance(text, float):
            continue
        try:
            assert 0 <= parse(text, "x") <= most
        except BadInput as refused:
            assert refused.sentence.isprintable()  # noqa: PT017 - either way out is right
            assert len(refused.sentence) < 300  # noqa: PT017


@given(st.integers(0, LARGEST_SIZE))
def test_a_size_is_shown_in_at_most_three_digits_close_to_it(count: int) -> None:
    number, unit = show_size(count).split(" ")
    assert len(number.replace(".", "")) <= 3 or unit == "TiB"
    assert float(number) * {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}[unit] == pytest.approx(
        count, rel=0.051
    )


@given(st.floats(1, LONGEST_DURATION))
def test_a_duration_is_shown_as_it_can_be_read_back_close_to_it(seconds: float) -> None:
    shown = show_duration(seconds)
    assert parse_duration(shown, "x") == pytest.approx(seconds, rel=0.05, abs=0.5)
    assert len([letter for letter in shown if letter.isalpha()]) <= 2


@given(st.floats(0, 0.999))
def test_less_than_a_second_is_shown_in_milliseconds(seconds: float) -> None:
    assert parse_duration(show_duration(seconds), "x") == pytest.approx(seconds, abs=0.0006)
