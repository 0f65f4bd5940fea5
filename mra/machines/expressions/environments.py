"""What expressions can see, in each of the three places that have them (section 3.3 of the reference).

Note `identity`: a string for the expression watcher, a function of a pattern for plugin matches.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mra.errors import BadInput
from mra.machines import gjson
from mra.machines.expressions.budget import Fault
from mra.machines.expressions.evaluator import Function
from mra.machines.expressions.patterns import PatternError, is_match
from mra.machines.expressions.values import text
from mra.machines.golang import NestingError, numbers_as_floats

Environment = Mapping[str, object]

WATCHER_NAMES: Final = frozenset({"data", "facts", "get_fact", "identity"})
MATCH_NAMES: Final = frozenset({"get_fact", "has_command", "has_directory", "has_file", "identity"})
HIERA_NAMES: Final = frozenset({"lookup"})

_SAMPLE_FIELDS: Final = ("labels", "metrics", "time")


def watcher_environment(*, data: Mapping[str, object], facts: Mapping[str, object], identity: str) -> Environment:
    """For an expression watcher: `data`, `facts`, `get_fact(path)` and `identity`, the node's name.

    In Choria `facts` are raw bytes, so the documented `facts.x` fails there; here it works. A stored metric sample can
    be read under both spellings that Choria gives it, `data.metric.<watcher>.metrics` and `.Metrics`.
    """
    return {
        "data": {**data, "metric": _both_spellings(data["metric"])} if "metric" in data else data,
        "facts": facts,
        "get_fact": _get_fact(facts),
        "identity": identity,
    }


def match_environment(*, identity: str, facts: Mapping[str, object]) -> Environment:
    """For a plugin's `match`: `identity(regex)`, `get_fact(path)`, `has_file(p)`, `has_directory(p)`, `has_command(c)`.

    `has_file` is true for anything that exists, directories included; `has_command` searches the agent's PATH. Each
    looks at the file system when it is called and takes as long as that takes.
    """

    def matches_identity(pattern: object) -> bool:
        try:
            return is_match(text(pattern), identity)
        except PatternError:
            return False  # as in Choria: a match that is wrong selects no node

    return {
        "identity": Function(matches_identity, 1, 1),
        "get_fact": _get_fact(facts),
        "has_file": Function(lambda path: _exists(Path(text(path))), 1, 1),
        "has_directory": Function(lambda path: _is_directory(Path(text(path))), 1, 1),
        "has_command": Function(_has_command, 1, 1),
    }


def hiera_environment(*, facts: Mapping[str, object]) -> Environment:
    """For hierarchical data: `lookup(path[, default])`, where paths begin with `facts.`; missing is an empty string.

    Whole numbers arrive as integers.
    """
    document = {"facts": facts, "data": None, "environ": None}

    def lookup(path: object, default: object = None) -> object:
        found = _find(document, text(path))
        if found is gjson.MISSING:
            return "" if default is None else default
        if isinstance(found, float) and found.is_integer():
            return int(found)
        return found

    return {"lookup": Function(lookup, 1, 2)}


def _get_fact(facts: Mapping[str, object]) -> Function:
    """Nil when absent; numbers are floats, as everything that Go reads from JSON."""

    def get_fact(path: object) -> object:
        found = _find(facts, text(path))
        try:
            return None if found is gjson.MISSING else numbers_as_floats(found)
        except NestingError as reason:
            raise Fault(str(reason)) from None

    return Function(get_fact, 1, 1)


def _find(document: object, path: str) -> object:
    try:
        return gjson.get(document, path)
    except BadInput as refusal:
        raise Fault(refusal.sentence) from None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _has_command(name: object) -> bool:
    try:
        return shutil.which(text(name)) is not None
    except (OSError, ValueError):
        return False


def _both_spellings(metric: object) -> object:
    if not isinstance(metric, Mapping):
        return metric
    return {name: _with_go_names(sample) if isinstance(sample, Mapping) else sample for name, sample in metric.items()}


def _with_go_names(sample: Mapping[str, object]) -> Mapping[str, object]:
    go_names = {name.capitalize(): sample[name] for name in _SAMPLE_FIELDS if name in sample}
    return {**go_names, **sample}
