"""KSUIDs: 27 characters that sort by time; Choria's token ids. Format: segment's ksuid."""

from __future__ import annotations

import re

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_EPOCH = 1_400_000_000
_TEXT = re.compile(r"[0-9A-Za-z]{27}", re.ASCII)


def ksuid(now: int, random: bytes) -> str:
    """The id of second `now` and 16 random bytes. The time must lie between 2014 and 2150."""
    if len(random) != 16:
        raise ValueError("a KSUID takes 16 random bytes")
    number = int.from_bytes((now - _EPOCH).to_bytes(4, "big") + random, "big")
    digits = []
    for _ in range(27):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def time_of(text: str) -> int | None:
    """The second that a KSUID was made in; None for a text that is none."""
    if not _TEXT.fullmatch(text):
        return None
    number = 0
    for character in text:
        number = number * 62 + _DIGITS.index(character)
    return (number >> 128) + _EPOCH if number < 1 << 160 else None
