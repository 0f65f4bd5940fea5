"""YAML documents as machine manifests are written, with the place of every key. (pure)

The dialect is that of the YAML library Choria uses (section 1.5 of the reference): YAML 1.2, so `on`, `off`, `yes` and
`no` are strings and legal state names; a number with a leading zero is octal; a repeated key is an error. Scalars keep
the text they were written with, for values that are text whatever they look like, such as a version `1.10`.

The parser's events are read directly instead of its object graph, because that is where the limits can be held: size,
depth and number of nodes, counting what an alias repeats. Any bytes either load or are refused in one sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from mra.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_BYTES: Final = 256 * 1024  # a large manifest has 20 KiB; the parser reads about 1 MiB a second
DEEPEST: Final = 64
MOST_NODES: Final = 50_000

Value: TypeAlias = "bool | int | float | str | dict[str, Entry] | list[Node] | None"

_WORDS: Final[Mapping[str, bool | float | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INTEGERS: Final = (
    (re.compile(r"[-+]?0x[0-9a-fA-F]+", re.ASCII), 16),
    (re.compile(r"[-+]?0o[0-7]+", re.ASCII), 8),
    (re.compile(r"[-+]?0b[01]+", re.ASCII), 2),
    (re.compile(r"[-+]?0[0-7]+", re.ASCII), 8),
    (re.compile(r"[-+]?(?:0|[1-9][0-9]*)", re.ASCII), 10),
)
_FLOAT: Final = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = "<<"


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands; line and column count from 1, and 0 means that it came from no file."""

    value: Value
    line: int = 0
    column: int = 0
    text: str | None = None  # as written, for scalars

    def plain(self) -> Any:
        """The same without places: None, bool, int, float, str, dict and list."""
        match self.value:
            case dict():
                return {key: entry.node.plain() for key, entry in self.value.items()}
            case list():
                return [node.plain() for node in self.value]
            case scalar:
                return scalar


@dataclass(frozen=True, slots=True)
class Entry:
    """One pair of a mapping: the place of its key, and the value."""

    line: int
    column: int
    node: Node


def load(text: str | bytes) -> Node:
    """Read the first document of a text.

    Raises:
        BadInput: it is no YAML, uses what manifests have no use for, or exceeds a limit; the sentence names the line.
    """
    if len(text) > MOST_BYTES:
        raise BadInput(f"the file has more than the {MOST_BYTES // 1024} KiB that are allowed; make it smaller")
    try:
        return _Reader(YAML(typ="safe", pure=True).parse(text)).document()
    except MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise BadInput(f"{where}{_one_line(fault.problem or fault.context)}") from None
    except (YAMLError, ValueError) as fault:  # ValueError: characters that do not decode, among others
        raise BadInput(f"the file is not readable as YAML ({_one_line(fault)})") from None


def from_plain(value: Any) -> Node:
    """A document for values that come from a program: no places, the same rules from here on."""
    match value:
        case dict():
            return Node({str(key): Entry(0, 0, from_plain(item)) for key, item in value.items()})
        case list() | tuple():
            return Node([from_plain(item) for item in value])
        case _:
            return Node(value, text=value if isinstance(value, str) else None)


def resolve(text: str) -> bool | int | float | str | None:
    """What an unquoted scalar means."""
    if text in _WORDS:
        return _WORDS[text]
    digits = text.replace("_", "") if text[0] in "-+.0123456789" else text
    for pattern, base in _INTEGERS:
        if pattern.fullmatch(digits):
            return int(digits, base) if len(digits) <= 100 else text
    return float(digits) if _FLOAT.fullmatch(digits) else text


@dataclass
class _Reader:
    """Builds nodes from the parser's events."""

    events: Iterator[Any]
    nodes: int = 0
    anchors: dict[str, tuple[Node, int]] = field(default_factory=dict)  # with the nodes below, itself included

    def document(self) -> Node:
        for event in self.events:
            if isinstance(event, events.DocumentStartEvent):
                return self.node(next(self.events), 0)
        return Node({})

    def node(self, event: Any, depth: int) -> Node:
        line = event.start_mark.line + 1
        if depth > DEEPEST:
            raise BadInput(f"line {line}: values are nested more than {DEEPEST} levels deep; make it flatter")
        if isinstance(event, events.AliasEvent):
            return self.repeated(event.anchor, line)
        before = self.nodes
        self.count(1, line)
        value, text = self.value(event, depth)
        node = Node(value, line, event.start_mark.column + 1, text)
        if event.anchor is not None:
            self.anchors[event.anchor] = node, self.nodes - before
        return node

    def repeated(self, anchor: str, line: int) -> Node:
        if anchor not in self.anchors:  # a value that repeats itself is not named yet while it is read
            raise BadInput(f"line {line}: *{_one_line(anchor)} names no value before it; name one with &")
        node, size = self.anchors[anchor]
        self.count(size, line)
        return node

    def count(self, nodes: int, line: int) -> None:
        self.nodes += nodes
        if self.nodes > MOST_NODES:
            raise BadInput(f"line {line}: there are more than {MOST_NODES} values, aliases counted; make it smaller")

    def value(self, event: Any, depth: int) -> tuple[Value, str | None]:
        match event:
            case events.ScalarEvent():
                return _scalar(event), event.value
            case events.SequenceStartEvent():
                _expect_tag(event, "seq")
                return self.sequence(depth + 1), None
            case _:
                _expect_tag(event, "map")
                return self.mapping(depth + 1), None

    def sequence(self, depth: int) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := next(self.events), events.SequenceEndEvent):
            items.append(self.node(event, depth))
        return items

    def mapping(self, depth: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        while not isinstance(event := next(self.events), events.MappingEndEvent):
            key = self.node(event, depth)
            node = self.node(next(self.events), depth)
            if key.text is None:
                raise BadInput(f"line {key.line}: a key is a map or a list; use text as the key")
            if key.text == _MERGE and isinstance(event, events.ScalarEvent) and event.style is None:
                merged = {**_to_merge(node), **merged}
                continue
            if key.text in entries:
                raise BadInput(f"line {key.line}: {_shown(key.text)} stands twice in one map; remove one of them")
            entries[key.text] = Entry(key.line, key.column, node)
        return {**merged, **entries}


def _to_merge(node: Node) -> dict[str, Entry]:
    """What `<<` brings in: a map, or a list of maps of which the earlier win."""
    parts = node.value if isinstance(node.value, list) else [node]
    merged: dict[str, Entry] = {}
    for part in parts:
        if not isinstance(part.value, dict):
            raise BadInput(f"line {node.line}: << can only merge maps; give it one")
        merged = {**part.value, **merged}
    return merged


def _scalar(event: Any) -> Value:
    text: str = event.value
    match _tag(event):
        case None:
            return resolve(text) if event.style is None else text
        case "str" | "!":
            return text
        case "int" | "float" | "bool" | "null" as wanted:
            value = resolve(text)
            if wanted == "float" and type(value) is int:
                value = float(value)
            if type(value).__name__ != {"null": "NoneType"}.get(wanted, wanted):
                raise BadInput(f"line {event.start_mark.line + 1}: {_shown(text)} is no {wanted}; remove its tag")
            return value
        case other:
            raise _refused_tag(event, other)


def _tag(event: Any) -> str | None:
    return None if event.tag is None else str(event.tag).removeprefix(_TAG)


def _expect_tag(event: Any, expected: str) -> None:
    tag = _tag(event)
    if tag not in (None, "!", expected):
        raise _refused_tag(event, tag)


def _refused_tag(event: Any, tag: str | None) -> BadInput:
    return BadInput(f"line {event.start_mark.line + 1}: the tag {_shown(tag or '')} means nothing here; remove it")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split())[:200]
