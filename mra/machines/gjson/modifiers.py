"""What `@name` does to a value: pure functions from JSON value and argument to JSON value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

DEEPEST: Final = 64


def _same(value: object, _argument: Mapping[str, object]) -> object:
    return value


def _reverse(value: object, _argument: Mapping[str, object]) -> object:
    if isinstance(value, list):
        return value[::-1]
    if isinstance(value, Mapping):
        return {key: value[key] for key in reversed(list(value))}
    return value


def _keys(value: object, _argument: Mapping[str, object]) -> object:
    if isinstance(value, Mapping):
        return list(value)
    return [None] * len(value) if isinstance(value, list) else [None]


def _values(value: object, _argument: Mapping[str, object]) -> object:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else [value]


def _flatten(value: object, argument: Mapping[str, object]) -> object:
    if not isinstance(value, list):
        return value
    return _unnested(value, DEEPEST if argument.get("deep") is True else 1)


def _unnested(value: list[object], levels: int) -> list[object]:
    flat: list[object] = []
    for entry in value:
        if isinstance(entry, list) and levels:
            flat.extend(_unnested(entry, levels - 1))
        else:
            flat.append(entry)
    return flat


def _join(value: object, _argument: Mapping[str, object]) -> object:
    if not isinstance(value, list):
        return value
    joined: dict[object, object] = {}
    for entry in value:
        if isinstance(entry, Mapping):
            joined.update(entry)
    return joined


MODIFIERS: Final[Mapping[str, Callable[[object, Mapping[str, object]], object]]] = {
    "this": _same,
    "valid": _same,  # a decoded document is valid
    "ugly": _same,  # and has no white space to remove
    "pretty": _same,
    "reverse": _reverse,
    "keys": _keys,
    "values": _values,
    "flatten": _flatten,
    "join": _join,
}
UNSUPPORTED: Final = frozenset({"tostr", "fromstr", "group", "dig"})
