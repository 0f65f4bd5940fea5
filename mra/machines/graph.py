"""The state machine of a manifest as a drawing: Mermaid for web pages, DOT for Graphviz. (pure)"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mra.machines.definition import Manifest


def mermaid(manifest: Manifest, state: str | None = None) -> str:
    """A Mermaid state diagram; `state` is drawn as the one the machine is in."""
    ids = _ids(manifest)
    lines = ["stateDiagram-v2"]
    lines += [f'    state "{_mermaid_text(name)}" as {ids[name]}' for name in ids]
    lines.append(f"    [*] --> {ids[manifest.initial_state]}")
    lines += [
        f"    {ids[source]} --> {ids[destination]}: {_mermaid_text(event)}"
        for source, destination, event in _edges(manifest)
    ]
    if state in ids:
        lines += ["    classDef current stroke-width:4px", f"    class {ids[state]} current"]
    return "\n".join(lines) + "\n"


def dot(manifest: Manifest, state: str | None = None) -> str:
    """A directed graph for Graphviz; `state` is drawn as the one the machine is in."""
    ids = _ids(manifest)
    lines = [
        f"digraph {_dot_text(manifest.name)} {{",
        "    rankdir=LR;",
        "    node [shape=box, style=rounded];",
        "    start [shape=point];",
    ]
    for name, id_ in ids.items():
        current = ", penwidth=4" if name == state else ""
        lines.append(f"    {id_} [label={_dot_text(name)}{current}];")
    lines.append(f"    start -> {ids[manifest.initial_state]};")
    lines += [
        f"    {ids[source]} -> {ids[destination]} [label={_dot_text(event)}];"
        for source, destination, event in _edges(manifest)
    ]
    return "\n".join([*lines, "}"]) + "\n"


def _ids(manifest: Manifest) -> dict[str, str]:
    """Harmless names for states, which may be called anything."""
    return {name: f"s{number}" for number, name in enumerate(manifest.states)}


def _edges(manifest: Manifest) -> Iterator[tuple[str, str, str]]:
    for transition in manifest.transitions:
        for source in transition.sources:
            yield source, transition.destination, transition.name


def _mermaid_text(text: str) -> str:
    """Text in which nothing is Mermaid's; it knows entities, written with a leading #."""
    return "".join(each if each.isalnum() or each in " _-." else f"#{ord(each)};" for each in text)


def _dot_text(text: str) -> str:
    escaped = "".join(each if each.isprintable() else " " for each in text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
