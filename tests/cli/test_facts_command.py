"""`mra facts`, as a person or a program calls it."""

from __future__ import annotations

import json

import pytest

from mra.cli.main import invoke


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "agent.toml"
    file.write_text('[agent]\nname = "site1"\nstate = "state"\n[saas]\nurls = ["nats://127.0.0.1:1"]\n')
    return file


def test_without_a_daemon_the_host_is_asked(config, capsys):
    assert invoke(["facts", "--json", "--config", str(config)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine_room"]["identity"] == "site1"
    assert found["host"]["info"]["hostname"]


def test_people_read_one_fact_a_line(config, capsys):
    assert invoke(["facts", "--config", str(config)]) == 0
    lines = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["machine_room.identity"].strip() == "site1"


def test_groups_that_are_left_out_stay_out(config, capsys):
    config.write_text(config.read_text() + '[facts]\nskip = ["host"]\n')
    assert invoke(["facts", "--json", "--config", str(config)]) == 0
    assert json.loads(capsys.readouterr().out)["host"] == {"info": {}}


def test_facts_that_are_switched_off_are_refused_with_a_remedy(config, capsys):
    config.write_text(config.read_text() + "[facts]\nenabled = false\n")
    assert invoke(["facts", "--config", str(config)]) == 1
    assert "enabled = true" in capsys.readouterr().err
