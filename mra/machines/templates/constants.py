"""Constants as Go spells them in templates. (pure)"""

from __future__ import annotations

from mra.machines.expressions.literals import read_number, read_string


def read_constant(kind: str, text: str) -> object:
    """The value of a token of kind string, raw, character or number. Raises ValueError with the reason."""
    match kind:
        case "string":
            return read_string(text)
        case "raw":
            return text[1:-1].replace("\r", "")
        case "character":
            character = read_string(text)
            if len(character) != 1:
                raise ValueError("a character constant holds one character")
            return ord(character)
        case _:
            return _number(text)


def _number(text: str) -> int | float:
    """A number; unlike expressions, templates read digits behind a leading zero as octal."""
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits.startswith("0") and digits.replace("_", "").isdecimal():
        digits = "0o" + digits[1:]
    return sign * read_number(digits)
