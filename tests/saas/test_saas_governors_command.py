"""`mra saas governors`, as a person or a program calls it, against a real server."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import trio

from tests.harness.saas import open_saas

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.lab


@pytest.fixture
async def saas(tmp_path):
    async with open_saas(tmp_path / "saas") as running:
        yield running


@pytest.fixture
def mra(saas, tmp_path):
    """Run the program as the backend; gives its exit code, output and complaint."""
    password = tmp_path / "password"
    password.write_text(saas.backend.password)
    login = ["--server", saas.url, "--user", saas.backend.user, "--password-file", str(password)]

    async def run(*words):
        command = [sys.executable, "-m", "mra.cli.main", "saas", "governors", *words, *login]
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


async def take(saas, number, holder):
    async with saas.connect(saas.site) as wire:
        headers = {"Nats-TTL": "60s", "Mra-Holder": "0123"}
        await wire.store(f"machine_room.governors.REFILL.slot.{number}", holder, headers)


async def test_a_governor_is_set_listed_with_its_holders_and_removed(mra, saas):
    assert await mra("set", "acme", "REFILL", "--slots", "3") == (
        0,
        "acme REFILL has 3 slots with a lease of 60 s.\n",
        "",
    )
    await take(saas, 1, b"pump \x1b[31m@ edge-1")
    _, out, _ = await mra("ls", "acme")
    assert "1: pump ?[31m@ edge-1" in out
    ((governor),) = json.loads((await mra("ls", "--json"))[1])
    assert (governor["slots"], governor["lease"], [each["slot"] for each in governor["held"]]) == (3, 60, [1])
    assert (await mra("rm", "acme", "REFILL"))[1] == "acme REFILL is removed.\n"
    assert (await mra("ls"))[1] == "There are no governors.\n"


async def test_an_eviction_frees_the_slots_that_are_named(mra, saas):
    await mra("set", "acme", "REFILL", "--slots", "2", "--lease", "5m")
    await take(saas, 0, b"a")
    await take(saas, 1, b"b")
    assert (await mra("evict", "acme", "REFILL", "1"))[1] == "acme REFILL slot 1 is free; b held it.\n"
    assert (await mra("evict", "acme", "REFILL", "1"))[1] == "None of them was held.\n"
    freed = json.loads((await mra("evict", "acme", "REFILL", "--all", "--json"))[1])
    assert [each["holder"] for each in freed] == ["a"]


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("set", "acme", "a.b", "--slots", "1"), 2, "no name of a governor"),
        (("set", "a.b", "G", "--slots", "1"), 2, "no customer id"),
        (("set", "acme", "G", "--slots", "1001"), 2, "use 0 to 1000 slots"),
        (("set", "acme", "G", "--slots", "1", "--lease", "1s"), 2, "write 10s or more"),
        (("evict", "acme", "G"), 2, "give --all"),
        (("evict", "acme", "G", "0"), 1, "has no governor G"),
    ],
)
async def test_mistakes_are_one_sentence(mra, words, code, complaint):
    got, _, said = await mra(*words)
    assert (got, said.count("\n"), complaint in said) == (code, 1, True), said
