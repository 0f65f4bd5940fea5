"""`mra saas nodes` and `mra saas events` show what sites stored, whatever they stored."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from mra.aio.session import open_session
from mra.cli.saas_access import Reach
from mra.cli.show import plain
from mra.saas import feed
from mra.saas.nodes import newest
from tests.harness.processes import open_child
from tests.harness.tenancy import Tenancy, open_tenancy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Tenancy]:
    async with open_tenancy(tmp_path, "acme", "globex") as running:
        yield running


def report(type_: str, **data: Any) -> bytes:
    return json.dumps({"specversion": "1.0", "type": type_, "subject": "n1", "data": data}).encode()


def full(host: str, **room: Any) -> bytes:
    facts = {"host": {"info": {"hostname": host}}, "machine_room": room}
    return report("mra.node.v1.facts", facts=facts)


HEARTBEAT = report("mra.node.v1.heartbeat", problems=3)


async def store(saas: Tenancy, customer: str, subject: str, *bodies: bytes) -> None:
    async with saas.connect(saas.site(customer)) as site:
        for body in bodies:
            await site.store(f"machine_room.{subject}", body)


async def nodes(saas: Tenancy, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(await saas.mra("nodes", "--json", *words))
    return found


async def test_the_newest_report_of_every_node_is_shown(saas: Tenancy) -> None:
    await store(saas, "acme", "nodes.n1", full("old"), full("new", problems={"cpu": "gone"}))
    await store(saas, "acme", "nodes.n1.heartbeat", HEARTBEAT)
    await store(saas, "acme", "nodes.n2", full("two"))
    await store(saas, "globex", "nodes.n1", full("other"))
    found = await nodes(saas, "--facts")
    assert [(one["customer"], one["node"], one["facts"]["host"]["info"]["hostname"]) for one in sorted(
        found, key=lambda one: (one["customer"], one["node"])
    )] == [("acme", "n1", "new"), ("acme", "n2", "two"), ("globex", "n1", "other")]  # fmt: skip
    assert [(one["node"], one["problems"]) for one in await nodes(saas, "--customer", "acme")] == [("n1", 3), ("n2", 0)]
    assert len(await nodes(saas, "--node", "n1")) == 2
    table = await saas.mra("nodes", "--customer", "acme")
    assert "new" in table
    assert "other" not in table


async def test_what_is_no_report_is_passed_over(saas: Tenancy) -> None:
    deep = b'{"type":"mra.node.v1.facts","data":' + b'{"a":' * 50_000
    await store(
        saas, "acme", "nodes.n1", b"", b"\xff", b"[]", b'{"type":1}', deep, report("other", facts={}),
        report("mra.node.v1.facts", facts=7), report("mra.node.v1.heartbeat", problems="many"),
    )  # fmt: skip
    await store(saas, "acme", "nodes.checkpoint.n1-nodes", b"{}")
    assert [(one["node"], one["reported"], one["problems"]) for one in await nodes(saas)] == [("n1", None, 0)]


async def test_more_nodes_than_the_server_answers_at_once(saas: Tenancy) -> None:
    async with saas.connect(saas.site("acme")) as site:
        for number in range(1300):
            await site.publish(f"machine_room.nodes.n{number}", full(f"h{number}"))
        await site.store("machine_room.nodes.last", full("last"))
    async with open_session(Reach(home=saas.path).access()) as session:
        assert len(await newest(session)) == 1301


async def test_nothing_that_a_node_calls_itself_reaches_the_terminal(saas: Tenancy) -> None:
    await store(saas, "acme", "nodes.n1", full("\x1b]0;owned\x07[red]\n" + "x" * 500))
    table = await saas.mra("nodes")
    assert "\x1b" not in table
    assert "\x07" not in table
    assert "[red]" in table
    await store(saas, "acme", "events.lifecycle.x", report("\x1b[2J", text="\x9b2J"), b"\x1b[2J not JSON")
    printed = await saas.mra("events")
    assert not any(character in printed for character in "\x1b\x9b")
    assert printed.count("\n") == 2


def test_plain_text_is_cut_and_says_so() -> None:
    assert plain("abcdef", 4) == "abc…"
    assert plain("abcd", 4) == "abcd"
    assert plain("a\nb\u202e", 9) == "a\ufffdb\ufffd"


async def test_events_are_shown_in_order_without_checkpoints(saas: Tenancy) -> None:
    await store(saas, "acme", "events.lifecycle.x", report("started"), report("stopped"))
    await store(saas, "acme", "events.checkpoint.n1-events", b"{}")
    await store(saas, "globex", "events.machine.transition", report("moved"))
    lines = [json.loads(line) for line in (await saas.mra("events", "--json")).splitlines()]
    assert [(one["customer"], one["subject"], one["event"]["type"]) for one in lines] == [
        ("acme", "lifecycle.x", "started"), ("acme", "lifecycle.x", "stopped"),
        ("globex", "machine.transition", "moved"),
    ]  # fmt: skip
    assert "globex" not in await saas.mra("events", "--customer", "acme")
    assert (await saas.mra("events", "--subject", "machine.>")).count("\n") == 1
    assert (await saas.fail("events", "--subject", "a b"))[0] == 2
    assert (await saas.fail("events", "--since", "soon"))[0] == 2


async def test_following_goes_on_where_it_stood_when_the_server_comes_back(saas: Tenancy, tmp_path: Path) -> None:
    await store(saas, "acme", "events.lifecycle.x", report("before"))
    command = [sys.executable, "-m", "mra.cli.main", "saas", "events", "--follow", "--json", "--saas", str(saas.path)]
    environment = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    async def wait_for(word: str) -> str:
        with trio.fail_after(30):
            while word not in (text := child.log.read_text()):  # noqa: ASYNC110 - a file tells nobody
                await trio.sleep(0.02)
        return text

    async with open_child(command, tmp_path / "followed", environment) as child:
        number = 0
        with trio.fail_after(30):
            while "first" not in child.log.read_text():  # it starts with what comes after its start
                number += 1
                await store(saas, "acme", "events.lifecycle.x", report(f"first {number}"))
                await trio.sleep(0.05)
        await wait_for(f"first {number}")
        await saas.stop()
        await wait_for("tried again")
        await saas.start()
        await store(saas, "globex", "events.lifecycle.x", report("after"))
        await wait_for('"after"')
        child.signal(signal.SIGINT)
        with trio.fail_after(30):
            assert await child.wait() == 130
    text = child.log.read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    sequences = [one["sequence"] for one in lines]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    assert "Traceback" not in text
    assert lines[-1]["customer"] == "globex"


async def test_a_stream_that_was_wiped_is_followed_from_its_beginning(saas: Tenancy) -> None:
    await store(saas, "acme", "events.lifecycle.x", *(report(f"old {number}") for number in range(5)))
    async with open_session(Reach(home=saas.path).access()) as session:
        follower = feed.Follower(feed.pattern(None), await feed.end(session))
        coming = follower.follow(session)
        async with saas.connect(saas.backend) as backend:
            await backend.ask("$JS.API.STREAM.DELETE.MACHINE_ROOM_EVENTS")
        await saas.mra("streams", "apply")
        await store(saas, "acme", "events.lifecycle.x", report("new"))
        with trio.fail_after(30):
            event = await coming.__anext__()
        assert event.body["type"] == "new"
        await coming.aclose()
