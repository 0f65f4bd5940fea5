"""Machines that are part of an agent instead of lying in its machines directory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mra.machines.document import from_plain
from mra.machines.manifest import Reading, read_manifest, read_node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mra.machines.manifest import WatcherKind


@dataclass(frozen=True)
class CompiledMachine:
    """A machine that the embedder brings along (section 1.8 of the reference).

    `manifest` is YAML text, or the same as a map. The machine's directory, `<store>/<name>`, holds its data only and
    hides a machine on disk of that path. `activate` may veto the machine, once, when the agent starts.
    """

    name: str
    manifest: str | Mapping[str, Any]
    activate: Callable[[], bool] = field(default=lambda: True, compare=False)

    @property
    def source(self) -> str:
        """What messages call it."""
        return f"compiled-in machine {self.name}"

    def read(self, kinds: Mapping[str, WatcherKind]) -> Reading:
        """Read the manifest."""
        if isinstance(self.manifest, str):
            return read_manifest(self.manifest, self.source, kinds)
        return read_node(from_plain(dict(self.manifest)), self.source, kinds)
