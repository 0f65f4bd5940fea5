"""How Go counts, names and prints values, for the languages whose texts were written with Go's output in mind. (pure)

Manifests hold templates and expressions whose results become commands, paths and keys, so 1500000 from a JSON document
has to print as `1.5e+06` and a missing value as `<nil>`, as the fmt package prints them.
Values are JSON-like throughout: None, bool, int, float, str, list and mapping.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
DEEPEST: Final = 64  # documents that people write are nested a dozen levels; deeper is an attack on the stack


class NestingError(ValueError):
    """A value is nested deeper than any document made on purpose."""

    def __init__(self) -> None:
        super().__init__(f"a value is nested more than {DEEPEST} levels deep")


def bounded_int(value: int) -> int | float:
    """The number as Go holds it: an integer outside 64 bits is a float, as after decoding JSON."""
    if INT_MIN <= value <= INT_MAX:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def wrap_int(value: int) -> int:
    """The low 64 bits, signed: what Go's integer arithmetic leaves after an overflow."""
    return (value - INT_MIN) % 2**64 + INT_MIN


def numbers_as_floats(value: object, depth: int = 0) -> object:
    """The same document with floats for integers, which is what Go makes of JSON numbers of unknown type.

    Raises `NestingError`.
    """
    if depth > DEEPEST:
        raise NestingError
    match value:
        case bool():
            return value
        case int():
            return float(bounded_int(value))
        case Mapping():
            return {key: numbers_as_floats(item, depth + 1) for key, item in value.items()}
        case list() | tuple():
            return [numbers_as_floats(item, depth + 1) for item in value]
        case _:
            return value


def type_name(value: object) -> str:
    """The Go type that holds this value."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float64"
        case str():
            return "string"
        case Mapping():
            return "map[string]interface {}"
        case list() | tuple():
            return "[]interface {}"
        case _:
            return "unknown"


def format_value(value: object, depth: int = 0) -> str:
    """Print as `%v` does: maps with sorted keys, lists in brackets, floats in their shortest form.

    Raises `NestingError`.
    """
    if depth > DEEPEST:
        raise NestingError
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case int():
            number = bounded_int(value)
            return str(number) if isinstance(number, int) else format_float(number)
        case float():
            return format_float(value)
        case Mapping():
            pairs = sorted(((str(key), item) for key, item in value.items()), key=lambda pair: pair[0])
            return f"map[{' '.join(f'{key}:{format_value(item, depth + 1)}' for key, item in pairs)}]"
        case list() | tuple():
            return f"[{' '.join(format_value(item, depth + 1) for item in value)}]"
        case _:
            return str(value)


def format_float(value: float) -> str:
    """The fewest digits that read back as the same number; with an exponent below 1e-4 and from 1e+06 upwards.

    This is strconv's format 'g' at shortest precision, which `%v` uses for a float64.
    """
    if special := format_special(value):
        return special
    sign, digits, exponent = decompose(value)
    if value and not -4 <= exponent < 6:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}e{exponent:+03d}"
    return sign + plain(digits, exponent)


def format_float_plainly(value: float) -> str:
    """The same digits without an exponent, however large the number: strconv's format 'f' at shortest precision."""
    if special := format_special(value):
        return special
    sign, digits, exponent = decompose(value)
    return sign + plain(digits, exponent)


def format_special(value: float) -> str:
    """`NaN`, `+Inf`, `-Inf`, or nothing for a finite number."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return ""


def decompose(value: float) -> tuple[str, str, int]:
    """Sign, shortest decimal digits without trailing zeros, and the exponent of the first digit."""
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits))
    leading = exponent + len(text) - 1 if value else 0
    return "-" * sign, text.rstrip("0") or "0", leading


def plain(digits: str, exponent: int) -> str:
    """Decimal notation of `d.ddd` times ten to the exponent."""
    if exponent < 0:
        return "0." + "0" * (-exponent - 1) + digits
    whole, fraction = digits[: exponent + 1].ljust(exponent + 1, "0"), digits[exponent + 1 :]
    return f"{whole}.{fraction}" if fraction else whole
