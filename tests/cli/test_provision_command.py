"""`mra provision ...`: how the enrolment stands, without a daemon and without a secret."""

from __future__ import annotations

import json
import time

import pytest

from mra.cli.main import invoke
from mra.enrol.enrolment import Enrolment, keep_enrolment
from mra.enrol.keys import load_or_make_keys
from mra.enrol.shapes import Grant
from mra.lock import daemon_lock
from mra.settings import read_settings
from mra.tokens import choria
from mra.tokens.ed25519 import SigningKey

DAY = 86400


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "agent.toml"
    file.write_text('[agent]\nname = "n1"\n')
    return file


def put_token(config, validity=DAY, now=None) -> str:
    text = choria.mint(
        choria.Provisioning(urls=("nats://saas:4222",), extensions={"customer": "acme", "role": "tools"}),
        SigningKey.generate(),
        now=time.time() if now is None else now,
        validity=validity,
        random=bytes(16),
    )
    (config.parent / "provisioning.jwt").write_text(text)
    return text


def enrol(config, issued=0, left=90 * DAY) -> Enrolment:
    directory = read_settings(config).enrol.directory
    keys = load_or_make_keys(directory)
    now = int(time.time())
    grant = Grant(
        "acme", "ACCOUNT", "n1", "n1", "tools", "server.token.secret", "nats.token.secret", ("nats://saas:4222",),
        {"site.plan": "gold"}, now - issued, now + left,
    )  # fmt: skip
    enrolment = Enrolment(grant, keys.identity.public, keys.user.public, ("nats://p",), "ab" * 32, "0" * 32)
    keep_enrolment(directory, enrolment)
    return enrolment


def status(config, capsys, *words) -> str:
    assert invoke(["provision", "status", "--config", str(config), *words]) == 0
    return capsys.readouterr().out


def test_a_node_that_was_given_a_token_shows_what_the_token_is_for(config, capsys):
    text = put_token(config)
    shown = json.loads(status(config, capsys, "--json"))
    assert (shown["standing"], shown["token"]["customer"], shown["token"]["role"]) == ("missing", "acme", "tools")
    assert shown["token"]["problem"] is None
    assert shown["daemon"] is None
    assert text not in json.dumps(shown)
    assert "not enrolled" in status(config, capsys)


def test_a_token_that_is_no_good_is_told(config, capsys):
    assert json.loads(status(config, capsys, "--json"))["token"]["problem"] == "there is none"
    put_token(config, now=time.time() - 9 * DAY)
    assert json.loads(status(config, capsys, "--json"))["token"]["problem"] == "it has expired"
    (config.parent / "provisioning.jwt").write_text("garbage")
    assert "no signed token" in json.loads(status(config, capsys, "--json"))["token"]["problem"]


@pytest.mark.parametrize(
    ("issued", "left", "standing", "words"),
    [(0, 90 * DAY, "valid", "enrolled"), (80 * DAY, 10 * DAY, "due", "to be renewed"), (DAY, -5, "expired", "expired")],
)
def test_an_enrolment_shows_how_it_stands(config, capsys, issued, left, standing, words):
    enrolment = enrol(config, issued, left)
    shown = json.loads(status(config, capsys, "--json"))
    assert (shown["standing"], shown["enrolment"]["customer"]) == (standing, "acme")
    assert shown["enrolment"]["configuration"] == {"site.plan": "gold"}
    text = status(config, capsys) + json.dumps(shown)
    assert words in text
    for secret in (enrolment.grant.nats_jwt, enrolment.grant.server_jwt):
        assert secret not in text


def test_an_enrolment_for_keys_that_are_gone_is_told(config, capsys):
    enrol(config)
    (read_settings(config).enrol.directory / "server.seed").unlink()
    assert json.loads(status(config, capsys, "--json"))["standing"] == "mismatched"


def test_a_node_that_is_configured_by_hand_does_not_enrol(config, capsys):
    config.write_text('[agent]\nname = "n1"\n[saas]\nurls = ["nats://127.0.0.1:1"]\n')
    assert invoke(["provision", "status", "--config", str(config)]) == 2
    assert "does not enrol" in capsys.readouterr().err


def test_a_key_is_changed_while_the_daemon_is_down_only(config, capsys):
    directory = read_settings(config).enrol.directory
    before = load_or_make_keys(directory)
    with daemon_lock(read_settings(config).lock):
        assert invoke(["provision", "rekey", "--config", str(config)]) == 75
    assert load_or_make_keys(directory).identity.public == before.identity.public
    capsys.readouterr()
    assert invoke(["provision", "rekey", "--config", str(config), "--json"]) == 0
    after = load_or_make_keys(directory)
    assert json.loads(capsys.readouterr().out) == {"public_key": after.identity.public}
    assert after.previous is not None
    assert after.previous.public == before.identity.public
