"""Settings of nodes that enrol: hardly any before, and the grant's afterwards."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from mra.enrol.enrolment import Enrolment, Standing, keep_enrolment
from mra.enrol.keys import load_or_make_keys
from mra.enrol.names import safe_name
from mra.enrol.shapes import Grant, SiteGrant
from mra.errors import BadInput, Misconfigured
from mra.settings import read_settings
from mra.settings.enrolled import usable_enrolment, with_enrolment
from mra.site.keys import make_site
from mra.site.settings import SiteSettings

NOW = int(time.time())


def grant(**changes) -> Grant:
    plain = {
        "customer": "acme", "account": "A" + "B" * 55, "identity": "n1.acme.example",
        "name": safe_name("n1.acme.example"), "role": "tools", "server_jwt": "s", "nats_jwt": "n.a.ts",
        "urls": ("nats://saas:4222",), "configuration": {}, "issued_at": NOW, "expires": NOW + 1000,
    }  # fmt: skip
    return Grant(**(plain | changes))


def enrolment(settings, **changes) -> Enrolment:
    keys = load_or_make_keys(settings.enrol.directory)
    made = Enrolment(grant(**changes), keys.identity.public, keys.user.public, ("nats://p:1",), "ab" * 32, "0" * 32)
    keep_enrolment(settings.enrol.directory, made)
    return made


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "n1.acme.example")
    (tmp_path / "provisioning.jwt").write_text("a token")
    return tmp_path / "agent.toml"


def test_a_token_is_all_that_an_agent_needs(config):
    settings = read_settings(config)
    assert settings.name == safe_name("n1.acme.example")
    assert settings.state == config.parent / "state"
    assert settings.enrol is not None
    assert settings.enrol.token == config.parent / "provisioning.jwt"
    assert settings.enrol.directory == settings.state / "identity"


def test_without_a_token_a_missing_file_is_a_mistake(config):
    (config.parent / "provisioning.jwt").unlink()
    with pytest.raises(BadInput, match=r"agent\.toml .*provisioning\.jwt"):
        read_settings(config)


def test_an_installed_agent_keeps_its_state_where_the_system_expects_it(config):
    from mra.settings.values import Values

    assert Values(Path("/etc/acme-agent/agent.toml")).default_state() == "/var/lib/acme-agent"
    assert Values(Path("/srv/acme/agent.toml")).default_state() == "state"


def test_a_host_whose_name_is_no_name_is_told_to_give_one(config, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "two words")
    with pytest.raises(BadInput, match=r"agent\.name"):
        read_settings(config)


def test_a_file_that_names_the_saas_does_not_enrol(config):
    config.write_text('[saas]\nurls = ["nats://127.0.0.1:1"]\n')
    assert read_settings(config).enrol is None


@pytest.mark.parametrize("line", ['user = "acme"\npassword_file = "p"', 'customer = "acme"', 'credentials_file = "c"'])
def test_a_file_that_names_half_of_the_saas_is_a_mistake(config, line):
    config.write_text(f"[saas]\n{line}\n")
    with pytest.raises(BadInput, match=r"saas\.urls"):
        read_settings(config)


def test_a_grant_says_who_and_where(config):
    settings = read_settings(config)
    made = with_enrolment(settings, enrolment(settings))
    name = safe_name("n1.acme.example")
    assert (made.name, made.role, made.customer) == (name, "tools", "A" + "B" * 55)
    assert (made.access.urls, made.access.name, made.access.tls) == (("nats://saas:4222",), name, None)
    assert made.submit.identity == made.facts.identity == name
    assert made.facts.node.extended_claims == {"customer": "acme", "role": "tools"}
    assert made.enrol.identity == "n1.acme.example"
    assert made.access.user_jwt() == b"n.a.ts"
    assert len(made.access.sign(b"nonce")) == 64


def test_credentials_are_read_for_every_connection(config):
    settings = read_settings(config)
    made = with_enrolment(settings, enrolment(settings))
    enrolment(settings, nats_jwt="re.new.ed")
    assert made.access.user_jwt() == b"re.new.ed"
    (settings.enrol.directory / "enrolment.json").unlink()
    (settings.enrol.directory / "nats.nkey").unlink()
    for read in (made.access.user_jwt, lambda: made.access.sign(b"nonce")):
        with pytest.raises(Misconfigured, match="gone"):
            read()


def test_the_saas_configures_what_the_file_leaves_open(config):
    config.write_text('[machines]\nsigning_key = "' + "a" * 64 + '"\n')
    settings = read_settings(config)
    told = {"machines.signing_key": "b" * 64, "facts.refresh": "2m", "saas.durability": "lazy", "site.plan": "gold"}
    made = with_enrolment(settings, enrolment(settings, configuration=told))
    assert made.machines.signing_key == "a" * 64
    assert made.facts.refresh_every == 120
    assert made.durability == "lazy"


@pytest.mark.parametrize("told", [{"facts.refresh": "soon"}, {"machines.signing_key": "x"}, {"saas.durability": ""}])
def test_a_mistake_of_the_saas_does_not_stop_the_node(config, told):
    settings = read_settings(config)
    made = with_enrolment(settings, enrolment(settings, configuration=told))
    assert made.facts.refresh_every == 600
    assert made.durability == "synced"


def test_the_saas_configures_nothing_that_is_the_sites_alone(config):
    settings = read_settings(config)
    told = {"agent.state": "/elsewhere", "outbox.max_bytes": "1MiB", "machines.deny": "x", "submit.mode": "0777"}
    made = with_enrolment(settings, enrolment(settings, configuration=told))
    assert (made.state, made.outbox, made.submit.mode) == (settings.state, settings.outbox, settings.submit.mode)


def test_a_name_in_the_file_that_is_not_the_enrolled_one_is_a_mistake(config):
    config.write_text('[agent]\nname = "n2"\n')
    settings = read_settings(config)
    with pytest.raises(BadInput, match="enrolled as"):
        with_enrolment(settings, enrolment(settings))


def test_an_enrolment_is_usable_also_when_it_has_expired_but_not_for_other_keys(config):
    settings = read_settings(config)
    assert usable_enrolment(settings, NOW) == (None, Standing.MISSING)
    made = enrolment(settings)
    assert usable_enrolment(settings, NOW) == (made, Standing.VALID)
    assert usable_enrolment(settings, NOW + 2000) == (made, Standing.EXPIRED)
    (settings.enrol.directory / "nats.nkey").unlink()
    assert usable_enrolment(settings, NOW) == (None, Standing.MISMATCHED)


def test_settings_that_differ_in_nothing_but_their_file_are_the_same(config, tmp_path):
    config.write_text("")
    other = tmp_path / "other.toml"
    other.write_text("")
    assert replace(read_settings(config)) == read_settings(other)


ON_SITE = SiteGrant("berlin", "authority", "operator", ("account",), "us.er.jwt")
PLACE = {"site.name": "berlin", "site.role": "leader", "site.term": "3", "site.listen": "127.0.0.1:9222",
         "site.urls": "tls://127.0.0.1:9222, tls://10.0.0.2:9222"}  # fmt: skip


def test_the_saas_says_where_a_node_stands_in_its_site(config):
    settings = read_settings(config)
    site = with_enrolment(settings, enrolment(settings, configuration=PLACE, site=ON_SITE)).site
    assert site == SiteSettings(
        "leader", 3, ("127.0.0.1", 9222), ("tls://127.0.0.1:9222", "tls://10.0.0.2:9222"),
        settings.state / "site", "berlin", settings.enrol.directory,
    )  # fmt: skip


def test_a_node_says_itself_where_its_bus_listens_and_which_keys_it_has_if_it_likes(config):
    config.write_text('[site]\nlisten = "0.0.0.0:9333"\nkeys = "keys"\n')
    settings = read_settings(config)
    make_site(config.parent / "keys", ["127.0.0.1"])
    site = with_enrolment(settings, enrolment(settings, configuration=PLACE, site=ON_SITE)).site
    assert (site.listen, site.role, site.directory) == (("0.0.0.0", 9333), "leader", config.parent / "keys")
    assert site.identity is None


def test_a_place_without_credentials_for_it_is_none(config):
    settings = read_settings(config)
    assert with_enrolment(settings, enrolment(settings, configuration=PLACE)).site is None


@pytest.mark.parametrize("told", [{"site.term": "many"}, {"site.name": "a b"}, {"site.urls": "nats://h:1"}])
def test_a_place_that_cannot_be_leaves_the_node_alone(config, told):
    settings = read_settings(config)
    assert with_enrolment(settings, enrolment(settings, configuration=PLACE | told, site=ON_SITE)).site is None
