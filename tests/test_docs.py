"""What the documents say is true: commands exist, files are there, every verb is documented."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import click
import pytest

from mra.cli.main import cli
from mra.machines.manifest import read_manifest
from mra.machines.watchers.registry import registry

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group with the words that call it."""
    found: list[tuple[tuple[str, ...], click.Command]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


EVERY = commands(cli)


@pytest.mark.parametrize(("words", "command"), EVERY, ids=[" ".join(words) for words, _ in EVERY])
def test_every_command_says_what_it_does(words: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    assert command.get_short_help_str().strip().endswith((".", "...")) or len(command.get_short_help_str()) > 10
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{' '.join(words)} {parameter.opts} has no help"


@pytest.mark.parametrize("line", re.findall(r"^mra ([a-z][^\n]*?)(?:   |$)", README, re.MULTILINE))
def test_every_command_of_the_readme_exists(line: str) -> None:
    known = {words for words, _ in EVERY}
    words = tuple(re.findall(r"^[a-z |]+", line)[0].replace("|", " ").split())
    assert any(words[: len(one)] == one for one in known), line


def test_every_top_level_command_stands_in_the_readme() -> None:
    for name in cli.list_commands(click.Context(cli)):
        assert re.search(rf"^mra {name}\b", README, re.MULTILINE), name


DOCUMENTS = ("README.md", "CHANGELOG.md", "lab/README.md", "lab/bench/README.md", "sqlite/README.md")


@pytest.mark.parametrize("file", DOCUMENTS)
def test_every_link_leads_somewhere(file: str) -> None:
    document = ROOT / file
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), f"{file} links to {target}"


def test_the_results_of_the_demo_and_the_tests_stand_in_the_readme() -> None:
    demo = README.partition("<!-- demo -->")[2].partition("<!-- end of demo -->")[0]
    assert re.search(r"^submissions +[\d,]+ +[\d,]+ +0 +0 +0 +0$", demo, re.MULTILINE)
    tests = README.partition("<!-- tests -->")[2].partition("<!-- end of tests -->")[0]
    assert re.search(r"\d+ passed", tests)


@pytest.mark.parametrize("text", re.findall(r"^ *```yaml\n(.*?)```", CHANGELOG, re.MULTILINE | re.DOTALL))
def test_every_machine_of_the_changelog_can_run(text: str) -> None:
    assert read_manifest(dedent(text), "CHANGELOG.md", registry()).problems == ()


def test_the_benchmark_table_is_filled() -> None:
    text = (ROOT / "lab/bench/README.md").read_text()
    table = text.partition("<!-- results -->")[2].partition("<!-- end of results -->")[0]
    assert table.count("\n|") >= 15
