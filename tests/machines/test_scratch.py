"""Files of single runs: gone with the run, and those of a killed agent with the next start of the same agent."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from mra.machines.scratch import Scratch


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_run_finds_its_files_and_nobody_else_does(temporary: Path) -> None:
    made = Scratch().make({"data.json": {"level": 7}, "facts.json": {}})
    assert made.parent == temporary
    assert json.loads((made / "data.json").read_text()) == {"level": 7}
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_what_a_killed_agent_left_goes_and_what_others_have_stays(temporary: Path) -> None:
    left = [Scratch(Path("/var/lib/mra")).make({"data.json": {}}) for _ in range(3)]
    others = Scratch(Path("/var/lib/branded")).make({"data.json": {}})
    link = temporary / f"{left[0].name}-link"
    link.symlink_to(others)
    Scratch(Path("/var/lib/mra")).clear()
    assert sorted(temporary.iterdir()) == sorted([others, link])
    assert (others / "data.json").exists()


def test_a_value_that_is_no_json_leaves_nothing_behind(temporary: Path) -> None:
    with pytest.raises(TypeError):
        Scratch().make({"data.json": {}, "facts.json": object()})
    assert os.listdir(temporary) == []
