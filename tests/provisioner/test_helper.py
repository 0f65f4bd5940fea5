"""A helper is somebody else's program: whatever it does costs one attempt, and leaves no process behind."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import Unavailable
from mra.provisioner.helper import MOST_OUTPUT, HelperAnswer, Program, ServerClaims, read_answer
from mra.provisioner.rules import Rules

if TYPE_CHECKING:
    from pathlib import Path

QUESTION = {"identity": "n1", "customer": "acme", "role": "tools"}


def program(directory: Path, text: str, seconds: float = 10.0) -> Program:
    file = directory / "helper"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return Program(file, seconds=seconds)


async def test_it_reads_json_and_answers_json(tmp_path):
    echo = 'read -r question\nprintf \'{"configuration": {"asked": "%s"}}\' "$(printf %s "$question" | tr -d \'"{}\')"'
    answer = await program(tmp_path, echo)(QUESTION)
    assert answer.configuration == {"asked": "identity:n1,customer:acme,role:tools"}


async def test_it_need_not_read_the_question(tmp_path):
    big = {**QUESTION, "inventory": "x" * 1_000_000}
    assert await program(tmp_path, "echo '{}'")(big) == HelperAnswer()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("exit 3", "exit code 3"),
        ("kill -9 $$", "exit code -9"),
        ("true", "no JSON"),
        ("echo hello", "no JSON"),
        ("echo '[]'", "wrong value"),
        ('echo \'{"configuration": {"a": 1}}\'', "wrong value"),
        ('echo \'{"defer": "yes"}\'', "wrong value"),
        ("echo '{}'; exit 1", "exit code 1"),
        (f"head -c {MOST_OUTPUT + 1} /dev/zero", "more than"),
        ("echo '{} {}'", "no JSON"),
    ],
)
async def test_anything_else_is_a_failure_in_one_sentence(tmp_path, text, complaint):
    with pytest.raises(Unavailable, match=complaint):
        await program(tmp_path, text)(QUESTION)


async def test_a_helper_that_is_not_there_is_a_failure_too(tmp_path):
    with pytest.raises(Unavailable, match="cannot be started"):
        await Program(tmp_path / "none")(QUESTION)
    (tmp_path / "plain").write_text("no program")
    with pytest.raises(Unavailable, match="cannot be started"):
        await Program(tmp_path / "plain")(QUESTION)


async def test_a_slow_helper_is_killed_with_what_it_started(tmp_path):
    pids = tmp_path / "pids"
    text = f"sleep 600 & echo $! > {pids}.part; echo $$ >> {pids}.part; mv {pids}.part {pids}; wait"
    with trio.fail_after(20), pytest.raises(Unavailable, match=r"within 0\.5 s"):
        await program(tmp_path, text, 0.5)(QUESTION)
    await wait_gone(pids)


async def test_a_cancelled_helper_is_killed_with_what_it_started(tmp_path):
    pids = tmp_path / "pids"
    text = f"sleep 600 & echo $! > {pids}.part; echo $$ >> {pids}.part; mv {pids}.part {pids}; wait"
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program(tmp_path, text, 600), QUESTION)
            while not pids.exists():  # noqa: ASYNC110 - a file tells no event
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    await wait_gone(pids)


async def wait_gone(pids: Path) -> None:
    numbers = pids.read_text().split()  # noqa: ASYNC240 - a few bytes
    with trio.fail_after(10):
        for pid in map(int, numbers):
            while is_running(pid):  # noqa: ASYNC110 - init reaps it when it likes
                await trio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_what_it_complains_about_is_logged_in_one_line(tmp_path, caplog):
    with caplog.at_level("INFO"):
        await program(tmp_path, "printf 'no\\033[1mlicence\\nleft' >&2; echo '{}'")(QUESTION)
    (record,) = [record for record in caplog.records if "helper" in record.message]
    assert record.__dict__["fields"]["text"] == "no [1mlicence left"


def test_server_claims_come_from_the_helper_within_bounds():
    answer = read_answer(b'{"server_claims": {"exp": 5, "permissions": {"streams": true}, "pub_subjects": [">"]}}')
    assert answer.server_claims == ServerClaims(exp=5, permissions={"streams": True})


JSON = st.recursive(st.none() | st.text() | st.integers(), st.lists) | st.dictionaries(st.text(), st.booleans())


@given(st.binary(max_size=200) | JSON.map(json.dumps).map(str.encode))
def test_no_output_does_more_than_fail(output):
    with contextlib.suppress(Unavailable):
        assert isinstance(read_answer(output), HelperAnswer)


async def test_rules_say_more_about_a_role_than_about_a_customer_than_about_all(tmp_path):
    file = tmp_path / "rules.toml"
    file.write_text(
        '[configuration]\na = "all"\nb = "all"\nc = "all"\n'
        '[customers.acme.configuration]\nb = "acme"\nc = "acme"\n'
        '[customers.acme.roles.tools.configuration]\nc = "tools"\n'
        "[customers.globex]\ndefer = true\n"
    )
    rules = Rules(file)
    assert (await rules(QUESTION)).configuration == {"a": "all", "b": "acme", "c": "tools"}
    assert (await rules({**QUESTION, "role": "db"})).configuration == {"a": "all", "b": "acme", "c": "acme"}
    assert (await rules({**QUESTION, "customer": "globex"})).defer
    assert (await Rules(None)(QUESTION)).configuration == {}


SITES = """
[customers.acme.sites.berlin]
leader = "n1"
term = 3
buses = { n1 = "10.0.0.1:9222", n2 = "n2.example:9333" }
relays = { n1 = "n1.example:9223" }
configuration = { "site.urls" = "tls://10.0.0.9:1" }
[customers.acme.sites.munich]
leader = "m1"
buses = { m1 = "[::1]:9222" }
"""


async def test_rules_place_the_nodes_of_a_site(tmp_path):
    file = tmp_path / "rules.toml"
    file.write_text(SITES)
    rules = Rules(file)
    berlin = {"site.name": "berlin", "site.term": "3", "site.urls": "tls://10.0.0.9:1"}
    first = {"site.listen": "10.0.0.1:9222", "site.hosts": "10.0.0.1", "site.relay": "0.0.0.0:9223"}
    for name, place in (
        ("n1", {"site.role": "leader", **first}),
        ("n2", {"site.role": "follower", "site.listen": "0.0.0.0:9333", "site.hosts": "n2.example"}),
        ("n3", {"site.role": "follower"}),
    ):
        assert (await rules({**QUESTION, "name": name, "site": "berlin"})).configuration == berlin | place
    munich = (await rules({**QUESTION, "name": "m1", "site": "munich"})).configuration
    assert (munich["site.listen"], munich["site.hosts"]) == ("[::1]:9222", "::1")
    assert munich["site.urls"] == "tls://[::1]:9222"
    assert (await rules({**QUESTION, "name": "n1"})).configuration == {}


async def test_a_node_of_a_site_that_no_rule_names_yet_waits(tmp_path):
    file = tmp_path / "rules.toml"
    file.write_text(SITES)
    for question in ({**QUESTION, "site": "paris"}, {**QUESTION, "customer": "globex", "site": "berlin"}):
        answer = await Rules(file)({**question, "name": "n1"})
        assert answer.defer
        assert question["site"] in answer.msg


SITE_OF_NOBODY = '[customers.acme.sites.b]\nleader = "n9"\nbuses = { n1 = "h:1" }'
SITE_BESIDE_ITSELF = '[customers.acme.sites.b]\nleader = "n1"\nbuses = { n1 = "h:1,h:2" }'


@pytest.mark.parametrize(
    "text", [SITE_OF_NOBODY, SITE_BESIDE_ITSELF, "= 1", "[configuration]\na = 1", "[customers.acme]\nrole = 1", "\xff"]
)
async def test_rules_that_make_no_sense_are_a_failure_that_names_the_file(tmp_path, text):
    file = tmp_path / "rules.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(Unavailable, match=r"rules\.toml"):
        await Rules(file)(QUESTION)
