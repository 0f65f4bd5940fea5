from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.machines.cron import parse

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 3, 14, 9, 20, 5, tzinfo=UTC)  # a Saturday


def following(text, moment=START, count=3):
    """The next times after a moment, as text."""
    cron, found = parse(text), []
    for _ in range(count):
        moment = cron.next_after(moment)
        found.append(moment.strftime("%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("* * * * *", ["03-14 09:21", "03-14 09:22", "03-14 09:23"]),
        ("*/20 * * * *", ["03-14 09:40", "03-14 10:00", "03-14 10:20"]),
        ("5,10-12 9 * * *", ["03-15 09:05", "03-15 09:10", "03-15 09:11"]),
        ("50/5 * * * *", ["03-14 09:50", "03-14 09:55", "03-14 10:50"]),
        ("0 0 1 JAN-Mar *", ["01-01 00:00", "02-01 00:00", "03-01 00:00"]),
        ("0 8 * * mon", ["03-16 08:00", "03-23 08:00", "03-30 08:00"]),
        ("0 8 ? * 0,6", ["03-15 08:00", "03-21 08:00", "03-22 08:00"]),
        ("0 8 15 * mon", ["03-15 08:00", "03-16 08:00", "03-23 08:00"]),
        ("0 8 */2 * mon", ["03-23 08:00", "04-13 08:00", "04-27 08:00"]),
        ("0 0 29 2 *", ["02-29 00:00", "02-29 00:00", "02-29 00:00"]),
        ("0,,30 * * * *", ["03-14 09:30", "03-14 10:00", "03-14 10:30"]),
        ("@daily", ["03-15 00:00", "03-16 00:00", "03-17 00:00"]),
        ("@Weekly", ["03-15 00:00", "03-22 00:00", "03-29 00:00"]),
    ],
)
def test_when_a_schedule_comes_round(text, expected):
    assert following(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 0 *",
            "* * * 13 *",
        ),
        *("* * * * 7", "* * * * sunday", "5-1 * * * *", "*/0 * * * *", "1-2-3 * * * *", "1/2/3 * * * *", "*-5 * * * *"),
        *(
            "-5 * * * *",
            "+5 * * * *",
            "a * * * *",
            ", * * * *",
            "* * L * *",
            "* * 5W * *",
            "* * * * mon#1",
            "TZ=UTC * * * *",
        ),
        *("@every 1h", "@reboot", "1.5 * * * *", "* * * jan-foo *", "jan * * * *", "٣ * * * *", "9" * 30 + " * * * *"),
    ],
)
def test_what_is_no_schedule(text):
    with pytest.raises(BadInput):
        parse(text)


def test_a_date_that_never_comes_is_found_out():
    assert parse("0 0 30 2 *").next_after(START) is None
    assert parse("0 0 * * *").next_after(datetime(9999, 12, 31, 12, tzinfo=UTC)) is None


def test_a_minute_left_out_by_summer_time_does_not_come():
    night = datetime(2026, 3, 28, 23, 0, tzinfo=BERLIN)
    assert following("30 2 * * *", night) == ["03-30 02:30", "03-31 02:30", "04-01 02:30"]
    assert following("0 * * * *", night, 4) == ["03-29 00:00", "03-29 01:00", "03-29 03:00", "03-29 04:00"]


def test_a_minute_repeated_at_its_end_comes_twice():
    first = parse("30 2 * * *").next_after(datetime(2026, 10, 24, 23, 0, tzinfo=BERLIN))
    second = parse("30 2 * * *").next_after(first)
    assert (first.fold, second.fold) == (0, 1)
    assert second.timestamp() - first.timestamp() == 3600
    assert parse("30 2 * * *").next_after(second).day == 26


def test_naive_moments_are_local_time():
    found = parse("0 12 * * *").next_after(datetime(2026, 3, 14, 9))
    assert found.tzinfo is None
    assert (found.hour, found.day) == (12, 14)


fields = st.tuples(
    st.sampled_from(["*", "0", "30", "*/7", "5-10", "59", "1,31"]),
    st.sampled_from(["*", "0", "1", "2", "3", "23", "1-3"]),
    st.sampled_from(["*", "1", "29", "31", "*/2"]),
    st.sampled_from(["*", "*", "3", "10", "mar-apr"]),
    st.sampled_from(["*", "*", "0", "fri"]),
).map(" ".join)
zones = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Beirut", "Pacific/Apia"]
)
instants = st.datetimes(datetime(2005, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))
near_changes = st.builds(
    lambda day, hours: datetime(2026, 3, day, tzinfo=UTC) + timedelta(hours=hours),
    st.integers(1, 31),
    st.integers(0, 47),
)


@settings(max_examples=300, deadline=None)
@given(fields, zones, instants | near_changes)
def test_the_next_time_is_the_first_that_a_minute_by_minute_search_finds(text, zone, instant):
    cron, zone = parse(text), ZoneInfo(zone)
    moment = instant.astimezone(zone)
    found = cron.next_after(moment)
    searched = datetime.fromtimestamp(moment.timestamp() // 60 * 60, zone)
    for _ in range(2 * 24 * 60):
        searched = datetime.fromtimestamp(searched.timestamp() + 60, zone)
        if cron.matches(searched):
            break
    else:
        assert found is None or found > searched
        return
    assert found.timestamp() == searched.timestamp()


@settings(max_examples=300)
@given(st.text(max_size=40) | st.lists(st.text("0123456789*/-,?ajn @", max_size=6), max_size=6).map(" ".join))
def test_any_text_is_a_schedule_or_bad_input(text):
    try:
        cron = parse(text)
    except BadInput:
        return
    found = cron.next_after(START)
    assert found is None or (cron.matches(found) and found > START)
