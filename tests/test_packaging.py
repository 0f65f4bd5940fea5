"""What is shipped holds what it needs, and what is pinned is what is asked for."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {"lab/requirements.txt": ("lab",), "lab/requirements-dev.txt": ("lab", "dev")}


def tracked() -> list[Path]:
    """Every file of the checkout under version control."""
    if not shutil.which("git"):
        pytest.skip("git is not installed, so nothing tells which files belong to the checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so nothing tells which files belong to it")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def pins(lock: str) -> dict[str, tuple[Requirement, int]]:
    """The packages that a lock file pins: name -> (requirement, number of hashes)."""
    found: dict[str, tuple[Requirement, int]] = {}
    for entry in re.split(r"(?<!\\)\n", re.sub(r"(?m)^\s*#.*\n", "", (ROOT / lock).read_text())):
        if entry.strip():
            text, *hashes = re.split(r"\s*\\\n\s*--hash=sha256:", entry.strip())
            requirement = Requirement(text)
            found[canonicalize_name(requirement.name)] = requirement, len(hashes)
    return found


def foreign_modules(file: Path) -> set[str]:
    """The top-level modules that a file imports from neither Python nor this checkout."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {"mra", "tests", "lab"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built as a release would be, with what is installed here."""
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (file,) = out.glob("mra-*.whl")
    return zipfile.ZipFile(file)


def test_the_wheel_carries_every_sql_file(wheel: zipfile.ZipFile) -> None:
    inside = {name.removeprefix("mra/sql/") for name in wheel.namelist() if name.startswith("mra/sql/")}
    here = {str(file.relative_to(ROOT / "sqlite")) for file in (ROOT / "sqlite").rglob("*.sql")}
    assert here
    assert here <= inside


def test_the_wheel_carries_every_module_and_says_that_it_is_typed(wheel: zipfile.ZipFile) -> None:
    inside = set(wheel.namelist())
    here = {str(file.relative_to(ROOT)) for file in (ROOT / "mra").rglob("*.py")}
    assert here <= inside
    assert "mra/py.typed" in inside


def test_the_wheel_carries_the_licence_and_nothing_of_the_workshop(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names} == {"mra", f"mra-{PROJECT['project']['version']}.dist-info"}


def test_the_version_is_told_once() -> None:
    text = (ROOT / "mra" / "__init__.py").read_text()
    assert f'__version__ = "{PROJECT["project"]["version"]}"' in text


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_pins_what_the_project_asks_for(lock: str) -> None:
    project = PROJECT["project"]
    asked = [
        *project["dependencies"],
        *(line for extra in LOCKS[lock] for line in project["optional-dependencies"][extra]),
    ]
    pinned = pins(lock)
    for text in asked:
        wanted = Requirement(text)
        pin, _ = pinned[canonicalize_name(wanted.name)]
        (version,) = (specifier.version for specifier in pin.specifier if specifier.operator == "==")
        assert wanted.specifier.contains(version), f"{lock} pins {pin}, pyproject.toml asks for {wanted}: run lab/lock"


@pytest.mark.parametrize(("folder", "extras"), [("mra", ()), ("lab", ("lab", "dev")), ("tests", ("lab", "dev"))])
def test_every_import_is_a_declared_dependency(folder: str, extras: tuple[str, ...]) -> None:
    project = PROJECT["project"]
    declared = [
        *project["dependencies"],
        *(line for extra in extras for line in project["optional-dependencies"][extra]),
    ]
    names = {canonicalize_name(Requirement(line).name) for line in declared}
    providers = packages_distributions()
    undeclared = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in (ROOT / folder).rglob("*.py")
        for module in foreign_modules(file)
        if names.isdisjoint(map(canonicalize_name, providers.get(module, [])))
    ]
    assert not undeclared


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_is_exact_and_has_its_hashes(lock: str) -> None:
    for requirement, hashes in pins(lock).values():
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement
        assert hashes, requirement


def test_both_locks_agree() -> None:
    runtime, everything = pins("lab/requirements.txt"), pins("lab/requirements-dev.txt")
    assert {name: str(pin.specifier) for name, (pin, _) in runtime.items()} == {
        name: str(everything[name][0].specifier) for name in runtime
    }


# Split, so that this file does not hold what it looks for.
MACHINE_PATHS = re.compile("(?<![\\w./-])/(?:" + "|".join(("work", "root", "tmp/x", "opt/" + "wheels")) + ")(?![\\w-])")
REGISTRIES = re.compile("(?:py" + "pi|pythonhosted|npm" + "js)\\." + "(?:org|io|com)", re.IGNORECASE)


def test_no_file_knows_the_machine_it_was_written_on_or_a_registry() -> None:
    found = []
    for file in tracked():
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if MACHINE_PATHS.search(line) or REGISTRIES.search(line):
                found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found


@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        ("cd /" + "work/main", True),
        ("see /" + "root", True),
        ("framework/" + "work", False),
        ("/" + "workshop", False),
        ("https://py" + "pi.org/simple", True),
        ("https://docs.nats.io", False),
    ],
)
def test_the_search_knows_a_machine_path_from_a_word(line: str, is_found: bool) -> None:
    assert bool(MACHINE_PATHS.search(line) or REGISTRIES.search(line)) is is_found


@pytest.mark.parametrize("script", ["lab/setup", "lab/lock", "lab/apt-install", "tests/run", ".ci/run"])
def test_scripts_can_be_started(script: str) -> None:
    file = ROOT / script
    assert file.stat().st_mode & 0o111 == 0o111
    assert subprocess.run(["bash", "-n", str(file)], check=False).returncode == 0
