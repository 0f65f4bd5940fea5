"""Walking a compiled path over a decoded document. (pure)"""

from __future__ import annotations

import json
import operator as operators
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from mra.errors import BadInput
from mra.machines.gjson.path import Each, Key, Modifier, Path, Query, Step
from mra.machines.golang import format_float_plainly

MOST_VISITS: Final = 200_000


class Missing(Enum):
    """The type of `MISSING`: there is no value at that path."""

    MISSING = "missing"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing.MISSING


def find(document: object, path: Path) -> object:
    """The value at `path`, or `MISSING`. Raises `BadInput` when the search would look at too many values."""
    return _Search(path.text).follow(document, path)


class _Search:
    """One look-up, with a count of the values it has looked at."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.visits = 0

    def visit(self, count: int = 1) -> None:
        self.visits += count
        if self.visits > MOST_VISITS:
            raise BadInput(f"gjson path {self.text!r} looks at more than {MOST_VISITS} values; make it more specific")

    def follow(self, document: object, path: Path) -> object:
        value, stage = document, path
        while True:
            value = self.walk(value, stage.steps)
            if stage.then is None or value is MISSING:
                return value
            stage = stage.then

    def walk(self, value: object, steps: Sequence[Step]) -> object:
        self.visit()
        if not steps:
            return value
        step, rest = steps[0], steps[1:]
        match step:
            case Modifier():
                self.visit(len(value) if isinstance(value, list | Mapping) else 1)
                return self.walk(step.apply(value, step.argument), rest)
            case Key() if isinstance(value, Mapping):
                return self.walk_mapping(value, step, rest)
            case Key() if isinstance(value, list):
                inside = step.position is not None and step.position < len(value)
                return self.walk(value[step.position or 0], rest) if inside else MISSING
            case Each() if isinstance(value, list):
                if not rest:
                    return len(value)
                found = (self.walk(entry, rest) for entry in value)
                return [entry for entry in found if entry is not MISSING]
            case Each() if isinstance(value, Mapping):
                return self.walk(value["#"], rest) if "#" in value else MISSING
            case Query() if isinstance(value, list):
                return self.walk_matching(value, step, rest)
            case _:
                return MISSING

    def walk_mapping(self, value: Mapping[str, object], key: Key, rest: Sequence[Step]) -> object:
        literal = key.pattern.literal
        if literal is not None:
            return self.walk(value[literal], rest) if literal in value else MISSING
        for name, entry in value.items():
            self.visit()
            if isinstance(name, str) and key.pattern.matches(name):
                found = self.walk(entry, rest)
                if found is not MISSING:
                    return found
        return MISSING

    def walk_matching(self, value: Sequence[object], query: Query, rest: Sequence[Step]) -> object:
        if query.every:
            found = (self.walk(entry, rest) for entry in value if self.is_match(entry, query))
            return [entry for entry in found if entry is not MISSING]
        for entry in value:
            if self.is_match(entry, query):
                return self.walk(entry, rest)
        return MISSING

    def is_match(self, entry: object, query: Query) -> bool:
        self.visit()
        if query.path is None:
            subject = MISSING if isinstance(entry, list | Mapping) else entry
        elif isinstance(entry, list | Mapping):
            subject = self.follow(entry, query.path)
        else:
            return False
        return _holds(subject, query)


def text_of(value: object) -> str:
    """The value as gjson hands it out as text: strings bare, numbers plain, null and missing empty, the rest as JSON.

    Raises `BadInput` for a value nested deeper than any document made on purpose.
    """
    match value:
        case None | Missing.MISSING:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int():
            return str(value)
        case float():
            return format_float_plainly(value)
        case _:
            try:
                return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)
            except RecursionError:
                raise BadInput("a looked-up value is nested too deep to print; look up a part of it") from None


def _holds(subject: object, query: Query) -> bool:
    operator, value = query.operator, query.value
    if value.startswith("~"):
        subject, value = _judge(subject, value), "true"
    if subject is MISSING:
        return False
    if not operator:
        return True
    match subject:
        case bool():
            return _bool_holds(subject, operator, value)
        case int() | float():
            return operator in _COMPARISONS and _COMPARISONS[operator](subject, _number(value))
        case str() if operator in ("%", "!%"):
            return query.pattern.matches(subject) is (operator == "%")
        case str():
            return _COMPARISONS[operator](subject, value)
        case _:
            return False  # null, lists and mappings compare with nothing


_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operators.eq,
    "!=": operators.ne,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}


def _bool_holds(subject: bool, operator: str, value: str) -> bool:
    """false sorts before true; any other text is unequal to both, and only `>=` and `<=` forgive it."""
    if operator == "=":
        return value == ("true" if subject else "false")
    if operator == "!=":
        return value != ("true" if subject else "false")
    if subject:
        return operator == ">=" or (operator == ">" and value == "false")
    return operator == "<=" or (operator == "<" and value == "true")


def _judge(subject: object, kind: str) -> object:
    """What a comparison with `~true`, `~false`, `~null` or `~*` is really about: a boolean."""
    match kind:
        case "~*":
            return subject is not MISSING
        case "~null":
            return subject is None or subject is MISSING
        case "~true":
            return _meaning(subject) is True
        case "~false":
            return subject is MISSING or subject is None or _meaning(subject) is False
        case _:
            return MISSING


def _meaning(subject: object) -> bool | None:
    match subject:
        case bool():
            return subject
        case int() | float():
            return subject != 0
        case str() if subject.lower() in ("1", "t", "true"):
            return True
        case str() if subject.lower() in ("0", "f", "false"):
            return False
        case _:
            return None


def _number(text: str) -> float:
    try:
        return float(text) if "_" not in text else 0.0
    except ValueError:
        return 0.0  # as the original reads what is not a number
