from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.machines.durations import Duration, parse_go, parse_interval

S = 10**9
nanoseconds = st.integers(-(2**63) + 1, 2**63 - 1)


@given(nanoseconds)
def test_what_is_written_in_go_notation_reads_back_exactly(amount):
    assert parse_go(str(Duration(amount))) == Duration(amount)


@given(st.text(max_size=40), st.sampled_from([parse_go, parse_interval]))
def test_any_text_is_a_duration_or_refused(text, parse):
    with suppress(BadInput):
        assert parse_go(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1h30m", 5400 * S),
        ("250ms", S // 4),
        ("1.5s", 3 * S // 2),
        (".5s", S // 2),
        ("1.s", S),
        ("-1m", -60 * S),
        ("+3us", 3000),
        ("3µs", 3000),
        ("3μs", 3000),
        ("0", 0),
        ("0.9ns", 0),
        ("1m1m", 120 * S),
        ("9223372036854775807ns", 2**63 - 1),
    ],
)
def test_go_durations(text, expected):
    assert parse_go(text).nanoseconds == expected


@pytest.mark.parametrize(
    "text",
    ["", "-", "5", "s", ".s", "1d", "1H", "1h 30m", "9223372036854775808ns", "1e3s", "١s", "1s" * 60],
)
def test_go_durations_that_go_refuses(text):
    with pytest.raises(BadInput, match="duration"):
        parse_go(text)


@pytest.mark.parametrize(
    ("text", "hours"),
    [("1d", 24), ("2D", 48), ("1w", 168), ("1W", 168), ("1M", 720), ("1y", 8760), ("1.5d", 36), ("0.1d", 2), ("", 0)],
)
def test_intervals_know_days_and_longer_in_whole_hours(text, hours):
    assert parse_interval(text) == Duration(hours * 3600 * S)


@pytest.mark.parametrize(("text", "expected"), [("30s", 30 * S), ("250ms", S // 4), (" 1h30m ", 5400 * S)])
def test_intervals_take_what_go_takes_when_it_ends_in_s_m_or_h(text, expected):
    assert parse_interval(text).nanoseconds == expected


@pytest.mark.parametrize("text", ["30", "5S", "5H", "1d12h", "10ns", "10us", "1000y", "d", "1.d", "1x"])
def test_intervals_that_choria_refuses(text):
    with pytest.raises(BadInput):
        parse_interval(text)


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0s"), (120 * S, "2m0s"), (3600 * S, "1h0m0s"), (S + 1, "1.000000001s"), (1500, "1.5µs"), (-90 * S, "-1m30s")],
)
def test_go_notation(amount, text):
    assert str(Duration(amount)) == text
