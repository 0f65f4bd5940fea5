"""The templates in watcher properties (section 3.2 of the reference). (pure)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mra.errors import BadInput
from mra.machines import gjson
from mra.machines.golang import NestingError, numbers_as_floats, type_name
from mra.machines.templates.expansion import SHORT_CIRCUITS, expand_with
from mra.machines.templates.functions import BUILTINS, CHORIA, ArgumentError, Function
from mra.machines.templates.parser import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES: Final = frozenset({*BUILTINS, *CHORIA, "lookup"}) | SHORT_CIRCUITS


def expand(text: str, *, facts: Mapping[str, object], data: Mapping[str, object]) -> str:
    """The text with `lookup "facts.path" default` and its like replaced.

    Paths begin with `facts.` or `data.`. Numbers print as Go prints floats, null prints `<no value>`.
    Raises `TemplateError`.
    """
    document = {"facts": facts, "data": data}

    def lookup(path: object, default: object) -> object:
        found = find(document, path)
        try:
            return default if found is gjson.MISSING else numbers_as_floats(found)
        except NestingError as reason:
            raise ArgumentError(str(reason)) from None

    return expand_with(text, {**BUILTINS, **CHORIA, "lookup": Function(lookup, 2, 2, steps=100)})


def check(text: str) -> None:
    """Raise `TemplateError` when `expand` could never expand this text, whatever the facts and data."""
    if "{{" in text:
        parse(text, NAMES)


def find(document: object, path: object) -> object:
    """The value at a path that a template wrote, or `gjson.MISSING`. Raises `ArgumentError`."""
    if not isinstance(path, str):
        raise ArgumentError(f"a path is a string, this is {type_name(path)}")
    try:
        return gjson.get(document, path)
    except BadInput as refusal:
        raise ArgumentError(refusal.sentence) from None
