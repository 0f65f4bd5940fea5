"""Deliveries by file on the command line: what people read, and what they mistype."""

from __future__ import annotations

import json
import stat
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from mra.cli.saas_import import _check_standing
from mra.errors import Refused
from mra.outbox.record import Lane
from mra.saas.registry import Customer
from mra.sealed.keys import SealingSecret
from mra.tokens.ed25519 import SigningKey

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shell
    from tests.outbox.desk import Desk


@pytest.fixture
def key(shell: Shell, tmp_path: Path) -> Path:
    """The SaaS's key; the site has its public half in its settings."""
    file = tmp_path / "seal.key"
    public = shell.mra("saas", "sealing-key", file).out.strip()
    text = shell.config.read_text()
    shell.config.write_text(text.replace("[saas]", f'[saas]\nsealing_key = "{public}"\ncustomer = "acme"'))
    return file


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    """The node's own key."""
    file = tmp_path / "server.seed"
    file.touch(0o600)
    file.write_text(SigningKey.generate().seed)
    return file


@pytest.fixture
def sealed(shell: Shell, desk: Desk, key: Path, seed: Path, tmp_path: Path) -> Path:
    """A signed file with two rows."""
    desk.accept(Lane.EVENTS, b"1", b"2")
    file = tmp_path / "1.sealed"
    assert shell.mra("outbox", "export", "--sealed", file, "--sign", seed).status == 0
    assert key.exists()
    return file


def test_a_sealing_key_is_made_once_and_only_its_public_half_is_shown(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "seal.key"
    first = shell.mra("saas", "sealing-key", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert first.out.strip() == str(SealingSecret.parse(file.read_text()).public)
    again = json.loads(shell.mra("saas", "sealing-key", file, "--json").out)
    assert (again["public"], again["made"]) == (first.out.strip(), False)
    file.chmod(0o644)
    assert "chmod 600" in shell.mra("saas", "sealing-key", file).complains(2)
    assert "choose another place" in shell.mra("saas", "sealing-key", tmp_path / "no" / "key").complains(2)


def test_an_export_says_what_is_in_the_file_and_lists_it_until_it_is_answered(
    shell: Shell, desk: Desk, key: Path, seed: Path, tmp_path: Path
) -> None:
    assert key.exists()
    desk.accept(Lane.EVENTS, b"1", b"2")
    desk.accept(Lane.NODES, b"3")
    file = tmp_path / "1.sealed"
    done = shell.mra("outbox", "export", "--sealed", file, "--sign", seed, "--lane", "events", "--json")
    document = json.loads(done.out)
    assert document["signed"] is True
    assert document["lanes"] == {"events": {"rows": 2, "first_seq": 1, "through_seq": 2}}
    (listed,) = [json.loads(line) for line in shell.mra("outbox", "exports", "--json").out.splitlines()]
    assert (listed["file"], listed["lane"], listed["kept"]) == (document["file"], "events", 1)
    desk.deliver(Lane.EVENTS)
    assert shell.mra("outbox", "exports").out == "No file waits for an answer.\n"


def test_an_unsigned_export_says_so(shell: Shell, desk: Desk, key: Path, tmp_path: Path) -> None:
    assert key.exists()
    desk.accept(Lane.EVENTS, b"1")
    done = shell.mra("outbox", "export", "--sealed", tmp_path / "1.sealed")
    assert done.out.startswith("1 rows sealed in ")
    assert "not signed" in done.err


@pytest.mark.usefixtures("desk")
def test_mistakes_in_an_export_are_one_sentence(shell: Shell, key: Path, tmp_path: Path) -> None:
    export = ("outbox", "export", "--sealed", tmp_path / "1.sealed")
    assert "nothing to export" in shell.mra(*export).complains(1)
    assert "leave FILE away" in shell.mra(*export, "rows.ndjson").complains(2)
    assert "go with --sealed" in shell.mra("outbox", "export", "--to", key).complains(2)
    assert "no sealing key" in shell.mra(*export, "--to", shell.config).complains(2)
    assert "Cannot read" in shell.mra(*export, "--sign", tmp_path / "none").complains(2)
    shell.config.write_text(shell.config.read_text().replace("mra-seal-1:", "mra-seal-1:0"))
    assert "saas.sealing_key: This is no sealing key" in shell.mra(*export).complains(2)
    assert not (tmp_path / "1.sealed").exists()


def test_a_follower_exports_nothing(shell: Shell, desk: Desk, key: Path, tmp_path: Path) -> None:
    assert key.exists()
    desk.accept(Lane.EVENTS, b"1")
    desk.connection.execute("INSERT INTO site_stint (no, stint, leader, term) VALUES (1, 's', 'n9', 1)")
    done = shell.mra("outbox", "export", "--sealed", tmp_path / "1.sealed")
    assert "leader n9: export there" in done.complains(1)
    assert desk.state(Lane.EVENTS).exported_through == 0


def test_a_file_is_taken_only_from_whom_it_should_be(shell: Shell, sealed: Path, key: Path, seed: Path) -> None:
    take = ("saas", "import", sealed, "--key", key, "--server", "nats://127.0.0.1:1")
    assert "--signer with the node's public key" in shell.mra(*take).complains(2)
    other = SigningKey.generate().public
    assert f"not by {other}" in shell.mra(*take, "--signer", other).complains(1)
    assert "no Ed25519 public key" in shell.mra(*take, "--signer", "me").complains(1)
    signer = SigningKey.from_seed(seed.read_text()).public
    assert "is of customer acme, not of globex" in (
        shell.mra(*take, "--signer", signer, "--customer", "globex").complains(1)
    )
    shell.mra(*take, "--signer", signer).complains(75)  # everything fits, and no server is there


def test_an_unsigned_file_is_taken_only_when_told_to(shell: Shell, desk: Desk, key: Path, tmp_path: Path) -> None:
    desk.accept(Lane.EVENTS, b"1")
    shell.mra("outbox", "export", "--sealed", tmp_path / "1.sealed")
    take = ("saas", "import", tmp_path / "1.sealed", "--key", key, "--server", "nats://127.0.0.1:1")
    assert "is not signed" in shell.mra(*take, "--signer", SigningKey.generate().public).complains(1)
    shell.mra(*take, "--unsigned").complains(75)


def test_mistakes_in_an_import_are_one_sentence(shell: Shell, sealed: Path, key: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    shell.mra("saas", "sealing-key", other)
    assert "sealed to another key" in shell.mra("saas", "import", sealed, "--key", other, "--unsigned").complains(1)
    assert "no secret of a sealing key" in (
        shell.mra("saas", "import", sealed, "--key", _private(tmp_path / "x"), "--unsigned").complains(2)
    )
    assert "Cannot read" in shell.mra("saas", "import", tmp_path / "no", "--key", key, "--unsigned").complains(2)
    sealed.write_bytes(sealed.read_bytes()[:-1])
    assert "cut off on its way" in shell.mra("saas", "import", sealed, "--key", key, "--unsigned").complains(1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"suspended": True}, "resume it"), ({"denied_nodes": ("site1",)}, "takes that back"), ({}, None)],
)
def test_who_may_not_use_the_link_may_not_send_files(changes: dict[str, Any], sentence: str | None) -> None:
    customer = Customer(name="acme", account="A", signer="A", created=0, **changes)
    with pytest.raises(Refused, match=sentence) if sentence else nullcontext():
        _check_standing(customer, "site1")


@pytest.mark.usefixtures("sealed")
def test_mistakes_in_a_settlement_are_one_sentence(shell: Shell, tmp_path: Path) -> None:
    assert "Cannot read" in shell.mra("outbox", "settle", tmp_path / "no").complains(2)
    assert "no acknowledgement" in shell.mra("outbox", "settle", shell.config).complains(2)


def _private(file: Path) -> Path:
    file.touch(0o600)
    file.write_text("hello")
    return file
