"""Built-in functions from one type to another. (pure)"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from mra.machines.expressions.budget import Fault
from mra.machines.expressions.builtin import Builtin
from mra.machines.expressions.values import as_bytes, integer, kind, number, text
from mra.machines.golang import INT_MAX, INT_MIN, format_value, numbers_as_floats

if TYPE_CHECKING:
    from mra.machines.expressions.budget import Budget

_JSON_ESCAPES: Final = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_FLOAT: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|infinity)|nan", re.IGNORECASE)


def _int(_budget: Budget, value: object) -> object:
    if not isinstance(value, str):
        return integer(value)
    if not _INTEGER.fullmatch(value) or not INT_MIN <= int(value) <= INT_MAX:
        raise Fault(f"{value[:40]!r} is no integer")
    return int(value)


def _float(_budget: Budget, value: object) -> object:
    if isinstance(value, str):
        if not _FLOAT.fullmatch(value):
            raise Fault(f"{value[:40]!r} is no number")
        return float(value)
    found = number(value)
    if found is None:
        raise Fault(f"{kind(value)} cannot become a float")
    return float(found)


def _string(budget: Budget, value: object) -> object:
    budget.hold_printed(value)
    return format_value(value)


def _type(_budget: Budget, value: object) -> object:
    return kind(value)


def _to_json(budget: Budget, value: object) -> object:
    """With sorted keys, whole floats without a fraction, and `<`, `>` and `&` escaped, as encoding/json writes it."""
    budget.hold_printed(value)
    try:
        written = json.dumps(_whole(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        raise Fault("the value cannot be written as JSON") from None
    return written.translate(_JSON_ESCAPES)


def _whole(value: object) -> object:
    match value:
        case float() if value.is_integer() and abs(value) < 1e21:
            return int(value)
        case Mapping():
            return {key: _whole(item) for key, item in value.items()}
        case list() | tuple():
            return [_whole(item) for item in value]
        case _:
            return value


def _from_json(budget: Budget, value: object) -> object:
    budget.hold(len(text(value)))
    try:
        return numbers_as_floats(json.loads(text(value), parse_float=_finite, parse_constant=_finite))
    except (ValueError, RecursionError):
        raise Fault("the text is not JSON") from None


def _finite(written: str) -> float:
    """Python's json also reads NaN, Infinity and numbers too large for a float."""
    number = float(written)
    if not math.isfinite(number):
        raise ValueError(written)
    return number


def _to_base64(budget: Budget, value: object) -> object:
    budget.hold(4 * len(text(value)))
    return base64.b64encode(as_bytes(text(value))).decode()


def _from_base64(budget: Budget, value: object) -> object:
    budget.hold(len(text(value)))
    try:
        return base64.b64decode(text(value), validate=True).decode(errors="replace")
    except (binascii.Error, ValueError):
        raise Fault("the text is not base64") from None


CONVERSIONS: Final[Mapping[str, Builtin]] = {
    "int": Builtin(_int, 1, 1),
    "float": Builtin(_float, 1, 1),
    "string": Builtin(_string, 1, 1),
    "type": Builtin(_type, 1, 1),
    "toJSON": Builtin(_to_json, 1, 1),
    "fromJSON": Builtin(_from_json, 1, 1),
    "toBase64": Builtin(_to_base64, 1, 1),
    "fromBase64": Builtin(_from_base64, 1, 1),
}
