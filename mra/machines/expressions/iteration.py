"""The built-in functions that ask a predicate about each element of a list. (pure)

Each takes the elements and a function from position to the predicate's answer, and asks no more than it needs.
`reduce` is not here: its predicate also sees what has been gathered so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mra.machines.expressions.budget import Fault
from mra.machines.expressions.values import Number, boolean, kind, number
from mra.machines.golang import wrap_int

Ask = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Iterator:
    """One such function; some can do without a predicate and then look at the elements themselves."""

    run: Callable[[Sequence[object], Ask], object]
    needs_predicate: bool = True
    takes_initial: bool = False


def _positions(elements: Sequence[object], ask: Ask) -> list[int]:
    return [index for index in range(len(elements)) if boolean(ask(index))]


def _all(elements: Sequence[object], ask: Ask) -> object:
    return all(boolean(ask(index)) for index in range(len(elements)))


def _any(elements: Sequence[object], ask: Ask) -> object:
    return any(boolean(ask(index)) for index in range(len(elements)))


def _none(elements: Sequence[object], ask: Ask) -> object:
    return not any(boolean(ask(index)) for index in range(len(elements)))


def _one(elements: Sequence[object], ask: Ask) -> object:
    return len(_positions(elements, ask)) == 1


def _count(elements: Sequence[object], ask: Ask) -> object:
    return len(_positions(elements, ask))


def _filter(elements: Sequence[object], ask: Ask) -> object:
    return [elements[index] for index in _positions(elements, ask)]


def _map(elements: Sequence[object], ask: Ask) -> object:
    return [ask(index) for index in range(len(elements))]


def _sum(elements: Sequence[object], ask: Ask) -> object:
    total: Number = 0
    for index in range(len(elements)):
        answer = ask(index)
        term = number(answer)
        if term is None:
            raise Fault(f"only numbers can be summed, this is {kind(answer)}")
        total = total + term if isinstance(total, float) or isinstance(term, float) else wrap_int(total + term)
    return total


def _first(positions: range, ask: Ask) -> int | None:
    return next((index for index in positions if boolean(ask(index))), None)


def _find(elements: Sequence[object], ask: Ask) -> object:
    index = _first(range(len(elements)), ask)
    return None if index is None else elements[index]


def _find_index(elements: Sequence[object], ask: Ask) -> object:
    return _first(range(len(elements)), ask)


def _find_last(elements: Sequence[object], ask: Ask) -> object:
    index = _first(range(len(elements) - 1, -1, -1), ask)
    return None if index is None else elements[index]


def _find_last_index(elements: Sequence[object], ask: Ask) -> object:
    return _first(range(len(elements) - 1, -1, -1), ask)


def _by_evaluator(_elements: Sequence[object], _ask: Ask) -> object:
    raise AssertionError("the evaluator reduces by itself")


ITERATORS: Final[Mapping[str, Iterator]] = {
    "all": Iterator(_all),
    "any": Iterator(_any),
    "none": Iterator(_none),
    "one": Iterator(_one),
    "count": Iterator(_count, needs_predicate=False),
    "sum": Iterator(_sum, needs_predicate=False),
    "filter": Iterator(_filter),
    "map": Iterator(_map),
    "find": Iterator(_find),
    "findIndex": Iterator(_find_index),
    "findLast": Iterator(_find_last),
    "findLastIndex": Iterator(_find_last_index),
    "reduce": Iterator(_by_evaluator, takes_initial=True),
}
