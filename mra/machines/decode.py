"""Properties of a watcher, from what people wrote to what its code reads. (pure)

A watcher declares its properties as a class whose fields say how a value is read:

    class ExecProperties(Properties):
        command: str = text(required=True)
        timeout: Duration = duration("1s")

Reading is as lenient as Choria's (section 1.6 of the reference): keys match in any case, `"true"` is a boolean, 1 is a
text, a single value is a list of one, and null is as good as absent. Keys that no field takes, which Choria drops
without a word, are found too, as advice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar, cast, dataclass_transform

from mra.errors import BadInput
from mra.machines.document import Entry, Node
from mra.machines.durations import Duration, parse_go

if TYPE_CHECKING:
    from mra.machines.problems import Findings

Decoder = Callable[[Node], Any]

_TRUE = frozenset({"1", "t", "T", "true", "True", "TRUE"})
_FALSE = frozenset({"", "0", "f", "F", "false", "False", "FALSE"})


def text(default: str = "", *, required: bool = False) -> str:
    """A text; a required one may not be empty."""
    return cast("str", _field(as_text, default, required=required))


def flag(*, default: bool = False) -> bool:
    """A boolean."""
    return cast("bool", _field(as_flag, default))


def integer(default: int = 0) -> int:
    """A whole number."""
    return cast("int", _field(as_integer, default))


def duration(default: str | None = None) -> Duration:
    """A duration in Go's notation, or a bare number of nanoseconds; zero when there is no default."""
    return cast("Duration", _field(as_duration, parse_go(default) if default else Duration(0)))


def texts(*, required: bool = False) -> tuple[str, ...]:
    """A list of texts; a required one may not be empty."""
    return cast("tuple[str, ...]", _field(as_texts, (), required=required))


def text_map() -> Mapping[str, str]:
    """Texts by name."""
    return cast("Mapping[str, str]", _field(as_text_map, {}))


def mapping() -> Mapping[str, Any]:
    """Any map, as it is written."""
    return cast("Mapping[str, Any]", _field(as_mapping, {}))


@dataclass_transform(
    frozen_default=True,
    kw_only_default=True,
    field_specifiers=(text, flag, integer, duration, texts, text_map, mapping),
)
class Properties:
    """Base of all declarations: a subclass becomes a frozen dataclass."""

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)

    def faults(self) -> Iterable[tuple[str, str]]:
        """Key and reason for whatever is wrong although each value alone is right; overridden where needed."""
        return ()


P = TypeVar("P", bound=Properties)


def decode(kind: type[P], node: Node, key: str, findings: Findings) -> P | None:
    """Read the properties of one watcher; None when one of them is wrong, and `findings` says which.

    `node` is the map of properties, and `key` its path in the manifest.
    """
    before = findings.errors
    if not isinstance(node.value, dict):
        findings.error(node, key, "this is a map of properties; indent them below it")
        return None
    fields = {each.name: each for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    taken = _assign(node.value, fields)
    values = {}
    for name, each in fields.items():
        entry = taken.get(name)
        value = _read(each.metadata["decode"], entry, f"{key}.{name}", findings) if entry else None
        if value is not None:
            values[name] = value
        if each.metadata["required"] and not value and findings.errors == before:
            findings.error(entry or node, f"{key}.{name}", "it is required; give it a value")
    _report_unknown(node.value, fields, taken, key, findings)
    if findings.errors > before:
        return None
    properties = kind(**values)
    for name, reason in properties.faults():
        findings.error(taken.get(name, node), f"{key}.{name}", reason)
    return properties if findings.errors == before else None


def _field(decoder: Decoder, default: object, *, required: bool = False) -> object:
    metadata = {"decode": decoder, "required": required}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


def _assign(written: Mapping[str, Entry], fields: Iterable[str]) -> dict[str, Entry]:
    """Which entry each field takes: the one of its exact name, else the first that differs in case only."""
    folded: dict[str, str] = {}
    for name in written:
        folded.setdefault(name.casefold(), name)
    taken = {}
    for name in fields:
        source = name if name in written else folded.get(name.casefold())
        if source is not None:
            taken[name] = written[source]
    return taken


def _read(decoder: Decoder, entry: Entry, key: str, findings: Findings) -> Any:
    if entry.node.value is None:
        return None
    try:
        value = decoder(entry.node)
    except BadInput as refusal:
        findings.error(entry, key, refusal.sentence)
        return None
    if decoder is as_duration and type(entry.node.value) is int and value:
        findings.advise(entry, key, "a number without a unit counts nanoseconds; write a unit, like 30s")
    return value


def _report_unknown(
    written: Mapping[str, Entry], fields: Iterable[str], taken: Mapping[str, Entry], key: str, findings: Findings
) -> None:
    used = {id(entry) for entry in taken.values()}
    for name, entry in written.items():
        if id(entry) not in used:
            findings.advise(entry, f"{key}.{name}", unknown(name, fields))


def unknown(name: str, known: Iterable[str]) -> str:
    """Why a key is reported, with the one that may have been meant."""
    close = get_close_matches(name.casefold(), list(known), 1, 0.75) if len(name) < 100 else []
    return f"nothing reads this; did you mean {close[0]}" if close else "nothing reads this; remove it"


def as_text(node: Node) -> str:
    """A text; booleans become 1 and 0, numbers their decimal digits."""
    match node.value:
        case str(value):
            return value
        case bool(value):
            return "1" if value else "0"
        case int(value):
            return str(value)
        case float(value):
            return format(Decimal(repr(value)), "f").removesuffix(".0") if value - value == 0 else _non_finite(value)
        case _:
            raise BadInput("this is one text, not a list or map; write it in quotes")


def as_flag(node: Node) -> bool:
    """A boolean; numbers are true unless zero, and texts as Go's ParseBool has them."""
    match node.value:
        case bool(value):
            return value
        case int(value) | float(value):
            return value != 0
        case str(value) if value in _TRUE or value in _FALSE:
            return value in _TRUE
        case _:
            raise BadInput("this is a boolean; write true or false")


def as_integer(node: Node) -> int:
    """A whole number; fractions are cut off, and texts read as in Go's source."""
    value: object = node.value
    if isinstance(value, str):
        value = _integer_in(value) if value else 0
    match value:
        case bool() | int():
            number = int(value)
        case float() if value - value == 0:
            number = int(value)
        case _:
            raise BadInput("this is a whole number; write it in digits")
    if not -(2**63) <= number < 2**63:
        raise BadInput("this number does not fit into 64 bits; write a smaller one")
    return number


def as_duration(node: Node) -> Duration:
    """A duration in Go's notation; a bare number counts nanoseconds."""
    match node.value:
        case str(value):
            return parse_go(value)
        case bool():
            raise BadInput("this is a duration; write it like 90s, 1h30m or 250ms")
        case _:
            return Duration(as_integer(node))


def as_texts(node: Node) -> tuple[str, ...]:
    """Texts; a single one is a list of one."""
    if isinstance(node.value, list):
        return tuple(as_text(item) for item in node.value)
    return (as_text(node),) if node.value != {} else ()


def as_text_map(node: Node) -> Mapping[str, str]:
    """Texts by name."""
    return {name: as_text(entry.node) for name, entry in _entries(node).items()}


def as_mapping(node: Node) -> Mapping[str, Any]:
    """A map as it is."""
    return {name: entry.node.plain() for name, entry in _entries(node).items()}


def _entries(node: Node) -> Mapping[str, Entry]:
    if isinstance(node.value, dict):
        return node.value
    if isinstance(node.value, list) and not node.value:
        return {}
    raise BadInput("this is a map; write one `name: value` a line")


def _integer_in(value: str) -> int | None:
    digits = value.lstrip("+-")
    octal = digits[:1] == "0" and digits[1:].isdigit()
    try:
        return int(value, 8 if octal else 0) if len(value) <= 100 else None
    except ValueError:
        return None


def _non_finite(value: float) -> str:
    return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"
