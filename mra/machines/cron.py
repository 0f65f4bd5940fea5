"""The cron dialect of schedule watchers (section 3.13 of the reference). (pure)

Five fields: minute 0-59, hour 0-23, day 1-31, month 1-12 or jan-dec, weekday 0-6 or sun-sat. Each is a list, by commas,
of `*` or `?`, `n`, `n-m`, each of them with `/step`; `n/step` runs to the field's maximum. If day or weekday has a `*`
or `?`, both must match, else either does. Weekday 7, `L`, `W`, `#`, seconds and time zones are refused, as in Choria.
`@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly` and `@annually`, which Choria documents but refuses,
are understood; `@every` is not: a timer does that.

A schedule matches the wall clock, so a minute that a change to summer time leaves out does not come, and one that the
change back repeats comes twice. The search goes along the time line, never along the wall clock, and so cannot stick.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from mra.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_SEARCH: Final = timedelta(days=366 * 9)  # 29 February may be eight years away
_MINUTE: Final = 60
_STEP: Final = re.compile(r"(?P<first>[*?]|[0-9a-z]+)(?:-(?P<last>[0-9a-z]+))?(?:/(?P<step>[0-9]{1,9}))?", re.ASCII)
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_WEEKDAYS: Final = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_NICKNAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed schedule; `either_day` says that day or weekday is enough."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def matches(self, moment: datetime) -> bool:
        """Whether the minute that `moment` lies in is one of the schedule's, by its wall clock."""
        return self._matches_date(moment) and moment.hour in self.hours and moment.minute in self.minutes

    def next_after(self, moment: datetime) -> datetime | None:
        """The first matching full minute after `moment`, in the same zone; None when there is none for years.

        A naive `moment` stands for local time, with the rules of the host's zone.
        """
        found = _on_line(moment.timestamp() // _MINUTE * _MINUTE + _MINUTE, moment)
        end = moment.timestamp() + _LONGEST_SEARCH.total_seconds()
        while found is not None and found.timestamp() <= end:
            if not self._matches_date(found):
                found = _next_day(found)
            elif found.hour not in self.hours:
                found = _later(found, 60 - found.minute)
            elif found.minute not in self.minutes:
                found = _later(found, min((m for m in self.minutes if m > found.minute), default=60) - found.minute)
            else:
                return found
        return None

    def _matches_date(self, moment: datetime) -> bool:
        day, weekday = moment.day in self.days, moment.isoweekday() % 7 in self.weekdays
        return moment.month in self.months and (day or weekday if self.either_day else day and weekday)


def parse(text: str) -> Cron:
    """Read a schedule; BadInput names the field that is wrong."""
    fields = _NICKNAMES.get(text.strip().lower(), text).lower().split()
    if len(fields) != 5:
        raise BadInput(f"schedule {text[:60]!r} does not have the five fields minute, hour, day, month and weekday")
    minutes, _ = _field(fields[0], "minute", 0, 59, {})
    hours, _ = _field(fields[1], "hour", 0, 23, {})
    days, any_day = _field(fields[2], "day", 1, 31, {})
    months, _ = _field(fields[3], "month", 1, 12, _MONTHS)
    weekdays, any_weekday = _field(fields[4], "weekday", 0, 6, _WEEKDAYS)
    return Cron(minutes, hours, days, months, weekdays, not (any_day or any_weekday))


def _field(text: str, what: str, lowest: int, highest: int, names: Mapping[str, int]) -> tuple[frozenset[int], bool]:
    """The values of one field, and whether it has a star."""
    values: set[int] = set()
    star = False
    for item in filter(None, text.split(",")):
        match = _STEP.fullmatch(item)
        if match is None or (match["first"] in "*?" and match["last"]):
            raise BadInput(f"{what} {item[:40]!r} is no number, range or star, with an optional /step")
        star |= match["first"] in "*?"
        first = lowest if match["first"] in "*?" else _value(match["first"], what, names)
        runs_on = match["first"] in "*?" or (match["step"] and not match["last"])
        last = _value(match["last"], what, names) if match["last"] else highest if runs_on else first
        step = int(match["step"] or 1)
        if not (lowest <= first <= last <= highest and step):
            raise BadInput(
                f"{what} {item[:40]!r} does not lie within {lowest}-{highest}, in order and with a step above 0"
            )
        values.update(range(first, last + 1, step))
    if not values:
        raise BadInput(f"{what} {text[:40]!r} holds no value")
    return frozenset(values), star


def _value(text: str, what: str, names: Mapping[str, int]) -> int:
    if text in names:
        return names[text]
    if not text.isdigit() or len(text) > 9:
        raise BadInput(f"{what} {text[:40]!r} is no number{' or name' if names else ''}")
    return int(text)


def _on_line(timestamp: float, like: datetime) -> datetime | None:
    """The moment at a POSIX time, in the zone of `like`; None beyond what can be told."""
    try:
        return datetime.fromtimestamp(timestamp, like.tzinfo)
    except (OverflowError, ValueError, OSError):
        return None


def _later(moment: datetime, minutes: int) -> datetime | None:
    """Some minutes later, or just one when the clock is changed within them."""
    landed = _on_line(moment.timestamp() + minutes * _MINUTE, moment)
    if landed is not None and landed.replace(tzinfo=None, fold=0) != (
        moment.replace(tzinfo=None, fold=0) + timedelta(minutes=minutes)
    ):
        return _on_line(moment.timestamp() + _MINUTE, moment)
    return landed


def _next_day(moment: datetime) -> datetime | None:
    """The first instant of the next day, or one minute later where the clock is changed so that this is not after."""
    try:
        midnight = (moment + timedelta(days=1)).replace(hour=0, minute=0, fold=0)
        start = midnight.timestamp()
    except (OverflowError, ValueError, OSError):
        return None
    return _on_line(max(start, moment.timestamp() + _MINUTE), moment)
