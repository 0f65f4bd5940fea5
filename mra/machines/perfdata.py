"""Performance data: the numbers behind the bar in a Nagios plugin's output. (pure)

    DISK WARNING: 82 percent | /=82%;80;90 'free space'=11GB;;;0;64 files=120c

As in Choria (section 3.11 of the reference) the output must hold exactly one bar, and the units are those that events
may carry. Better than there: quoted labels may hold spaces and equals signs, and what is no number, such as the `U` of
a plugin that could not measure, is left out instead of ending the agent.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final, NamedTuple

MOST_ENTRIES: Final = 1000  # of one check; an event has to fit a message

_ENTRY: Final = re.compile(
    r"(?:'(?P<quoted>[^']*(?:''[^']*)*)'|(?P<plain>[^\s'=]+))=(?P<data>\S*)"
    r"|\S+"  # anything else is skipped as a whole word
)
_VALUE: Final = re.compile(r"(?P<number>[-+]?[0-9.]+)(?P<unit>us|ms|s|%|B|KB|MB|TB|c)?", re.ASCII)
_EXACT: Final = 2**53


class Measurement(NamedTuple):
    """One number of a check."""

    label: str
    value: float
    unit: str = ""


def parse(output: str) -> list[Measurement]:
    """The measurements in a plugin's output, in order; empty when there are none. Never raises."""
    if output.count("|") != 1:
        return []
    found: list[Measurement] = []
    for entry in _ENTRY.finditer(output.partition("|")[2]):
        if entry["data"] is not None and (measurement := _measurement(entry)):
            found.append(measurement)
            if len(found) == MOST_ENTRIES:
                break
    return found


def _measurement(entry: re.Match[str]) -> Measurement | None:
    label = entry["plain"] or entry["quoted"].replace("''", "'")
    value = _VALUE.fullmatch(entry["data"].partition(";")[0])
    if not label or value is None:
        return None
    try:
        number = float(value["number"])
    except ValueError:
        return None
    return Measurement(label, number, value["unit"] or "") if math.isfinite(number) else None


def as_event(measurements: list[Measurement]) -> list[dict[str, Any]]:
    """The measurements as events carry them, keys in Choria's order."""
    return [{"unit": unit, "label": label, "value": json_number(value)} for label, value, unit in measurements]


def json_number(value: float) -> int | float:
    """The number as Go writes it into JSON: whole ones without a fraction."""
    return int(value) if value.is_integer() and abs(value) < _EXACT else value
