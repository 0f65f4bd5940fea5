"""Sizes and durations as people write them: `512MiB`, `24h`, `7d`. Pure."""

from __future__ import annotations

import re

from mra.errors import BadInput

_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|TiB)?")
_SIZES = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_size(text: str | int, where: str) -> int:
    """Bytes; a bare number is bytes too. Raises BadInput naming `where`."""
    if isinstance(text, int):
        return text
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise BadInput(f"{where} is {text!r}: write a size such as 512MiB or 4GiB.")
    return int(match[1]) * _SIZES[match[2]]


def parse_duration(text: str | float, where: str) -> float:
    """Seconds; a bare number is seconds too. Raises BadInput naming `where`."""
    if isinstance(text, int | float):
        return float(text)
    if not _DURATION.fullmatch(text.strip()):
        raise BadInput(f"{where} is {text!r}: write a duration such as 30s, 24h or 7d.")
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
