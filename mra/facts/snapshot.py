"""One picture of the node: merging, stable bytes, the digest of what matters, and the difference. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mra.facts.cleaning import Json

_MOVING_MEMORY = (
    "available", "used", "usedPercent", "free", "active", "inactive", "buffers", "cached", "shared", "slab", "wired",
)  # fmt: skip
VOLATILE: Final[tuple[str, ...]] = (
    "host.info.uptime",
    "host.info.bootTime",  # follows every correction of the clock; a reboot restarts the agent, which reports anyway
    "host.info.procs",
    "host.load",
    "cpu.info.*.mhz",
    *(f"memory.virtual.{name}" for name in _MOVING_MEMORY),
    *(f"memory.swap.info.{name}" for name in ("used", "usedPercent", "free", "sin", "sout")),
    *(f"memory.swap.devices.*.{name}" for name in ("usedBytes", "freeBytes")),
    *(f"partition.usage.*.{name}" for name in ("used", "usedPercent", "free")),
    *(f"partition.usage.*.{name}" for name in ("inodesTotal", "inodesUsed", "inodesUsedPercent", "inodesFree")),
    "machine_room.timestamp",
    "machine_room.timestamp_seconds",
    "machine_room.problems.*",  # that there is one counts, not how it is worded today
)
"""Paths of facts that move all the time; `*` stands for one name or position."""

MOST_CHANGES: Final = 50
_EMPTY: Final[Mapping[str, Any]] = {
    "host": {"info": {}},
    "network": {"addresses": [], "interfaces": [], "default_ipv4": "", "default_ipv6": ""},
    "partition": {"partitions": [], "usage": []},
    "cpu": {"info": []},
    "memory": {"virtual": {}, "swap": {"info": {}, "devices": []}},
}

_OPTIONAL: Final = ("additional_facts", "options", "provisioning", "problems")  # of machine_room


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Facts as they were at one moment. `encoded` is stable: equal facts have equal bytes."""

    facts: Mapping[str, Any]
    encoded: bytes
    digest: str

    @property
    def problems(self) -> Mapping[str, str]:
        """What is missing from the facts, and why."""
        found = self.facts.get("machine_room", {}).get("problems", {})
        return found if isinstance(found, dict) else {}


def compose(
    groups: Mapping[str, Json], machine_room: Mapping[str, Json], *, volatile: Iterable[str] = (), max_bytes: int
) -> Snapshot:
    """One snapshot of the groups over their empty skeleton, with the `machine_room` block.

    Larger than `max_bytes`, it loses its largest part, again until it fits, and `problems` names what went.
    """
    facts = merge(merge(_EMPTY, groups), {"machine_room": machine_room})
    encoded = encode(facts)
    while len(encoded) > max_bytes and (name := _largest(facts)):
        facts = _without(facts, name, f"left out: the report had {len(encoded)} bytes, and {max_bytes} are allowed")
        before, encoded = encoded, encode(facts)
        if len(encoded) >= len(before):
            break  # nothing but names and reasons is left
    return Snapshot(facts, encoded, digest(facts, (*VOLATILE, *volatile)))


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with everything of `over`, objects merged, anything else replaced; neither is changed."""
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def encode(facts: object) -> bytes:
    """Compact JSON with sorted names: equal facts give equal bytes."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(facts: object, volatile: Iterable[str] = VOLATILE) -> str:
    """Hex SHA-256 over the facts in which what is volatile reads null, so that it counts whether it is there."""
    return hashlib.sha256(encode(_still(facts, _tree(volatile)))).hexdigest()


def diff(
    before: Mapping[str, Any], after: Mapping[str, Any], volatile: Iterable[str] = VOLATILE, most: int = MOST_CHANGES
) -> list[str]:
    """Dotted paths of what came, went or changed, in order, at most `most` of them; volatile facts do not count."""
    tree = _tree(volatile)
    found: list[str] = []
    for path in _differences(_still(before, tree), _still(after, tree), ()):
        if len(found) == most:
            break
        found.append(".".join(path))
    return found


def _differences(before: Any, after: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            if name not in before or name not in after:
                yield (*path, name)
            else:
                yield from _differences(before[name], after[name], (*path, name))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differences(old, new, (*path, str(index)))
    elif before != after or type(before) is not type(after):
        yield path


def _tree(patterns: Iterable[str]) -> dict[str, Any]:
    """Patterns as nested dictionaries; an empty one says that everything from here on is volatile."""
    tree: dict[str, Any] = {}
    for pattern in patterns:
        node = tree
        for word in pattern.split("."):
            node = node.setdefault(word, {})
    return tree


def _still(value: Any, tree: Mapping[str, Any] | None) -> Any:
    if tree is None:
        return value
    if not tree:
        return None
    if isinstance(value, dict):
        return {name: _still(item, tree.get(name, tree.get("*"))) for name, item in value.items()}
    if isinstance(value, list):
        return [_still(item, tree.get(str(index), tree.get("*"))) for index, item in enumerate(value)]
    return value


def _largest(facts: Mapping[str, Any]) -> str | None:
    """The part that takes most bytes, of those that can be left out."""
    parts = {name: facts[name] for name in _EMPTY if facts[name] != _EMPTY[name]}
    room = facts["machine_room"]
    parts |= {f"machine_room.{name}": room[name] for name in _OPTIONAL if room.get(name)}
    return max(parts, key=lambda name: len(encode(parts[name])), default=None)


def _without(facts: Mapping[str, Any], name: str, why: str) -> dict[str, Any]:
    """Facts without one part; the reason replaces those that would be the largest part themselves."""
    room = dict(facts["machine_room"])
    problems = {} if name == "machine_room.problems" else dict(room.get("problems", {}))
    left = {**facts}
    if name in _EMPTY:
        left[name] = _EMPTY[name]
    else:
        room.pop(name.removeprefix("machine_room."))
    return {**left, "machine_room": {**room, "problems": {**problems, name: why}}}
