"""The demonstration itself, small: it must end in perfect counts, and its counting must be able to fail."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.demonstration import parse
from lab.over_the_air import Delivery, forged
from lab.stage import LAB, Lab
from lab.tally import is_perfect
from mra.machines import spec

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"accepted": 5, "delivered": 5, "lost": 0, "duplicated": 0, "reordered": 0, "superseded": 0}
LANES = ("submissions", "events", "nodes", "metrics")


@pytest.mark.lab
@pytest.mark.timeout(240)
def test_the_demonstration_ends_in_perfect_counts() -> None:
    command = [sys.executable, "-m", "lab.demonstration", "--json", "--events", "3000", "--outage", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] is True
    assert document["plugin"] == {"deployed": "1.0.0", "upgraded": "2.0.0", "tampered": "refused", "removed": True}
    assert set(document["lanes"]) == set(LANES)
    assert sum(lane["accepted"] for lane in document["lanes"].values()) == 3000


def test_whatever_is_kept_running_is_known_again_by_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--stop` ends only processes whose command names the lab, so that a recycled process id harms no one."""
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(Lab, "start", lambda lab, name, *command: commands.append(command))
    lab = Lab()
    for start in (lab.start_saas, lab.start_provisioner, lab.start_artifacts, lab.start_agent):
        start()
    assert len(commands) == 4
    assert all(any(str(LAB) in word for word in command) for command in commands)


@pytest.mark.parametrize("fault", ["lost", "duplicated", "reordered"])
def test_one_fault_in_one_lane_is_a_failure(fault: str) -> None:
    counts = {lane: dict(GOOD) for lane in LANES}
    assert is_perfect(counts)
    counts["metrics"][fault] = 1
    assert not is_perfect(counts)


def test_a_lane_that_took_no_part_is_a_failure() -> None:
    assert not is_perfect({lane: dict(GOOD) for lane in LANES[:3]})


@pytest.mark.parametrize("fault", [{"deployed": None}, {"upgraded": "1.0.0"}, {"tampered": None}, {"removed": False}])
def test_an_order_that_went_wrong_is_a_failure(fault: dict[str, Any]) -> None:
    good = Delivery("1.0.0", "2.0.0", "refused", True)
    assert good.is_perfect
    assert not replace(good, **fault).is_perfect
    assert not Delivery().is_perfect


def test_the_forged_list_is_well_formed_and_carries_a_signature_of_another() -> None:
    plugin = spec.Plugin("greeter", "https://127.0.0.1/greeter.tgz", "a" * 64, "b" * 64)
    genuine = spec.sign([plugin], bytes(range(32)), 1)
    key = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
    assert spec.read(genuine, key).plugins == (plugin,)
    assert [each.name for each in spec.read(forged(genuine)).plugins] == ["greeter"]
    with pytest.raises(spec.Untrusted):
        spec.read(forged(genuine), key)


@pytest.mark.parametrize("arguments", [["--events", "3"], ["--outage", "0"], ["--events", "many"], ["--nonsense"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
