"""Shell completion, under whatever name the agent goes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mra.agent import Agent
from mra.options import Options

BRANDED = Path(__file__).parents[2] / "lab" / "agent" / "branded.py"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(("name", "variable"), [("mra", "_MRA_COMPLETE"), ("acme-agent", "_ACME_AGENT_COMPLETE")])
def test_the_script_completes_the_agents_own_name(
    capsys: pytest.CaptureFixture[str], shell: str, name: str, variable: str
) -> None:
    assert Agent(Options(name)).invoke(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"{variable}={shell}_complete" in script
    assert name in script.replace(variable, "")


def test_a_branded_agent_answers_the_script_with_its_own_commands_too() -> None:
    asked = {"_ACME_AGENT_COMPLETE": "bash_complete", "COMP_WORDS": "acme-agent h", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, str(BRANDED)], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["plain,hello"]
