"""Reads the fixed keys of a manifest, section by section, noting everything that is wrong. (pure)"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mra.errors import BadInput
from mra.machines.decode import as_integer, unknown
from mra.machines.durations import Duration, parse_interval

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mra.machines.document import Entry, Node
    from mra.machines.problems import Findings

_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]+", re.ASCII)
_INTERVAL: Final = re.compile(r"[0-9]+[hms]", re.ASCII)


@dataclass
class Section:
    """One map of the manifest, at the path `key`. Each reading method also marks its key as known."""

    node: Node
    key: str
    findings: Findings
    known: set[str] = field(default_factory=set)

    def entry(self, name: str) -> Entry | None:
        """What is written under a key; None when it is absent or null."""
        self.known.add(name)
        entry = self.node.value.get(name) if isinstance(self.node.value, dict) else None
        return entry if entry is not None and entry.node.value is not None else None

    def path(self, name: str) -> str:
        """The path of one of the keys."""
        return f"{self.key}.{name}" if self.key else name

    def error(self, name: str, reason: str) -> None:
        """Report one of the keys, or its absence, as an error."""
        self.findings.error(self.entry(name) or self.node, self.path(name), reason)

    def advise(self, name: str, reason: str) -> None:
        """Report one of the keys as questionable."""
        self.findings.advise(self.entry(name) or self.node, self.path(name), reason)

    def text(self, name: str, *, required: bool = False) -> str:
        """A text as it is written, whatever it looks like; empty when absent."""
        entry = self.entry(name)
        if entry is not None and entry.node.text is None and not isinstance(entry.node.value, str):
            self.error(name, "this is one text, not a list or map")
            return ""
        found = "" if entry is None else entry.node.text or ""
        if required and not found:
            self.error(name, "it is required; give it a value")
        return found

    def name(self, name: str, *, required: bool = False) -> str:
        """A text that names something; advice when it is no name to Choria's schema."""
        found = self.text(name, required=required)
        if found or self.entry(name):
            self._check_name(found, self.entry(name) or self.node, self.path(name))
        return found

    def names(self, name: str) -> tuple[str, ...]:
        """A list of names; empty when absent."""
        found: list[str] = []
        for index, item in enumerate(self._items(name)):
            path = f"{self.path(name)}[{index}]"
            if item.text is None:
                self.findings.error(item, path, "this is one text, not a list or map")
            else:
                self._check_name(item.text, item, path)
                found.append(item.text)
        return tuple(found)

    def integer(self, name: str) -> int:
        """A whole number; 0 when absent."""
        entry = self.entry(name)
        try:
            return as_integer(entry.node) if entry else 0
        except BadInput as refusal:
            self.error(name, refusal.sentence)
            return 0

    def interval(self, name: str) -> Duration:
        """A duration in the dialect of intervals; zero when absent."""
        written = self.text(name)
        try:
            found = parse_interval(written)
        except BadInput as refusal:
            self.error(name, refusal.sentence)
            return Duration(0)
        if written and not _INTERVAL.fullmatch(written):
            self.advise(name, "Choria's schema only knows one number and h, m or s; agents read this all the same")
        return found

    def sections(self, name: str, *, required: bool = False) -> Iterator[Section]:
        """The maps of a list; a single map counts as a list of one, with advice."""
        entry = self.entry(name)
        if entry is not None and isinstance(entry.node.value, dict):
            self.advise(name, "this is a list; put a dash before it, as Choria does not read it otherwise")
            yield Section(entry.node, f"{self.path(name)}[0]", self.findings)
            return
        items = self._items(name)
        if required and not items:
            self.error(name, "it is required; list at least one")
        for index, item in enumerate(items):
            path = f"{self.path(name)}[{index}]"
            if isinstance(item.value, dict):
                yield Section(item, path, self.findings)
            else:
                self.findings.error(item, path, "this is a map; write one `key: value` a line")

    def report_unknown(self) -> None:
        """Advise on keys that nothing has read; call it last."""
        for name, entry in self.node.value.items() if isinstance(self.node.value, dict) else ():
            if name not in self.known:
                self.findings.advise(entry, self.path(name), unknown(name, self.known))

    def _items(self, name: str) -> list[Node]:
        entry = self.entry(name)
        if entry is None:
            return []
        if isinstance(entry.node.value, list):
            return entry.node.value
        self.error(name, "this is a list; put each entry on a line of its own, after a dash")
        return []

    def _check_name(self, found: str, place: Node | Entry, path: str) -> None:
        if not _NAME.fullmatch(found):
            reason = "is no name to Choria's schema; use a letter, then letters, digits, _ and -"
            self.findings.advise(place, path, f"{found[:40]!r} {reason}")
