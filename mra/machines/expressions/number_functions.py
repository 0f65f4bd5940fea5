"""Built-in functions on numbers, alone and in lists. (pure)"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from mra.machines.expressions.budget import Fault
from mra.machines.expressions.builtin import Builtin
from mra.machines.expressions.values import Number, kind, number
from mra.machines.golang import DEEPEST, wrap_int

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mra.machines.expressions.budget import Budget


def _number(value: object) -> Number:
    found = number(value)
    if found is None:
        raise Fault(f"a number is needed, this is {kind(value)}")
    return found


def _all_numbers(budget: Budget, values: tuple[object, ...] | list[object], depth: int = 0) -> Iterator[Number]:
    """The numbers in the arguments and in the lists among them, however nested."""
    if depth > DEEPEST:
        raise Fault(f"a value is nested more than {DEEPEST} levels deep")
    for value in values:
        budget.spend()
        if isinstance(value, list | tuple):
            yield from _all_numbers(budget, list(value), depth + 1)
        else:
            yield _number(value)


def _abs(_budget: Budget, value: object) -> object:
    found = abs(_number(value))
    return found if isinstance(found, float) else wrap_int(found)


def _ceil(_budget: Budget, value: object) -> object:
    found = float(_number(value))
    return float(math.ceil(found)) if math.isfinite(found) else found


def _floor(_budget: Budget, value: object) -> object:
    found = float(_number(value))
    return float(math.floor(found)) if math.isfinite(found) else found


def _round(_budget: Budget, value: object) -> object:
    """Half away from zero, where Python's round() goes to the even neighbour."""
    found = float(_number(value))
    if not math.isfinite(found):
        return found
    whole = math.trunc(found)
    return float(whole + math.copysign(1, found)) if abs(found - whole) >= 0.5 else float(whole)


def _max(budget: Budget, *values: object) -> object:
    return max(_all_numbers(budget, values), default=None)


def _min(budget: Budget, *values: object) -> object:
    return min(_all_numbers(budget, values), default=None)


def _mean(budget: Budget, *values: object) -> object:
    found = [float(value) for value in _all_numbers(budget, values)]
    return sum(found) / len(found) if found else 0.0


def _median(budget: Budget, *values: object) -> object:
    found = sorted(float(value) for value in _all_numbers(budget, values))
    middle = len(found) // 2
    if not found:
        return 0.0
    return found[middle] if len(found) % 2 else (found[middle - 1] + found[middle]) / 2


_MANY: Final = 1000

NUMBER_FUNCTIONS: Final[Mapping[str, Builtin]] = {
    "abs": Builtin(_abs, 1, 1),
    "ceil": Builtin(_ceil, 1, 1),
    "floor": Builtin(_floor, 1, 1),
    "round": Builtin(_round, 1, 1),
    "max": Builtin(_max, 1, _MANY),
    "min": Builtin(_min, 1, _MANY),
    "mean": Builtin(_mean, 1, _MANY),
    "median": Builtin(_median, 1, _MANY),
}
