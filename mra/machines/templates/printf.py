"""`printf`, with the verbs and the complaints of Go's fmt package. (pure)

A verb that does not fit its value is no error: the complaint is printed in its place, as Go does it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mra.machines.golang import bounded_int, format_float, format_special, format_value, type_name

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDEST: Final = 100_000
_VERB: Final = re.compile(r"%(?P<flags>[-+# 0]*)(?P<width>\d*)(?:\.(?P<precision>\d*))?(?P<verb>.?)", re.DOTALL)
_ESCAPES: Final = {
    '"': r"\"",
    "\\": r"\\",
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
}
_BASES: Final = {"d": "d", "b": "b", "o": "o", "x": "x", "X": "X"}


def sprintf(text: str, values: Sequence[object]) -> str:
    """The text with its verbs replaced. Raises ValueError for widths out of reason, and for widths from arguments."""
    waiting = list(values)
    widths = (number for match in _VERB.finditer(text) for number in match.group("width", "precision") if number)
    if sum(int(width[:9]) for width in widths) > WIDEST:
        raise ValueError(f"the widths and precisions add up to more than {WIDEST}")

    def replace(match: re.Match[str]) -> str:
        verb = match["verb"]
        if verb in ("*", "["):
            raise ValueError("widths and positions from arguments are not supported")
        if not verb:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        if not waiting:
            return f"%!{verb}(MISSING)"
        return _one(match, verb, waiting.pop(0))

    printed = _VERB.sub(replace, text)
    if waiting:
        extras = ", ".join(_typed(value) for value in waiting)
        printed += f"%!(EXTRA {extras})"
    return printed


def quote(text: str) -> str:
    """The text in double quotes, with Go's escapes for what cannot be printed."""
    return '"' + "".join(_quoted(character) for character in text) + '"'


def _quoted(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _one(match: re.Match[str], verb: str, value: object) -> str:
    flags, precision = match["flags"], match["precision"]
    digits = None if precision is None else int(precision or 0)
    if isinstance(value, list) and verb not in "vT":
        return "[" + " ".join(_one(match, verb, item) for item in value) + "]"
    printed = _printed(verb, value, flags, digits)
    if printed is None:
        return f"%!{verb}({_typed(value)})"
    return _padded(printed, flags, int(match["width"] or 0), numeric=_is_number(value))


def _printed(verb: str, value: object, flags: str, precision: int | None) -> str | None:
    """The value under this verb, before padding; None when the verb does not fit it."""
    plus = "+" if "+" in flags else " " if " " in flags else ""
    match verb, value:
        case "T", _:
            return type_name(value)
        case "v", str() | None | bool() | dict() | list():
            return _cut(format_value(value), precision if isinstance(value, str) else None)
        case "t", bool():
            return format_value(value)
        case _, bool() | None:
            return None
        case "s", str():
            return _cut(value, precision)
        case "q", str():
            return quote(_cut(value, precision))
        case "x" | "X", str():
            octets = value.encode("utf-8", "surrogatepass").hex()
            return octets.upper() if verb == "X" else octets
        case "d" | "b" | "o" | "x" | "X" | "v" | "c" | "q" | "U", int():
            number = bounded_int(value)
            return _integer(verb, number, flags, plus) if isinstance(number, int) else _float("v", number, None, plus)
        case "e" | "E" | "f" | "F" | "g" | "G" | "v", float():
            return _float(verb, value, precision, plus)
        case _:
            return None


def _integer(verb: str, value: int, flags: str, plus: str) -> str | None:
    if verb in "cqU":
        if not 0 <= value <= 0x10FFFF or 0xD800 <= value <= 0xDFFF:
            value = 0xFFFD
        return {"c": chr(value), "q": f"'{chr(value)}'", "U": f"U+{value:04X}"}[verb]
    sign = "-" if value < 0 else plus
    prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(verb, "") if "#" in flags else ""
    return f"{sign}{prefix}{abs(value):{_BASES.get(verb, 'd')}}"


def _float(verb: str, value: float, precision: int | None, plus: str) -> str:
    if special := format_special(value):
        return special
    if verb in "vgG" and precision is None:
        printed = format_float(value)
    else:
        printed = f"{value:.{6 if precision is None else precision}{'g' if verb == 'v' else verb}}"
    if verb in "EG":
        printed = printed.upper()
    return printed if printed.startswith("-") else plus + printed


def _padded(printed: str, flags: str, width: int, *, numeric: bool) -> str:
    if "-" in flags:
        return printed.ljust(width)
    if "0" in flags and numeric:
        sign = printed[:1] if printed[:1] in ("+", "-", " ") else ""
        return sign + printed[len(sign) :].rjust(width - len(sign), "0")
    return printed.rjust(width)


def _cut(text: str, precision: int | None) -> str:
    return text if precision is None else text[:precision]


def _typed(value: object) -> str:
    return "<nil>" if value is None else f"{type_name(value)}={format_value(value)}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
