"""`mra site`: keys that fit together, and words that say what is wrong."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from cryptography import x509

from mra.cli.main import cli, invoke
from mra.site import keys
from mra.tokens.nkey import KeyPair, Kind

if TYPE_CHECKING:
    from pathlib import Path


def run(*words: object) -> str:
    done = CliRunner().invoke(cli, ["site", *map(str, words)])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_site_is_made_once_and_its_keys_stay(tmp_path: Path) -> None:
    directory = tmp_path / "site"
    made = json.loads(run("init", directory, "--host", "n1.example", "--host", "10.0.0.1", "--json"))["made"]
    assert set(made) == {keys.CA, keys.CA_KEY, keys.SERVER, keys.LEADER}
    before = {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}
    assert json.loads(run("init", directory, "--json"))["made"] == []
    assert before == {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}
    for name in (keys.CA_KEY, keys.SERVER, keys.LEADER):
        assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600
    server = x509.load_pem_x509_certificate(before[keys.SERVER])
    server.verify_directly_issued_by(x509.load_pem_x509_certificate(before[keys.CA]))
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["n1.example", "localhost"]


def test_a_follower_gets_its_seed_and_the_leader_its_public_key_only(tmp_path: Path) -> None:
    run("init", tmp_path / "site")
    run("add-follower", tmp_path / "site", "n2", "--out", tmp_path / "n2")
    key = KeyPair.from_seed((tmp_path / "n2" / keys.FOLLOWER).read_text())
    assert keys.roster(tmp_path / "site") == {"n2": key.public}
    assert key.seed not in "".join(file.read_text() for file in (tmp_path / "site").rglob("*") if file.is_file())
    own = KeyPair.generate(Kind.USER)
    run("add-follower", tmp_path / "site", "n3", "--nkey", own.public)
    assert keys.roster(tmp_path / "site")["n3"] == own.public


def test_a_follower_that_is_removed_is_on_the_roster_no_more(tmp_path: Path) -> None:
    run("init", tmp_path / "site")
    run("add-follower", tmp_path / "site", "n2", "--out", tmp_path / "n2")
    run("remove-follower", tmp_path / "site", "n2")
    assert keys.roster(tmp_path / "site") == {}


def test_a_node_that_may_lead_knows_everybody_and_cannot_certify(tmp_path: Path) -> None:
    run("init", tmp_path / "site")
    run("add-follower", tmp_path / "site", "n2", "--out", tmp_path / "n2")
    run("add-leader", tmp_path / "site", "n3", "--out", tmp_path / "n3", "--host", "n3.example")
    assert keys.roster(tmp_path / "n3") == keys.roster(tmp_path / "site")
    assert not (tmp_path / "n3" / keys.CA_KEY).exists()
    assert (tmp_path / "n3" / keys.FOLLOWER).exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add-follower", "site", "a.b", "--out", "x"], "no name of a node"),
        (["add-follower", "site", "../n2", "--out", "x"], "no name of a node"),
        (["add-follower", "site", "n2"], "one of the two"),
        (["add-follower", "site", "n2", "--nkey", "nonsense"], "no nkey"),
        (["add-follower", "nowhere", "n2", "--out", "x"], "Cannot read"),
        (["remove-follower", "site", "n2"], "no follower"),
        (["init", "site/ca.pem/below"], "Cannot write"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run("init", "site")
    assert invoke(["site", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
