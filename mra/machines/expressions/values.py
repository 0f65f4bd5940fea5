"""What operators do with values, as expr-lang on Go defines it. (pure)

Values are JSON-like. Three rules differ from Python's: booleans are no numbers, integers are 64 bits wide and wrap, and
strings are counted in bytes where they are indexed or sliced. Every disagreement of types is a `Fault`.
"""

from __future__ import annotations

import math
import operator as operators
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mra.machines.expressions.budget import Fault
from mra.machines.golang import DEEPEST, INT_MIN, bounded_int

if TYPE_CHECKING:
    from mra.machines.expressions.budget import Budget

Number: TypeAlias = int | float  # spelt as a union, since only that lets a type checker tell the two apart


def kind(value: object) -> str:
    """The name of the value's type in expr-lang."""
    match value:
        case None:
            return "nil"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case Mapping():
            return "map"
        case _:
            return "function"


def number(value: object) -> Number | None:
    """The value as a number, or None when it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return bounded_int(value)
    return value if isinstance(value, float) else None


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise Fault(f"a condition must be a bool, this is {kind(value)}")
    return value


def integer(value: object) -> int:
    """A whole number for a position or a count; fractions are cut off as in Go."""
    found = number(value)
    if found is None:
        raise Fault(f"an integer is needed, this is {kind(value)}")
    if isinstance(found, float):
        if not INT_MIN <= found < -float(INT_MIN):
            raise Fault("the number does not fit in 64 bits")
        return math.trunc(found)
    return found


def text(value: object) -> str:
    if not isinstance(value, str):
        raise Fault(f"a string is needed, this is {kind(value)}")
    return value


def array(value: object) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise Fault(f"an array is needed, this is {kind(value)}")
    return value


def mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise Fault(f"a map is needed, this is {kind(value)}")
    return value


def equal(left: object, right: object, budget: Budget, depth: int = 0) -> bool:
    """Deep equality; an integer equals the float of the same size, a boolean equals no number."""
    budget.spend()
    if depth > DEEPEST:
        raise Fault(f"a value is nested more than {DEEPEST} levels deep")
    a, b = number(left), number(right)
    if a is not None and b is not None:
        return _same_number(a, b)
    match left, right:
        case (list() | tuple(), list() | tuple()):
            return len(left) == len(right) and all(
                equal(x, y, budget, depth + 1) for x, y in zip(left, right, strict=True)
            )
        case (Mapping(), Mapping()):
            return len(left) == len(right) and all(
                key in right and equal(item, right[key], budget, depth + 1) for key, item in left.items()
            )
        case (None, None):
            return True
        case (str(), str()) | (bool(), bool()):
            return left == right
        case _:
            return False


def _same_number(left: Number, right: Number) -> bool:
    if isinstance(left, float) or isinstance(right, float):
        return float(left) == float(right)  # Python would compare exactly, Go compares as floats
    return left == right


_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}


def ordered(symbol: str, left: object, right: object) -> bool:
    """`left < right` and its three siblings, for two numbers or two strings."""
    a, b = number(left), number(right)
    if a is not None and b is not None:
        if isinstance(a, float) or isinstance(b, float):
            a, b = float(a), float(b)
        return _ORDER[symbol](a, b)
    if isinstance(left, str) and isinstance(right, str):
        return _ORDER[symbol](left, right)
    raise Fault(f"{kind(left)} {symbol} {kind(right)} cannot be compared")


def contains(container: object, needle: object, budget: Budget) -> bool:
    """`needle in container`."""
    match container:
        case None:
            return False
        case list() | tuple():
            return any(equal(item, needle, budget) for item in container)
        case Mapping():
            if not isinstance(needle, str):
                raise Fault(f"the keys of a map are strings, this is {kind(needle)}")
            return needle in container
        case _:
            raise Fault(f"'in' needs an array or a map, this is {kind(container)}")


def fetch(target: object, key: object) -> object:
    """`target[key]`: nil for an absent key of a map; a fault outside an array, and for anything of nil."""
    match target:
        case Mapping():
            if not isinstance(key, str):
                raise Fault(f"the keys of a map are strings, this is {kind(key)}")
            return target.get(key)
        case list() | tuple():
            return target[_position(key, len(target))]
        case str():
            octets = as_bytes(target)
            return octets[_position(key, len(octets))]
        case _:
            raise Fault(f"cannot read {repr(key) if isinstance(key, str) else 'a member'} of {kind(target)}")


def _position(key: object, length: int) -> int:
    position = integer(key)
    if not -length <= position < length:
        raise Fault(f"position {position} is outside, there are {length}")
    return position


def cut(target: object, start: object, stop: object) -> object:
    """`target[start:stop]`; negative positions count from the end, and nothing is out of range."""
    if isinstance(target, str):
        octets = as_bytes(target)
        return octets[_bounds(len(octets), start, stop)].decode(errors="replace")
    entries = array(target)
    return list(entries[_bounds(len(entries), start, stop)])


def _bounds(length: int, start: object, stop: object) -> slice:
    first = 0 if start is None else integer(start)
    last = length if stop is None else integer(stop)
    first = max(0, first + length if first < 0 else first)
    last = min(length, max(0, last + length if last < 0 else last))
    return slice(min(first, last), last)


def as_bytes(value: str) -> bytes:
    """The bytes that Go has for this string."""
    return value.encode("utf-8", "surrogatepass")
