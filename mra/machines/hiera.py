"""Hierarchical data: one document for all nodes, resolved against the facts of this one. (pure)

A kv watcher with `hiera_config` reads such a document (section 3.9 of the reference):

    hierarchy:
      order: ["host:{{ lookup('facts.host.fqdn') }}", "role:{{ lookup('facts.role') }}"]
      merge: deep                     # or first, the default
    data: {level: 50, port: "${ lookup('facts.port', 80) }"}
    overrides: {"role:pump": {level: 80}}

Strings in the data, and in the overrides that apply, hold expressions between `{{ }}` or `${ }`. A string that is one
expression becomes its value; in any other, the values are printed. Braces and quotes inside an expression belong to it;
`${{` is a dollar before a `{{`; what is never closed stays text. Which override applies is a text made the same way: an
entry of which all expressions come out empty is passed over.

Invariants: the document and the facts are not changed. All expressions of one resolution share one budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mra.errors import BadInput
from mra.machines.expressions import Budget, compile_expression
from mra.machines.expressions.environments import HIERA_NAMES, hiera_environment
from mra.machines.golang import DEEPEST, NestingError, format_value

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_STEPS: Final = 500_000
MOST_MEMORY: Final = 4_000_000
MOST_SCANNING: Final = 10_000_000  # opening braces times characters: each may be read up to the end of its text
_DEFAULT_ORDER: Final = ("default",)
_QUOTES: Final = "\"'`"


def resolve(document: Mapping[str, object], facts: Mapping[str, object]) -> dict[str, object]:
    """The data for a node with these facts.

    Raises `BadInput` for a document that is no hierarchical data or an expression that cannot be read, and
    `EvaluationError` for an expression that has no value with these facts.
    """
    order, merge = _hierarchy(document)
    overrides = _section(document, "overrides")
    expander = _Expander(facts)
    resolved = expander.expand_map(_section(document, "data"))
    for entry in order:
        name = expander.entry_name(entry)
        override = overrides.get(name) if name is not None else None
        if not isinstance(override, Mapping) or (name == "data" and "data" in document):
            continue
        chosen = expander.expand_map(override)
        if merge == "first":
            return {**resolved, **chosen}
        if merge != "deep":
            raise BadInput(f"hierarchical data cannot be merged by {merge!r}; write first or deep")
        resolved = merge_deep(resolved, chosen)
    return resolved


def merge_deep(base: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """Maps merged key by key, lists appended, anything else replaced."""
    merged = dict(base)
    for key, value in over.items():
        existing = merged.get(key)
        if isinstance(existing, Mapping) and isinstance(value, Mapping):
            merged[key] = merge_deep(existing, value)
        elif isinstance(existing, list) and isinstance(value, list):
            merged[key] = [*existing, *value]
        else:
            merged[key] = value
    return merged


def _hierarchy(document: Mapping[str, object]) -> tuple[Sequence[str], str]:
    hierarchy = _section(document, "hierarchy")
    order = hierarchy.get("order", _DEFAULT_ORDER)
    if not isinstance(order, list | tuple) or not all(isinstance(entry, str) for entry in order):
        raise BadInput("hierarchical data needs a list of strings as its hierarchy.order")
    merge = hierarchy.get("merge", "first")
    if not isinstance(merge, str):
        raise BadInput("hierarchical data needs a string as its hierarchy.merge; write first or deep")
    return order, merge.lower() or "first"


def _section(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    section = document.get(name, {})
    if not isinstance(section, Mapping):
        raise BadInput(f"hierarchical data needs a map as its {name!r} section")
    return section


class _Expander:
    """Replaces expressions by their values, for one set of facts."""

    def __init__(self, facts: Mapping[str, object]) -> None:
        self._environment = hiera_environment(facts=facts)
        self._budget = Budget(MOST_STEPS, MOST_MEMORY)

    def expand_map(self, value: Mapping[str, object], depth: int = 0) -> dict[str, object]:
        return {key: self.expand(item, depth + 1) for key, item in value.items()}

    def expand(self, value: object, depth: int) -> object:
        if depth > DEEPEST:
            raise BadInput(f"hierarchical data is nested more than {DEEPEST} levels deep")
        match value:
            case str():
                return self.expand_text(value)
            case Mapping():
                return self.expand_map(value, depth)
            case list() | tuple():
                return [self.expand(item, depth + 1) for item in value]
            case float() if value.is_integer():
                return int(value)  # as Choria's resolver does to every whole number of the document
            case _:
                return value

    def expand_text(self, text: str) -> object:
        found = _placeholders(text)
        if len(found) == 1 and text.strip() == text[found[0].start : found[0].stop]:
            return self.value(found[0])
        return self.fill(text, found)[0]

    def entry_name(self, entry: str) -> str | None:
        """The name of an override; None when all expressions in it are empty, or it is empty itself."""
        found = _placeholders(entry)
        name, said_something = self.fill(entry, found)
        return name if said_something or (entry and not found) else None

    def fill(self, text: str, found: Sequence[Placeholder]) -> tuple[str, bool]:
        """The text with values printed in, and whether any of them was more than nothing."""
        printed, at, said_something = "", 0, False
        for placeholder in found:
            value = self.value(placeholder)
            said_something = said_something or value not in ("", None)
            printed += text[at : placeholder.start] + _print(value)
            at = placeholder.stop
        return printed + text[at:], said_something

    def value(self, placeholder: Placeholder) -> object:
        return compile_expression(placeholder.expression, HIERA_NAMES).evaluate(self._environment, self._budget)


def _print(value: object) -> str:
    try:
        return format_value(value)
    except NestingError as reason:
        raise BadInput(f"hierarchical data cannot print a looked-up value: {reason}") from None


def _placeholders(text: str) -> list[Placeholder]:
    if (text.count("{{") + text.count("${")) * len(text) > MOST_SCANNING:
        raise BadInput(f"a text of hierarchical data is too long for its many braces: {text[:40]!r}…")
    return list(find_placeholders(text))


@dataclass(frozen=True, slots=True)
class Placeholder:
    """An expression in a text, with the offsets of the text that it replaces."""

    expression: str
    start: int
    stop: int


def find_placeholders(text: str) -> Iterator[Placeholder]:
    """The `{{ … }}` and `${ … }` in a text, from left to right."""
    at = 0
    while at < len(text) - 1:
        opening = text[at : at + 2]
        if opening == "{{" or (opening == "${" and text[at + 2 : at + 3] != "{"):
            closing = "}}" if opening == "{{" else "}"
            stop = _find_closing(text, at + 2, closing)
            if stop is not None:
                yield Placeholder(text[at + 2 : stop].strip(), at, stop + len(closing))
                at = stop + len(closing)
                continue
            at += 1  # never closed: text, but another may begin right behind it
        at += 1


def _find_closing(text: str, at: int, closing: str) -> int | None:
    """Where the closing braces stand, outside strings, and for `${` outside inner braces."""
    depth, quote = 0, ""
    while at < len(text):
        character = text[at]
        if quote:
            if character == "\\" and quote != "`":
                at += 1
            elif character == quote:
                quote = ""
        elif character in _QUOTES:
            quote = character
        elif not depth and text.startswith(closing, at):
            return at
        elif closing == "}":
            depth += (character == "{") - (character == "}")
        at += 1
    return None
