"""Sizes and durations as people write them: `512MiB`, `24h`, `7d`. Pure."""

from __future__ import annotations

import re
from typing import Final

from mra.errors import BadInput, quoted

LARGEST_SIZE: Final = 1 << 60  # bytes; files have no more
LONGEST_DURATION: Final = 100 * 366 * 86400.0  # seconds; sums with any clock's reading stay exact enough

_SIZE = re.compile(r"([0-9]{1,19})\s*(B|KiB|MiB|GiB|TiB)?")
_SIZES = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_PART = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,19})?)(ms|s|m|h|d|w)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_size(text: str | int, where: str) -> int:
    """Bytes, 0 to LARGEST_SIZE; a bare number is bytes too. Raises BadInput naming `where`."""
    count = _bytes(text) if isinstance(text, str) else text
    if count is None or not 0 <= count <= LARGEST_SIZE:
        raise BadInput(f"{where} is {quoted(text)}: write a size such as 512MiB or 4GiB.")
    return count


def parse_duration(text: str | float, where: str) -> float:
    """Seconds, 0 to LONGEST_DURATION; a bare number is seconds too. Raises BadInput naming `where`."""
    seconds = _seconds(text) if isinstance(text, str) else text
    if seconds is None or not 0 <= seconds <= LONGEST_DURATION:  # NaN is in no range
        raise BadInput(f"{where} is {quoted(text)}: write a duration such as 30s, 24h or 7d.")
    return float(seconds)


def _bytes(text: str) -> int | None:
    match = _SIZE.fullmatch(text.strip())
    return int(match[1]) * _SIZES[match[2]] if match else None


def _seconds(text: str) -> float | None:
    if not _DURATION.fullmatch(text.strip()):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def show_size(count: float) -> str:
    """Bytes for a table: at most three digits and a unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def show_duration(seconds: float) -> str:
    """Seconds for a table: the two largest units."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    rest = round(seconds)
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"
