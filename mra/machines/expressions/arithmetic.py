"""`+ - * / % **` on numbers, with Go's results instead of Python's, and `+` on strings. (pure)"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from mra.machines.expressions.budget import Fault
from mra.machines.expressions.values import Number, kind, number
from mra.machines.golang import wrap_int

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mra.machines.expressions.budget import Budget


def calculate(symbol: str, left: object, right: object, budget: Budget) -> object:
    """The result of one operation. Raises `Fault` for operands it is not defined on."""
    if symbol == "+" and isinstance(left, str) and isinstance(right, str):
        budget.hold(len(left) + len(right))
        return left + right
    a, b = number(left), number(right)
    if a is None or b is None:
        raise Fault(f"{kind(left)} {symbol} {kind(right)} is not defined")
    return _OPERATIONS[symbol](a, b)


def negate(value: object) -> object:
    found = number(value)
    if found is None:
        raise Fault(f"-{kind(value)} is not defined")
    return -found if isinstance(found, float) else wrap_int(-found)


def _add(a: Number, b: Number) -> Number:
    return a + b if isinstance(a, float) or isinstance(b, float) else wrap_int(a + b)


def _subtract(a: Number, b: Number) -> Number:
    return a - b if isinstance(a, float) or isinstance(b, float) else wrap_int(a - b)


def _multiply(a: Number, b: Number) -> Number:
    return a * b if isinstance(a, float) or isinstance(b, float) else wrap_int(a * b)


def _divide(a: Number, b: Number) -> Number:
    """Always a float; dividing by zero is infinite or no number, and no error."""
    if b:
        return float(a) / float(b)
    return math.nan if not a or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _remainder(a: Number, b: Number) -> int:
    """Only for integers; takes the sign of the dividend, as Go's does."""
    if isinstance(a, float) or isinstance(b, float):
        raise Fault(f"{kind(a)} % {kind(b)} is not defined, convert with int()")
    if not b:
        raise Fault("division by zero")
    return int(math.copysign(1, a)) * (abs(a) % abs(b))


def _power(a: Number, b: Number) -> Number:
    """Always a float."""
    try:
        return math.pow(a, b)
    except OverflowError:
        return -math.inf if a < 0 and b % 2 == 1 else math.inf
    except ValueError:
        return math.inf if not a else math.nan


_OPERATIONS: Final[Mapping[str, Callable[[Number, Number], object]]] = {
    "+": _add,
    "-": _subtract,
    "*": _multiply,
    "/": _divide,
    "%": _remainder,
    "**": _power,
}
