"""Shell completion, under whatever name the agent goes."""

from __future__ import annotations

import os
import shutil
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


ASK = {
    "bash": 'eval "$SCRIPT"; COMP_WORDS=(mra outb); COMP_CWORD=1; _mra_completion mra outb mra; echo "${COMPREPLY[@]}"',
    "zsh": 'autoload -U compinit && compinit -u; eval "$SCRIPT"; [[ -n ${_comps[mra]} ]] && echo outbox',
    "fish": 'eval "$SCRIPT"; complete --do-complete "mra outb"',
}


@pytest.mark.parametrize("shell", ASK)
def test_a_real_shell_takes_the_script_and_completes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, shell: str
) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} here")
    (tmp_path / "mra").write_text(f'#!/bin/sh\nexec {sys.executable} -m mra.cli.main "$@"\n')
    (tmp_path / "mra").chmod(0o755)
    assert Agent(Options("mra")).invoke(["completion", shell]) == 0
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "SCRIPT": capsys.readouterr().out,
        "PYTHONPATH": str(BRANDED.parents[2]),
    }  # fmt: skip
    done = subprocess.run([program, "-c", ASK[shell]], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split()[:1] == ["outbox"], done.stderr


def test_a_branded_agent_answers_the_script_with_its_own_commands_too() -> None:
    asked = {"_ACME_AGENT_COMPLETE": "bash_complete", "COMP_WORDS": "acme-agent h", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, str(BRANDED)], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["plain,hello"]
