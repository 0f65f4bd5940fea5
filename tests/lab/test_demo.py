"""The demonstration itself, small: it must end in perfect counts, and its counting must be able to fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab.demonstration import is_perfect, parse

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"accepted": 5, "delivered": 5, "lost": 0, "duplicated": 0, "reordered": 0, "superseded": 0}
LANES = ("submissions", "events", "nodes", "metrics")


@pytest.mark.lab
@pytest.mark.timeout(180)
def test_the_demonstration_ends_in_perfect_counts() -> None:
    command = [sys.executable, "-m", "lab.demonstration", "--json", "--events", "3000", "--outage", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] is True
    assert set(document["lanes"]) == set(LANES)
    assert sum(lane["accepted"] for lane in document["lanes"].values()) == 3000


@pytest.mark.parametrize("fault", ["lost", "duplicated", "reordered"])
def test_one_fault_in_one_lane_is_a_failure(fault: str) -> None:
    counts = {lane: dict(GOOD) for lane in LANES}
    assert is_perfect(counts)
    counts["metrics"][fault] = 1
    assert not is_perfect(counts)


def test_a_lane_that_took_no_part_is_a_failure() -> None:
    assert not is_perfect({lane: dict(GOOD) for lane in LANES[:3]})


@pytest.mark.parametrize("arguments", [["--events", "3"], ["--outage", "0"], ["--events", "many"], ["--nonsense"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
