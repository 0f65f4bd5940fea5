"""Signing, publishing and taking back lists of plugins, against a real server."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import trio

from mra.machines import spec
from mra.machines.accepted import accept
from tests.harness.saas import open_saas

ROOT = Path(__file__).parents[2]
PUBLIC = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"  # of the seed 00..1f


@pytest.fixture
def seed(tmp_path):
    file = tmp_path / "signer.seed"
    file.write_text(bytes(range(32)).hex())
    file.chmod(0o600)
    return str(file)


@pytest.fixture
async def mra(tmp_path):
    """Run the program as the backend; gives its exit code, output and complaint."""
    async with open_saas(tmp_path / "saas") as saas:
        password = tmp_path / "password"
        password.write_text(saas.backend.password)
        login = {
            "MRA_SAAS_SERVER": saas.url, "MRA_SAAS_USER": saas.backend.user, "MRA_SAAS_PASSWORD_FILE": str(password)
        }  # fmt: skip

        async def run(*words, stdin=b""):
            command = [sys.executable, "-m", "mra.cli.main", "saas", *words]
            done = await trio.run_process(
                command, stdin=stdin, capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT, env=login
            )
            return done.returncode, done.stdout, done.stderr.decode()

        yield run


def listed(*names):
    source = "https://files.example/x.tgz"
    entry = {"source": source, "checksum": "a" * 64, "verify_checksum": "b" * 64}
    return json.dumps([{"name": name, **entry} for name in names]).encode()


async def test_a_list_is_signed_published_replaced_and_brought_back_as_agents_accept_it(mra, seed):
    code, first, told = await mra("plugins", "sign", "--seed", seed, "--serial", "1", stdin=listed("one"))
    assert (code, PUBLIC in told) == (0, True)
    assert (await mra("plugins", "publish", "acme", stdin=first))[0] == 0
    _, second, _ = await mra("plugins", "sign", "--seed", seed, "--serial", "2", stdin=listed("one", "two"))
    assert (await mra("plugins", "publish", "acme", stdin=second))[0] == 0

    code, _, complaint = await mra("plugins", "publish", "acme", stdin=first)
    assert (code, "greater serial" in complaint) == (1, True)

    code, out, _ = await mra("plugins", "rollback", "acme", "--seed", seed, "--json")
    assert (code, json.loads(out)["plugins"]) == (0, ["one"])
    _, current, _ = await mra("config", "get", "acme", "machines")
    remembered = accept(spec.read(second, PUBLIC), accept(spec.read(first, PUBLIC), None))
    assert [plugin.name for plugin in spec.read(current, PUBLIC).plugins] == ["one"]
    assert accept(spec.read(current, PUBLIC), remembered).serial > 2

    _, out, _ = await mra("plugins", "ls", "acme", "--history", "--json")
    assert [[plugin["name"] for plugin in row["plugins"]] for row in json.loads(out)] == [
        ["one"],
        ["one", "two"],
        ["one"],
    ]
    assert b"one" in (await mra("plugins", "ls", "acme"))[1]


async def test_what_no_agent_would_take_is_not_published(mra, seed):
    for value in (b"", b"[]", b'{"plugins": "W10="}', b'{"plugins": "junk", "signature": "00"}'):
        code, _, complaint = await mra("plugins", "publish", "acme", stdin=value)
        assert (code, complaint.count("\n")) == (2, 1), value
    code, _, complaint = await mra("plugins", "rollback", "acme", "--seed", seed)
    assert (code, "no earlier list" in complaint) == (1, True)
    assert json.loads((await mra("config", "ls", "acme", "--json"))[1])["keys"] == {}
