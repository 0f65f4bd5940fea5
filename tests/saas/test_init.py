"""`mra saas init` makes what is missing, replaces nothing, and may be stopped anywhere."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import trio

from lab.plugins.authority import Authority
from mra.cli.main import invoke
from mra.durable import replace_file
from mra.errors import EXIT_RETRY
from mra.saas import setup
from mra.saas.accounts import CROSSINGS
from mra.saas.directory import Directory
from mra.saas.server_config import Listen
from mra.saas.setup import Setup
from mra.tokens import nats
from tests.harness.ports import free_port
from tests.harness.processes import open_child
from tests.harness.saas import LAB, nats_server

NOW = 1_800_000_000.0


def contents(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def make(root: Path, now: float = NOW) -> list[str]:
    run = Setup(Directory(root), now)
    run.run("saas", Listen())
    return run.done


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    assert "keys/operator.seed" in make(tmp_path / "saas")
    before = contents(tmp_path / "saas")
    assert make(tmp_path / "saas", NOW + 1000) == []
    assert contents(tmp_path / "saas") == before


def test_everything_is_for_the_owner_only(tmp_path: Path) -> None:
    make(tmp_path / "saas")
    for path in (tmp_path / "saas").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_stopped_anywhere_it_goes_on_and_ends_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = len(make(tmp_path / "whole"))
    for last in range(total):
        root, left = tmp_path / str(last), [last]

        def write(path: Path, data: bytes, left: list[int] = left) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            replace_file(path, data)

        with monkeypatch.context() as patch:
            patch.setattr("mra.saas.directory.replace_file", write)
            with pytest.raises(KeyboardInterrupt):
                make(root)
        kept = contents(root)
        make(root)
        after = contents(root)
        assert set(after) == set(contents(tmp_path / "whole"))
        assert {name: after[name] for name in kept} == kept
        assert make(root) == []
        shutil.rmtree(root)


def test_the_operators_own_key_may_be_kept_elsewhere(tmp_path: Path) -> None:
    make(tmp_path / "saas")
    seed = tmp_path / "saas" / "keys" / "operator.seed"
    elsewhere = seed.rename(tmp_path / "operator.seed")
    assert make(tmp_path / "saas") == []
    assert not seed.exists()
    (tmp_path / "saas" / "operator.jwt").unlink()
    assert invoke(["saas", "init", str(tmp_path / "saas")]) == 2  # only that key can sign what is missing now
    elsewhere.rename(seed)
    assert make(tmp_path / "saas") == ["operator.jwt"]


def test_no_key_of_an_account_is_left_that_could_sign_more_than_users(tmp_path: Path) -> None:
    make(tmp_path / "saas")
    directory = Directory(tmp_path / "saas")
    accounts = directory.charter().accounts
    for account in setup.FIXED:
        assert directory.account_signer(account).public != accounts[account]
    token = nats.decode((tmp_path / "saas" / "operator.jwt").read_text())
    assert token.nats["strict_signing_key_usage"] is True


def test_the_operators_edits_stay(tmp_path: Path) -> None:
    make(tmp_path / "saas")
    file = tmp_path / "saas" / "saas.conf"
    file.write_text(file.read_text().replace("8GB", "80GB"))
    assert make(tmp_path / "saas") == []
    assert "80GB" in file.read_text()


def test_encryption_stands_in_the_configuration_when_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate = tmp_path / "saas.pem"
    certificate.touch()
    words = ["saas", "init", str(tmp_path / "saas"), "--host", "0.0.0.0", "--tls-cert", str(certificate)]
    assert invoke(words) == 2
    assert invoke([*words, "--tls-key", str(certificate), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["server"] == "tls://127.0.0.1:4222"
    assert f'cert_file: "{certificate}"' in (tmp_path / "saas" / "saas.conf").read_text()


@pytest.mark.lab
def test_a_server_takes_the_configuration_from_a_path_with_quotes_and_spaces(tmp_path: Path) -> None:
    Setup(Directory(tmp_path / 'a "strange" place'), NOW).run("saas", Listen("::1", 4222, 8222))
    done = subprocess.run(
        [nats_server(), "-t", "--config", str(tmp_path / 'a "strange" place' / "saas.conf")],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        (Listen("0.0.0.0", 4222), "nats://127.0.0.1:4222"),
        (Listen("::1", 4222), "nats://[::1]:4222"),
        (Listen("saas.example", 443, None, Path("c"), Path("k")), "tls://saas.example:443"),
    ],
)
def test_the_tools_go_where_the_server_listens(listen: Listen, url: str) -> None:
    assert listen.url == url


@pytest.mark.parametrize("damage", [b"", b"{}", b"[", b"\xff", b'{"operator":1}'])
def test_a_damaged_directory_is_one_sentence(tmp_path: Path, damage: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "saas")
    (tmp_path / "saas" / "saas.json").write_bytes(damage)
    assert invoke(["saas", "customer", "ls", "--saas", str(tmp_path / "saas")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_directory_without_a_saas_names_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["saas", "customer", "add", "acme", "--saas", str(tmp_path)]) == 2
    assert "mra saas init" in capsys.readouterr().err


def test_the_labs_accounts_offer_the_same_crossings() -> None:
    """`lab/nats/saas.conf` is written by hand; whoever adds an import there adds it for real customers too."""
    text = (LAB / "nats" / "saas.conf").read_text()
    for crossing in CROSSINGS:
        export = crossing.export()
        assert f'{crossing.kind}: "{export["subject"]}"' in text
        line = next(line for line in text.splitlines() if f'{crossing.kind}: "{export["subject"]}"' in line)
        assert f"account_token_position: {export['account_token_position']}" in line
        assert ("response: stream" in line) is (export.get("response_type") == "Stream")
        assert f'"{crossing.take("acme", "B")["subject"]}"' in text
        assert f'to: "{crossing.take("acme", "B")["local_subject"]}"' in text
    exports = text.partition("exports: [")[2].partition("]\n")[0]
    assert exports.count("account_token_position") == len(CROSSINGS)


@pytest.mark.lab
async def test_with_tls_commands_and_agents_trust_the_authority_and_nobody_else(tmp_path: Path) -> None:
    authority = Authority.new(tmp_path / "authority")
    saas = tmp_path / "saas"
    port = free_port()
    words = ["saas", "init", str(saas), "--port", str(port), "--tls-ca", str(authority.ca_file)]
    words += ["--tls-cert", str(authority.certificate), "--tls-key", str(authority.certificate)]
    assert invoke(words) == 0
    async with open_child([nats_server(), "--config", str(saas / "saas.conf")], tmp_path / "server.log"):
        with trio.fail_after(30):
            while await command("streams", "apply", saas=saas) != 0:  # noqa: ASYNC110 - it starts when it starts
                await trio.sleep(0.05)
        assert await command("customer", "add", "acme", saas=saas) == 0
        assert await command("config", "ls", "acme", saas=saas) == 0
        stranger = Authority.new(tmp_path / "stranger")
        assert await command("config", "ls", "acme", "--tls-ca", str(stranger.ca_file), saas=saas) == EXIT_RETRY


async def command(*words: str, saas: Path) -> int:
    return await trio.to_thread.run_sync(invoke, ["saas", *words, "--saas", str(saas)])
