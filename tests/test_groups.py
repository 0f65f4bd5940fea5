"""What leaves a nursery as a group arrives as the error that somebody can act on, on every Python that is supported."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import trio

from mra.errors import BadInput, LinkLost
from mra.groups import first, ungrouped

ROOT = Path(__file__).parents[1]


def test_a_single_error_comes_out_of_any_depth() -> None:
    group = ExceptionGroup("a", [ExceptionGroup("b", [LinkLost("gone")])])
    with pytest.raises(LinkLost, match="gone"), ungrouped():
        raise group


def test_what_is_no_group_passes() -> None:
    with pytest.raises(BadInput), ungrouped():
        raise BadInput("wrong")


def test_a_bug_is_not_hidden_behind_an_error_of_ours() -> None:
    with pytest.raises(ZeroDivisionError), ungrouped():
        raise ExceptionGroup("both", [LinkLost("gone"), ZeroDivisionError()])


def test_an_interruption_counts_most() -> None:
    with pytest.raises(KeyboardInterrupt), ungrouped():
        raise BaseExceptionGroup("all", [ZeroDivisionError(), BaseExceptionGroup("b", [KeyboardInterrupt()])])


def test_of_several_errors_of_ours_the_first_is_told() -> None:
    with pytest.raises(LinkLost, match="one") as told, ungrouped():
        raise ExceptionGroup("several", [LinkLost("one"), BadInput("two")])
    assert isinstance(told.value.__cause__, ExceptionGroup)


async def test_an_error_of_a_task_is_told_to_who_opened_the_nursery() -> None:
    async def fail() -> None:
        raise LinkLost("gone")

    with pytest.raises(LinkLost), ungrouped():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)


def test_first_of_an_error_is_itself() -> None:
    error = LinkLost("gone")
    assert first(error) is error


def test_nothing_is_raised_inside_except_star() -> None:
    """Python 3.11.2, Debian 12's, wraps it in a group again; only a bare `raise` is the same everywhere."""
    found = []
    for folder in ("mra", "lab", "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.TryStar):
                    raised = [
                        each for handler in node.handlers for each in ast.walk(handler) if isinstance(each, ast.Raise)
                    ]
                    found += [f"{file.relative_to(ROOT)}:{each.lineno}" for each in raised if each.exc is not None]
    assert found == []
