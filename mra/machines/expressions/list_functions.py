"""Built-in functions on arrays and maps. (pure)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from mra.machines.expressions.budget import Fault
from mra.machines.expressions.builtin import Builtin
from mra.machines.expressions.values import array, as_bytes, equal, fetch, integer, kind, mapping, number, text
from mra.machines.golang import DEEPEST

if TYPE_CHECKING:
    from mra.machines.expressions.budget import Budget


def _len(_budget: Budget, value: object) -> object:
    if isinstance(value, str | list | tuple | Mapping):
        return len(value)
    raise Fault(f"{kind(value)} has no length")


def _first(_budget: Budget, value: object) -> object:
    entries = array(value)
    return entries[0] if entries else None


def _last(_budget: Budget, value: object) -> object:
    entries = array(value)
    return entries[-1] if entries else None


def _take(budget: Budget, value: object, count: object) -> object:
    entries, most = array(value), integer(count)
    if most < 0:
        raise Fault(f"{most} elements cannot be taken")
    budget.hold(min(most, len(entries)))
    return list(entries[:most])


def _reverse(budget: Budget, value: object) -> object:
    budget.hold(len(array(value)))
    return list(reversed(array(value)))


def _concat(budget: Budget, *values: object) -> object:
    budget.hold(sum(len(array(value)) for value in values))
    return [item for value in values for item in array(value)]


def _flatten(budget: Budget, value: object, depth: int = 0) -> list[object]:
    if depth > DEEPEST:
        raise Fault(f"a value is nested more than {DEEPEST} levels deep")
    flat: list[object] = []
    for item in array(value):
        budget.hold(1)
        if isinstance(item, list | tuple):
            flat.extend(_flatten(budget, item, depth + 1))
        else:
            flat.append(item)
    return flat


def _uniq(budget: Budget, value: object) -> object:
    kept: list[object] = []
    for item in array(value):
        if not any(equal(item, other, budget) for other in kept):
            kept.append(item)
    budget.hold(len(kept))
    return kept


def _sort(budget: Budget, value: object, order: object = "asc") -> object:
    entries: list[Any] = list(array(value))
    budget.hold(len(entries))
    if order not in ("asc", "desc"):
        raise Fault("the order of sort is 'asc' or 'desc'")
    if not (all(isinstance(item, str) for item in entries) or all(number(item) is not None for item in entries)):
        raise Fault("only numbers, or only strings, can be sorted")
    return sorted(entries, reverse=order == "desc")


def _get(_budget: Budget, target: object, key: object) -> object:
    """`target[key]`, but nil instead of a fault when there is no such position."""
    if target is None:
        return None
    if isinstance(target, str | list | tuple):
        length = len(as_bytes(target)) if isinstance(target, str) else len(target)
        if not -length <= integer(key) < length:
            return None
    return fetch(target, key)


def _keys(budget: Budget, value: object) -> object:
    budget.hold(len(mapping(value)))
    return list(mapping(value))


def _values(budget: Budget, value: object) -> object:
    budget.hold(len(mapping(value)))
    return list(mapping(value).values())


def _to_pairs(budget: Budget, value: object) -> object:
    budget.hold(3 * len(mapping(value)))
    return [[key, item] for key, item in mapping(value).items()]


def _from_pairs(budget: Budget, value: object) -> object:
    budget.hold(len(array(value)))
    pairs = [array(item) for item in array(value)]
    if any(len(pair) != 2 for pair in pairs):
        raise Fault("each pair is an array of a key and a value")
    return {text(key): item for key, item in pairs}


_MANY: Final = 1000

LIST_FUNCTIONS: Final[Mapping[str, Builtin]] = {
    "len": Builtin(_len, 1, 1),
    "first": Builtin(_first, 1, 1),
    "last": Builtin(_last, 1, 1),
    "take": Builtin(_take, 2, 2),
    "reverse": Builtin(_reverse, 1, 1),
    "concat": Builtin(_concat, 1, _MANY),
    "flatten": Builtin(_flatten, 1, 1),
    "uniq": Builtin(_uniq, 1, 1),
    "sort": Builtin(_sort, 1, 2),
    "get": Builtin(_get, 2, 2),
    "keys": Builtin(_keys, 1, 1),
    "values": Builtin(_values, 1, 1),
    "toPairs": Builtin(_to_pairs, 1, 1),
    "fromPairs": Builtin(_from_pairs, 1, 1),
}
