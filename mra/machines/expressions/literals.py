"""Numbers and strings as they are written in expressions. (pure)"""

from __future__ import annotations

import math
import re
from typing import Final

from mra.machines.golang import INT_MAX

_SIMPLE: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_ESCAPE: Final = re.compile(
    r"\\(?:(?P<octal>[0-7]{3})|x(?P<hex>[0-9a-fA-F]{2})|u\{(?P<braced>[0-9a-fA-F]{1,6})\}"
    r"|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8})|(?P<simple>.))",
    re.DOTALL,
)
_BASES: Final = {"0x": 16, "0o": 8, "0b": 2}


def read_number(text: str) -> int | float:
    """The number; raises ValueError with the reason when it has no digits or does not fit."""
    digits = text.replace("_", "").lower()
    if (base := _BASES.get(digits[:2])) is not None:
        number = int(digits[2:], base)
    elif "." in digits or "e" in digits:
        value = float(digits)
        if math.isinf(value):
            raise ValueError("the number is too large")
        return value
    else:
        number = int(digits) if len(digits) < 30 else INT_MAX + 1
    if number > INT_MAX:
        raise ValueError("the integer does not fit in 64 bits")
    return number


def read_string(text: str) -> str:
    """The content of a quoted string; raises ValueError for an escape that does not exist."""
    quote = text[0]

    def replace(match: re.Match[str]) -> str:
        if (simple := match["simple"]) is not None:
            if simple == quote:
                return quote
            if simple in _SIMPLE:
                return _SIMPLE[simple]
            raise ValueError(f"the escape {match[0]!r} does not exist")
        if match["octal"]:
            code = int(match["octal"], 8)
        else:
            code = int(match["hex"] or match["braced"] or match["short"] or match["long"], 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise ValueError(f"the escape {match[0]!r} is no character")
        return chr(code)

    return _ESCAPE.sub(replace, text[1:-1])


def read_raw_string(text: str) -> str:
    """The content of a string between backticks, where only a doubled backtick is special."""
    return text[1:-1].replace("``", "`")
