"""Packing machines for the artifact server, up to the list that is signed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from mra.cli.main import invoke
from mra.machines import spec

GREETER = Path(__file__).parents[2] / "lab" / "plugins" / "greeter"


@pytest.fixture
def machine(tmp_path):
    directory = tmp_path / "pump"
    directory.mkdir()
    (directory / "machine.yaml").write_text(
        (GREETER / "machine.yaml").read_text().replace("name: greeter", "name: pump")
    )
    return directory


@pytest.fixture
def served(tmp_path):
    directory = tmp_path / "served"
    directory.mkdir()
    return directory


@pytest.fixture
def pack(served, capsys):
    """Run the command; gives its exit code, output and complaint."""

    def run(*directories):
        words = ["saas", "plugins", "pack", *map(str, directories)]
        code = invoke([*words, "--into", str(served), "--base-url", "https://plugins.example/"])
        return code, *capsys.readouterr()

    return run


def test_machines_become_archives_and_a_list_that_can_be_signed(pack, machine, served):
    code, out, _ = pack(GREETER, machine)
    assert code == 0
    entries = spec.entries(spec.parse(spec.sign([spec.Plugin(**each) for each in json.loads(out)], bytes(32))).plugins)
    assert [each.name for each in entries] == ["greeter", "pump"]
    for each in entries:
        file = served / each.source.removeprefix("https://plugins.example/")
        assert file.name == f"{each.name}-1.0.0.tgz"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == each.checksum
        assert file.stat().st_mode & 0o777 == 0o644


def test_packing_the_same_again_changes_nothing_and_another_content_needs_another_version(pack, machine, served):
    first = pack(machine)
    assert pack(machine) == first
    (machine / "script.sh").write_text("#!/bin/sh\n")
    before = (served / "pump-1.0.0.tgz").read_bytes()
    code, out, complaint = pack(machine)
    assert (code, out, "new version" in complaint) == (1, "", True)
    assert (served / "pump-1.0.0.tgz").read_bytes() == before


def test_a_machine_that_cannot_run_is_not_packed(pack, machine, served):
    (machine / "machine.yaml").write_text((machine / "machine.yaml").read_text().replace("exec", "nonsense"))
    code, _, complaint = pack(machine)
    assert (code, "nonsense" in complaint, complaint.count("\n")) == (2, True, 1)
    assert list(served.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_named(machine, tmp_path, capsys):
    words = ["saas", "plugins", "pack", str(machine), "--into", str(tmp_path / "nowhere"), "--base-url", "https://x"]
    assert invoke(words) == 2
    assert "nowhere" in capsys.readouterr().err
