"""Where the output goes may be full, closed or gone: the exit code says it, and what was accepted stays accepted."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from mra.outbox import sqlite
from mra.outbox.record import Lane

if TYPE_CHECKING:
    from tests.cli.conftest import Shell
    from tests.outbox.desk import Desk

COMMANDS = (
    ["status"],
    ["outbox", "ls"],
    ["outbox", "ls", "--json"],
    ["outbox", "export", "--all"],
    ["outbox", "export", "--lane", "metrics"],
    ["outbox", "--help"],
)


@pytest.fixture(autouse=True, params=["", "1"], ids=["buffered", "unbuffered"])
def buffering(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without Python's own buffer, an error comes at another place."""
    monkeypatch.setenv("PYTHONUNBUFFERED", request.param)


@pytest.fixture(autouse=True)
def filled(desk: Desk) -> None:
    desk.accept(Lane.METRICS, b"few enough to stay in a buffer until the end")
    desk.accept(Lane.EVENTS, *(b"x" * 1000 for _ in range(300)))


def stored(shell: Shell) -> list[bytes]:
    with closing(sqlite.connect_readonly(shell.database)) as connection:
        return [body for (body,) in connection.execute("SELECT body FROM row_submissions ORDER BY seq")]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_reader_that_goes_away_ends_a_command_quietly(shell: Shell, words: list[str]) -> None:
    out, into = os.pipe()
    os.close(out)
    with shell.start(*words, stdout=into) as command:
        os.close(into)
        _, err = command.communicate(timeout=60)
    assert command.returncode == 141
    assert err in (b"", b"1 rows exported.\n")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_full_disk_under_the_output_is_one_sentence(shell: Shell, words: list[str]) -> None:
    with open("/dev/full", "wb") as full, shell.start(*words, stdout=full) as command:
        _, err = command.communicate(timeout=60)
    assert command.returncode == 1
    assert err.decode().splitlines()[-1].startswith("mra: Standard output takes no more (No space left on device)")
    assert b"Traceback" not in err


def test_output_that_was_closed_from_the_start_is_not_missed(shell: Shell) -> None:
    with shell.start("submit", "a.b", stdin=subprocess.PIPE, preexec_fn=lambda: os.close(1)) as command:
        _, err = command.communicate(b"one", timeout=60)
    assert (command.returncode, err) == (0, b"")
    assert stored(shell) == [b"one"]


def test_nobody_to_complain_to_leaves_the_exit_code(shell: Shell) -> None:
    with open("/dev/full", "wb") as full, shell.start("submit", "a b", stderr=full) as command:
        command.communicate(timeout=60)
    assert command.returncode == 2


def test_a_reader_of_ids_that_goes_away_costs_no_record(shell: Shell) -> None:
    out, into = os.pipe()
    os.close(out)
    with shell.start("submit", "a.b", stdin=subprocess.PIPE, stdout=into) as command:
        os.close(into)
        _, err = command.communicate(b"one", timeout=60)
    assert (command.returncode, err) == (141, b"")
    assert stored(shell) == [b"one"]


def test_ids_that_cannot_be_printed_are_no_success(shell: Shell) -> None:
    with open("/dev/full", "wb") as full, shell.start("submit", "a.b", stdin=subprocess.PIPE, stdout=full) as command:
        _, err = command.communicate(b"one", timeout=60)
    assert command.returncode == 1
    assert b"Traceback" not in err
    assert stored(shell) == [b"one"]
