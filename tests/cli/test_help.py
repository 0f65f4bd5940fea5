"""What `--help` promises: an example for every command, and the exit codes that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest

from mra import errors
from mra.cli.main import cli, invoke

ROOT = Path(__file__).parents[2]


def commands(group: click.Group, *path: str) -> list[tuple[str, ...]]:
    """The words that call each command below a group."""
    found: list[tuple[str, ...]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        found += [(*path, name), *(commands(command, *path, name) if isinstance(command, click.Group) else ())]
    return found


@pytest.mark.parametrize("words", [(), *commands(cli)], ids=" ".join)
def test_every_command_shows_an_example_of_itself(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    _, _, examples = re.sub(r"\s+", " ", shown).partition("Example")
    assert re.search(rf"\bmra {' '.join(words)}\b".strip(), examples), shown


def documented(text: str) -> set[int]:
    return {int(code) for code in re.findall(r"(?<![\w.])(\d{1,3})(?= +[a-z])", text)}


def test_the_exit_codes_of_the_documents_are_those_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    used = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    invoke(["--help"])
    assert documented(capsys.readouterr().out.partition("Exit codes:")[2]) == used
    readme = (ROOT / "README.md").read_text().partition("Exit codes: ")[2].partition(".\n")[0]
    assert documented(readme) == used


def test_no_command_ends_with_another_code() -> None:
    used = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    found = {code for file in (ROOT / "mra").rglob("*.py") for code in exits(ast.parse(file.read_text()))}
    assert found
    assert found <= used


def exits(tree: ast.AST) -> set[int]:
    """The numbers in calls such as `Exit(1)` and `sys.exit(2)`."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    arguments = [argument for call in calls if call.func.attr in ("Exit", "exit") for argument in call.args]
    return {argument.value for argument in arguments if isinstance(argument, ast.Constant)}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BadInput, 2), (errors.Refused, 1), (errors.Misconfigured, 1), (errors.Fenced, 1),
        (errors.Unavailable, 75), (errors.LinkLost, 75), (errors.OutboxFull, 75), (errors.Busy, 75),
    ],
)  # fmt: skip
def test_an_error_becomes_its_code_and_one_sentence(
    error: type[errors.MraError], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def failing() -> None:
        raise error("The pump is dry: fill it.")

    monkeypatch.setattr(type(cli), "get_command", lambda *_: failing)
    assert invoke(["failing"]) == code
    assert capsys.readouterr() == ("", "mra: The pump is dry: fill it.\n")
