"""Durations as machine manifests write them: two dialects in, one notation out.

`parse_go` reads Go's notation (`1h30m`, `250ms`, `1.5s`), which duration typed properties use. `parse_interval` reads
that of `interval` and `announce_interval`, which adds days, weeks, months of 30 days and years of 365 days (section 1.4
of the reference). A duration is a whole number of nanoseconds within the 64 bits that Go gives it. (pure)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mra.errors import BadInput

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, the micro sign
    "μs": 1_000,  # U+03BC, the Greek letter
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3_600 * 1_000_000_000,
}
_HOUR = _NANOSECONDS["h"]
_HOURS_IN = {"d": 24, "D": 24, "w": 7 * 24, "W": 7 * 24, "M": 30 * 24, "y": 365 * 24, "Y": 365 * 24}
_LARGEST = 2**63 - 1
_TERM = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_LONG = re.compile(r"([-+]?)([0-9]+)(?:\.([0-9]+))?([dDwWMyY])", re.ASCII)
_LONGEST_TEXT = 100  # no sensible duration is longer, and arithmetic on megabytes of digits is slow


@dataclass(frozen=True, order=True)
class Duration:
    """A span of time in whole nanoseconds; `str()` gives Go's notation, for example `2m0s`."""

    nanoseconds: int

    @property
    def seconds(self) -> float:
        """The span as Trio counts it."""
        return self.nanoseconds / 1e9

    @classmethod
    def of_seconds(cls, seconds: float) -> Duration:
        """The nearest whole number of nanoseconds."""
        return cls(round(seconds * 1e9))

    def __bool__(self) -> bool:
        return self.nanoseconds != 0

    def __str__(self) -> str:
        return _go_notation(self.nanoseconds)


def parse_go(text: str) -> Duration:
    """Read Go's notation; raises `BadInput` naming the text.

    Like Go, a lone `0` needs no unit, fractions below a nanosecond are cut off, and terms may repeat in any order.
    """
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return Duration(0)
    total, at = 0, 0
    while body and len(body) <= _LONGEST_TEXT and at < len(body):
        term = _TERM.match(body, at)
        if term is None or not (term[1] or term[2]):
            break
        total += _scaled(term[1], term[2], _NANOSECONDS[term[3]])
        at = term.end()
    if not body or at < len(body):
        raise BadInput(f"{_shown(text)} is not a duration; write it like 90s, 1h30m or 250ms")
    return _within_range(-total if text[0] == "-" else total, text)


def parse_interval(text: str) -> Duration:
    """Read the notation of `interval` and `announce_interval`; an empty text is zero.

    Days and longer are one number and one unit, and come out in whole hours (`0.1d` is two hours), as Choria has it.

    Raises:
        BadInput: the text is not a duration, or ends in a unit other than s, m, h, d, w, M or y.
    """
    text = text.strip()
    if not text:
        return Duration(0)
    if len(text) <= _LONGEST_TEXT and (long := _LONG.fullmatch(text)):
        hours = _scaled(long[2], long[3], _HOURS_IN[long[4]])
        return _within_range((-hours if long[1] == "-" else hours) * _HOUR, text)
    if text[-1] not in "smh" or text.endswith(("ns", "us", "µs", "μs")):
        raise BadInput(f"{_shown(text)} is not an interval; end it in s, m, h, d, w, M or y, like 30s or 1d")
    return parse_go(text)


def _scaled(whole: str, fraction: str | None, unit: int) -> int:
    """Exact decimal arithmetic: what is left below one is cut off."""
    digits = fraction or ""
    scale: int = 10 ** len(digits)
    return int(whole + digits or "0") * unit // scale


def _within_range(nanoseconds: int, text: str) -> Duration:
    if not -_LARGEST <= nanoseconds <= _LARGEST:
        raise BadInput(f"{_shown(text)} is longer than the 292 years a duration can hold; write a shorter one")
    return Duration(nanoseconds)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")


def _go_notation(nanoseconds: int) -> str:
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest == 0:
        return "0s"
    for unit in ("ns", "µs", "ms"):
        if rest < _NANOSECONDS[unit] * 1_000:
            return sign + _decimal(rest, _NANOSECONDS[unit]) + unit
    minutes, rest = divmod(rest, _NANOSECONDS["m"])
    hours, minutes = divmod(minutes, 60)
    shown_hours = f"{hours}h" if hours else ""
    shown_minutes = f"{minutes}m" if hours or minutes else ""
    return sign + shown_hours + shown_minutes + _decimal(rest, _NANOSECONDS["s"]) + "s"


def _decimal(amount: int, unit: int) -> str:
    whole, fraction = divmod(amount, unit)
    digits = f"{fraction:0{len(str(unit)) - 1}d}".rstrip("0") if unit > 1 else ""
    return f"{whole}.{digits}" if digits else str(whole)
