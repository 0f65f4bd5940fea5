"""`mra saas config`, as a person or a program calls it, against a real server."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import trio

from tests.harness.saas import open_saas

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def mra(tmp_path):
    """Run the program as the backend; gives its exit code, output and complaint."""
    async with open_saas(tmp_path / "saas") as saas:
        password = tmp_path / "password"
        password.write_text(saas.backend.password)
        login = ["--server", saas.url, "--user", saas.backend.user, "--password-file", str(password)]

        async def run(*words, stdin=b""):
            command = [sys.executable, "-m", "mra.cli.main", "saas", *words, *login]
            done = await trio.run_process(
                command, stdin=stdin, capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT
            )
            return done.returncode, done.stdout, done.stderr.decode()

        yield run


async def test_what_was_put_is_got_byte_for_byte_and_listed(mra):
    value = b"\x00{}\xff\n"
    code, out, _ = await mra("config", "put", "acme", "limits", "--json", stdin=value)
    assert code == 0
    revision = json.loads(out)["revision"]
    assert await mra("config", "get", "acme", "limits") == (0, value, "")
    assert json.loads((await mra("config", "ls", "acme", "--json"))[1])["keys"] == {"limits": revision}


async def test_what_was_removed_is_gone_and_removing_it_again_succeeds(mra):
    await mra("config", "put", "acme", "limits", stdin=b"1")
    assert b"is removed" in (await mra("config", "rm", "acme", "limits"))[1]
    code, _, complaint = await mra("config", "get", "acme", "limits")
    assert (code, "has no key limits" in complaint) == (1, True)
    assert (await mra("config", "rm", "acme", "limits"))[0] == 0


async def test_wrong_names_and_missing_files_are_one_sentence_and_exit_code_2(mra):
    for words in (("a.b", "k"), ("acme", "a..b"), ("acme", "index"), ("acme", "k", "/nonexistent")):
        code, _, complaint = await mra("config", "put", *words, stdin=b"1")
        assert (code, complaint.count("\n")) == (2, 1), words
