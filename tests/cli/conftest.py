"""The `mra` command as a person runs it: a configuration, what goes in, what comes out, and the exit status."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mra.cli.main import invoke
from mra.outbox import sqlite
from tests.outbox.desk import SETTINGS, Desk

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
CONFIG = """
[agent]
name = "site1"
state = "state"
[saas]
urls = ["nats://127.0.0.1:1"]
[outbox]
min_free = 0
ballast = 0
[facts]
enabled = false
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    def complains(self, status: int) -> str:
        """The one sentence on standard error; nothing on standard output, and no traceback."""
        assert self.status == status, self
        assert self.out == ""
        lines = self.err.splitlines()
        assert lines, self
        assert "Traceback" not in self.err
        if status != 2 or not lines[0].startswith("Usage:"):
            assert len(lines) == 1, self
            assert lines[0].startswith("mra: ")
            assert lines[0].endswith("."), lines[0]
        return lines[-1]


@dataclass(frozen=True)
class Shell:
    """Runs `mra` with a configuration."""

    config: Path

    @property
    def database(self) -> Path:
        return self.config.parent / "state" / "outbox.db"

    def mra(self, *words: object, stdin: bytes = b"") -> Done:
        """Run a command in this process, from its arguments to its exit status."""
        out, err = Stream(), Stream()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
            status = invoke([str(word) for word in words])
        return Done(status, out.content(), err.content())

    def start(self, *words: object, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command in a process of its own."""
        command = [sys.executable, "-m", "mra.cli.main", *map(str, words)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, env=environment, **{"stderr": subprocess.PIPE, **options})


class Stream(io.TextIOWrapper):
    """A standard stream that is no terminal and remembers what was written, bytes and text."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def content(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A configured agent that was never started; its commands do not wait long for a lock."""
    config = tmp_path / "agent.toml"
    config.write_text(CONFIG)
    monkeypatch.setenv("MRA_CONFIG", str(config))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sqlite, "PATIENCE", 0.1)
    return Shell(config)


@pytest.fixture
def desk(shell: Shell) -> Iterator[Desk]:
    """The shell's outbox, open for writing as a daemon would have it; it must add up when the test ends."""
    with Desk.open(shell.database, SETTINGS) as desk:
        yield desk
        assert desk.problems() == []
