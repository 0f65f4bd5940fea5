"""The text of a path, read into steps. (pure)"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NoReturn

from mra.errors import BadInput
from mra.machines.gjson.glob import Pattern, compile_pattern
from mra.machines.gjson.modifiers import MODIFIERS, UNSUPPORTED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONGEST_PATH: Final = 1024
DEEPEST_QUERY: Final = 4  # with the next line this bounds the recursion of a search far below Python's limit
MOST_STEPS: Final = 32
OPERATORS: Final = ("!=", "!%", "<=", ">=", "==", "=", "<", ">", "%")


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a mapping; on a list the same text is a position, if it is a number."""

    pattern: Pattern
    position: int | None


@dataclass(frozen=True, slots=True)
class Each:
    """`#`: how many entries a list has or, when more steps follow, those steps for each entry."""


@dataclass(frozen=True, slots=True)
class Query:
    """`#(path operator value)`: the first entry that matches, or with `every` all of them."""

    path: Path | None
    operator: str
    value: str
    every: bool
    pattern: Pattern = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", compile_pattern(self.value))


@dataclass(frozen=True, slots=True)
class Modifier:
    """`@name:argument`: rewrites the value found so far."""

    name: str
    argument: Mapping[str, object]

    @property
    def apply(self) -> Callable[[object, Mapping[str, object]], object]:
        return MODIFIERS[self.name]


Step = Key | Each | Query | Modifier


@dataclass(frozen=True, slots=True)
class Path:
    """Steps to walk, and after a pipe the path that sees the finished result."""

    text: str
    steps: tuple[Step, ...]
    then: Path | None = None


@lru_cache(maxsize=1024)
def compile_path(text: str) -> Path:
    """Read a path. Raises `BadInput`, naming the position, for what is outside the subset."""
    if len(text) > LONGEST_PATH:
        raise BadInput(f"a gjson path has {len(text)} characters, at most {LONGEST_PATH} are read; shorten it")
    return _Reader(text, depth=0).read()


class _Reader:
    """One pass over the text of a path."""

    def __init__(self, text: str, depth: int) -> None:
        self.text = text
        self.at = 0
        self.depth = depth

    def refuse(self, what: str) -> NoReturn:
        raise BadInput(f"gjson path {self.text!r}, position {self.at + 1}: {what}")

    def read(self) -> Path:
        if self.depth > DEEPEST_QUERY:
            self.refuse(f"queries are nested more than {DEEPEST_QUERY} deep")
        if self.text.startswith(".."):
            self.refuse("JSON lines ('..') are not supported")
        pipeline: list[list[Step]] = [[]]
        while True:
            pipeline[-1].append(self.read_step(first=not pipeline[-1]))
            if sum(map(len, pipeline)) > MOST_STEPS:
                self.refuse(f"a path has at most {MOST_STEPS} steps")
            if self.at >= len(self.text):
                break
            if self.text[self.at] == "|":
                pipeline.append([])
            self.at += 1
        path = None
        for steps in reversed(pipeline):
            path = Path(self.text, tuple(steps), path)
        assert path is not None
        return path

    def read_step(self, *, first: bool) -> Step:
        """Read up to the next separator and stop on it."""
        rest = self.text[self.at :]
        if rest.startswith(("{", "[")):
            self.refuse("multipaths ('{…}' and '[…]') are not supported")
        if first and rest.startswith("!") and len(rest) > 1:
            self.refuse("literals ('!…') are not supported")
        if rest.startswith(("#(", "#[")):
            return self.read_query()
        if rest.startswith("@") and (modifier := self.read_modifier()):
            return modifier
        return self.read_key()

    def read_key(self) -> Step:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in ".|":
            self.at += 2 if self.text[self.at] == "\\" else 1
        self.at = min(self.at, len(self.text))
        word = self.text[start : self.at]
        if word == "#":
            return Each()
        number = int(word) if word.isascii() and word.isdigit() and len(word) < 19 else None
        return Key(compile_pattern(word), number)

    def read_modifier(self) -> Modifier | None:
        """A modifier, or nothing when no modifier has that name: then the word is a key."""
        name = self.text[self.at + 1 :]
        for separator in ".|:":
            name = name.partition(separator)[0]
        if name in UNSUPPORTED:
            self.refuse(f"the modifier '@{name}' is not supported")
        if name not in MODIFIERS:
            return None
        self.at += 1 + len(name)
        argument: Mapping[str, object] = {}
        if self.text[self.at : self.at + 1] == ":":
            self.at += 1
            argument = self.read_argument()
        return Modifier(name, argument)

    def read_argument(self) -> Mapping[str, object]:
        """A JSON object; any other argument runs to the next pipe and says nothing to these modifiers."""
        if self.text[self.at : self.at + 1] == "{":
            try:
                argument, end = json.JSONDecoder().raw_decode(self.text, self.at)
            except (ValueError, RecursionError):
                self.refuse("the modifier's argument is not JSON")
            self.at = end
            if self.text[end : end + 1] not in ("", ".", "|"):
                self.refuse("a '.', a '|' or the end must follow the modifier's argument")
            return argument if isinstance(argument, dict) else {}
        pipe = self.text.find("|", self.at)
        self.at = len(self.text) if pipe < 0 else pipe
        return {}

    def read_query(self) -> Query:
        start = self.at + 2
        operator_at = self.find_query_end(start)
        left = self.text[start : self.at if operator_at is None else operator_at]
        right = self.text[start + len(left) : self.at]
        self.at += 1
        every = self.text[self.at : self.at + 1] == "#"
        self.at += every
        if self.text[self.at : self.at + 1] not in ("", ".", "|"):
            self.refuse("a '.', a '|' or the end must follow a query")
        operator = next((sign for sign in OPERATORS if right.startswith(sign)), "")
        left, value = left.strip(), right[len(operator) :].strip()
        path = _Reader(left, self.depth + 1).read() if left else None
        return Query(path, "=" if operator == "==" else operator, _unquoted(value), every)

    def find_query_end(self, start: int) -> int | None:
        """Move to the bracket that closes the query; return where its comparison begins."""
        depth, operator_at, self.at = 1, None, start
        while True:
            if self.at >= len(self.text):
                self.at = start - 2
                self.refuse("the query is not closed")
            character = self.text[self.at]
            if character == "\\":
                self.at += 1
            elif character == '"':
                self.skip_quoted()
            elif character in "([":
                depth += 1
            elif character in ")]":
                depth -= 1
                if not depth:
                    return operator_at
            elif depth == 1 and operator_at is None and character in "!=<>%":
                operator_at = self.at
            self.at += 1

    def skip_quoted(self) -> None:
        self.at += 1
        while self.at < len(self.text) and self.text[self.at] != '"':
            self.at += 2 if self.text[self.at] == "\\" else 1


def _unquoted(value: str) -> str:
    if len(value) < 2 or not (value.startswith('"') and value.endswith('"')):
        return value
    if "\\" not in value:
        return value[1:-1]
    try:
        text = json.loads(value, strict=False)
    except ValueError:
        return value[1:-1]  # escapes that only the wildcard match knows, as in "a\*b"
    return text if isinstance(text, str) else value[1:-1]
