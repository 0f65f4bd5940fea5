"""`mra reset`: forgets what the agent has made, nothing that it was given, and no row unasked."""

from __future__ import annotations

import json

import pytest

from mra.cli.main import invoke
from mra.enrol.keys import load_or_make_keys
from mra.lock import daemon_lock
from mra.settings import read_settings

CONFIG = '[agent]\nname = "n1"\n[outbox]\nmin_free = 0\nballast = 0\n'


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "agent.toml"
    file.write_text(CONFIG)
    (tmp_path / "provisioning.jwt").write_text("a token")
    settings = read_settings(file)
    load_or_make_keys(settings.enrol.directory)
    (settings.state / "facts.json").write_text("{}")
    (settings.state / "machines" / "pump").mkdir(parents=True)
    (settings.state / "site").mkdir()
    for name in ("bus.conf", "bus.pem", "ca.pem"):
        (settings.state / "site" / name).write_text("")
    (settings.state / "notes.txt").write_text("somebody else's")
    return file


def reset(config, *words) -> int:
    return invoke(["reset", "--config", str(config), *words])


def submit(config) -> None:
    body = config.with_name("body")
    body.write_text("hello")
    assert invoke(["submit", "--config", str(config), "app.orders", str(body)]) == 0


def left(config) -> set[str]:
    return {path.name for path in (config.parent / "state").iterdir()} - {"daemon.lock"}


def test_it_forgets_what_the_agent_made_and_keeps_what_it_was_given(config, capsys):
    assert reset(config, "--force") == 0
    assert left(config) == {"notes.txt", "site"}
    assert [file.name for file in (config.parent / "state" / "site").iterdir()] == ["ca.pem"]
    assert (config.parent / "provisioning.jwt").exists()
    assert "Nothing was lost." in capsys.readouterr().out


def test_it_can_be_repeated(config):
    assert reset(config, "--force") == 0
    assert reset(config, "--force") == 0


def test_it_asks_first(config, capsys, monkeypatch):
    monkeypatch.setattr("click.confirm", lambda *_, **__: (_ for _ in ()).throw(__import__("click").Abort()))
    assert reset(config) == 130
    assert "identity" in left(config)


def test_it_refuses_while_rows_wait_and_says_how_many_and_what_to_do(config, capsys):
    submit(config)
    submit(config)
    capsys.readouterr()
    assert reset(config, "--force") == 1
    said = capsys.readouterr().err
    assert "2 rows (2 submissions)" in said
    assert "mra outbox export" in said
    assert "identity" in left(config)
    assert "outbox.db" in left(config)


def test_rows_go_when_they_are_discarded_by_name(config, capsys):
    submit(config)
    capsys.readouterr()
    assert reset(config, "--force", "--discard", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["discarded"]["submissions"] == 1
    assert left(config) == {"notes.txt", "site"}


def test_it_refuses_while_the_daemon_runs(config, capsys):
    with daemon_lock(read_settings(config).lock):
        assert reset(config, "--force", "--discard") == 75
    said = capsys.readouterr().err
    assert "stop it" in said
    assert said.count("\n") == 1
    assert "identity" in left(config)


def test_an_outbox_that_cannot_be_counted_is_not_thrown_away_unasked(config, capsys):
    (config.parent / "state" / "outbox.db").write_text("no database" * 100)
    assert reset(config, "--force") != 0
    assert "outbox.db" in left(config)
    assert reset(config, "--force", "--discard") == 0
    assert left(config) == {"notes.txt", "site"}


def test_machines_outside_the_state_are_somebody_elses(config):
    config.write_text(CONFIG + '[machines]\ndirectory = "elsewhere"\n')
    (config.parent / "elsewhere" / "pump").mkdir(parents=True)
    assert reset(config, "--force") == 0
    assert (config.parent / "elsewhere" / "pump").exists()
