"""Imports point down, and each foreign library is let in through one door."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent

# From the ground up: a module may import what stands on lines before its own, and its own package. The longest prefix
# decides where a module stands. A line is (name, whether its packages may see each other, packages).
LAYERS: tuple[tuple[str, bool, tuple[str, ...]], ...] = (
    (
        "foundations",
        True,
        (
            "mra",
            "mra.backoff",
            "mra.clock",
            "mra.credentials",
            "mra.durable",
            "mra.errors",
            "mra.groups",
            "mra.latest",
            "mra.lock",
            "mra.log",
            "mra.subjects",
            "mra.supervise",
            "mra.systemd",
            "mra.tokens",
            "mra.units",
        ),
    ),
    ("the one way to open SQLite", True, ("mra.outbox.sqlite",)),
    ("the asyncio pocket", True, ("mra.aio",)),
    ("outbox", True, ("mra.outbox", "mra.events")),
    ("uplink", True, ("mra.uplink",)),
    ("desired state", True, ("mra.config",)),
    ("governors", True, ("mra.governors",)),
    ("enrolment", True, ("mra.enrol",)),
    (
        "features",
        False,
        ("mra.facts", "mra.lifecycle", "mra.machines", "mra.provision", "mra.saas", "mra.site", "mra.submit"),
    ),
    ("the SaaS's services", True, ("mra.provisioner",)),
    ("sealed files", True, ("mra.sealed",)),
    (
        "where they meet",
        True,
        (
            "mra.app",
            "mra.control",
            "mra.enrolled",
            "mra.machinery",
            "mra.membership",
            "mra.options",
            "mra.producers",
            "mra.resetting",
            "mra.settings",
            "mra.status",
            "mra.verbs",
        ),
    ),
    ("command line", True, ("mra.agent", "mra.cli")),
)

# Who may import a library (or a part of one); everyone else asks them.
DOORS: dict[str, tuple[str, ...]] = {
    "aiosqlite": ("mra.aio",),
    "asyncio": ("mra.aio",),
    "nats": ("mra.aio",),
    "pysqlite3": ("mra.outbox.sqlite",),
    "rich": ("mra.cli",),
    "trio_asyncio": ("mra.aio",),
}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for file in sorted((ROOT / "mra").rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(tree: ast.Module, module: str, known: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Names of the modules that `tree` imports, wherever in the file and for whatever reason, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: write the whole name of what is imported"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield (name if name in known else node.module or ""), node.lineno


def inside(name: str, package: str) -> bool:
    return name == package or (package != "mra" and name.startswith(f"{package}."))


def place(module: str) -> tuple[int, str]:
    """The layer and the package in LAYERS where a module stands."""
    fitting = [
        (len(package), level, package)
        for level, (_, _, packages) in enumerate(LAYERS)
        for package in packages
        if inside(module, package)
    ]
    assert fitting, f"{module} stands in no layer: give it a place in LAYERS"
    _, level, package = max(fitting)
    return level, package


def may_import(importer: str, imported: str) -> bool:
    level, package = place(importer)
    imported_level, imported_package = place(imported)
    if level != imported_level:
        return imported_level < level
    _, see_each_other, _ = LAYERS[level]
    return see_each_other or package == imported_package


MODULES = modules()


# The package itself stands at the bottom, and offers embedders what stands at the top: it imports that when asked.
@pytest.mark.parametrize("module", [module for module in MODULES if module != "mra"])
def test_imports_point_down(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    wrong = [
        f"{module}:{line} imports {name}"
        for name, line in imports(tree, module, frozenset(MODULES))
        if inside(name, "mra") or name.startswith("mra.")
        if not may_import(module, name)
    ]
    assert not wrong


@pytest.mark.parametrize("module", MODULES)
def test_each_library_has_one_door(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    wrong = [
        f"{module}:{line} imports {name}, which only {' and '.join(doors)} may"
        for name, line in imports(tree, module, frozenset())
        for library, doors in DOORS.items()
        if inside(name, library) and not any(inside(module, door) for door in doors)
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("mra.uplink.drain", "mra.outbox.store", True),
        ("mra.outbox.store", "mra.uplink.drain", False),
        ("mra.aio.database", "mra.outbox.sqlite", True),
        ("mra.aio.database", "mra.outbox.store", False),
        ("mra.machines.host", "mra.machines.spec", True),
        ("mra.machines.host", "mra.facts.gather", False),
        ("mra.errors", "mra", True),
        ("mra.cli.main", "mra.app", True),
        ("mra.app", "mra.cli.main", False),
    ],
)
def test_the_rule_tells_up_from_down(importer: str, imported: str, allowed: bool) -> None:
    assert may_import(importer, imported) is allowed


def test_the_rule_sees_imports_wherever_they_hide() -> None:
    tree = ast.parse(
        "import nats.errors\ndef late():\n    from mra import app, __version__\n    from asyncio import sleep\n"
    )
    assert list(imports(tree, "mra.x", frozenset({"mra", "mra.app"}))) == [
        ("nats.errors", 1),
        ("mra.app", 3),
        ("mra", 3),
        ("asyncio", 4),
    ]
