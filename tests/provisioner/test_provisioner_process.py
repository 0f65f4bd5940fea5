"""The service and the agent as processes: from one file to delivered events, and killed wherever it hurts."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel

from mra.enrol import exchange
from mra.provisioner import records
from mra.provisioner.ledger import connect
from mra.provisioner.opening import DATABASE
from tests.harness.processes import Child, open_child
from tests.harness.provisioning import Node, token
from tests.harness.saas import EVENTS, NODES, SUBMISSION
from tests.harness.site import NO_ANSWER
from tests.harness.tenancy import Tenancy, open_tenancy
from tests.provisioner.dying import STEPS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
[agent]
name = "n1"

[outbox]
min_free = 0
ballast = 0

[uplink]
retry_first = "50ms"
retry_cap = "300ms"
"""


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Tenancy]:
    async with open_tenancy(tmp_path, "acme") as running:
        yield running


def python(log: Path, *words: str) -> Any:
    return open_child([sys.executable, "-m", *words], log, {"PYTHONPATH": str(ROOT)})


def provisioner(saas: Tenancy, *before: str, options: tuple[str, ...] = ()) -> Any:
    """`mra saas provisioner`; `before` replaces the module that is run."""
    words = before or ("mra.cli.main",)
    return python(saas.path / "provisioner.log", *words, "saas", "provisioner", "--saas", str(saas.path), *options)


def write_helper(saas: Tenancy, answer: dict[str, Any]) -> str:
    """A program that gives this answer about every node."""
    file = saas.path / "helper"
    text = saas.path / "helper.part"
    text.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(answer)}\nEND\n")
    text.chmod(0o700)
    text.rename(file)
    return str(file)


class Agent:
    """`mra run` in a directory with a provisioning token."""

    def __init__(self, directory: Path, text: str) -> None:
        directory.mkdir()
        self.config, self.log = directory / "agent.toml", directory / "agent.log"
        self.config.write_text(CONFIG)
        (directory / "provisioning.jwt").write_text(text)
        self.state = directory / "state"
        self.identity = self.state / "identity"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Child]:
        async with python(self.log, "mra.cli.main", "run", "--config", str(self.config)) as child:
            yield child

    async def ask(self, what: str) -> Any:
        async with await trio.open_unix_socket(self.state / "mra.sock") as stream:
            await stream.send_all(json.dumps({"ask": what}).encode() + b"\n")
            return json.loads(b"".join([piece async for piece in stream]))["answer"]

    async def wait(self, holds: Callable[[dict[str, Any]], bool], what: str = "status") -> dict[str, Any]:
        """The status, once `holds` says so of it. An agent that just changes its ways is asked again."""
        with trio.fail_after(40):
            while True:
                try:
                    status: dict[str, Any] = await self.ask(what)
                except NO_ANSWER:
                    status = {}
                if status and holds(status):
                    return status
                await trio.sleep(0.03)

    async def mra(self, *words: str) -> None:
        """Another `mra` beside the agent, which has to succeed."""
        command = [sys.executable, "-m", "mra.cli.main", *words, "--config", str(self.config)]
        await trio.run_process(command, stdin=b"hello", env={"PYTHONPATH": str(ROOT)}, capture_stdout=True)

    async def submit(self, subject: str) -> None:
        await self.mra("submit", subject, "-")


def is_enrolling(status: dict[str, Any]) -> bool:
    return status["link"]["state"] == "enrolling" and status["link"]["attempts"] > 0


def is_drained(status: dict[str, Any]) -> bool:
    lanes = status["lanes"].values()
    return status["link"]["state"] == "connected" and not any(lane["waiting"] for lane in lanes)


def ledger(saas: Tenancy) -> list[dict[str, Any]]:
    with closing(connect(saas.path / DATABASE)) as connection:
        return records.nodes(connection)


async def stored(saas: Tenancy, stream: str) -> list[str]:
    account = saas.customer("acme").account
    async with saas.connect(saas.backend) as wire:
        subjects = [message.subject for message in await wire.read_stream(stream)]
    return [subject.partition(f".{account}.")[2] for subject in subjects if ".checkpoint." not in subject]


async def test_a_wheel_and_a_token_become_a_node_that_delivers_what_it_took_before_it_was_enrolled(saas, tmp_path):
    await saas.mra("token", "acme", "--role", "tools", "-o", str(tmp_path / "made.jwt"))
    agent = Agent(tmp_path / "site", (tmp_path / "made.jwt").read_text())
    async with agent.running() as child:
        await agent.wait(is_enrolling)
        await agent.submit("app.orders")
        async with provisioner(saas):
            await agent.wait(lambda status: status["link"]["state"] == "connected")
            status = await agent.wait(is_drained)
            assert (await agent.ask("provision"))["state"] == "enrolled"
            before = (agent.identity / "enrolment.json").read_bytes()
            await agent.mra("provision", "renew")
            with trio.fail_after(30):
                while (agent.identity / "enrolment.json").read_bytes() == before:  # noqa: ASYNC110 - no event tells
                    await trio.sleep(0.02)
        assert status["agent"] == "n1"
        assert child.returncode is None  # in the same process
        assert await child.terminate() == 0
    events = await stored(saas, EVENTS)
    assert events[0] == "lifecycle.event.startup.provision_mode_server"
    assert events.index("lifecycle.event.provisioned.provision_mode_server") < events.index(
        "lifecycle.event.startup.server"
    )
    assert await stored(saas, SUBMISSION) == ["app.orders"]
    assert set(await stored(saas, NODES)) == {"n1"}
    (node,) = json.loads(await saas.mra("node", "ls", "--json"))
    assert (node["customer"], node["identity"], node["role"]) == ("acme", "n1", "tools")
    await check_secrets(saas, agent)


async def check_secrets(saas: Tenancy, agent: Agent) -> None:
    """No seed and no token is in a log, a fact, an event, or the outbox."""
    enrolment = json.loads((agent.identity / "enrolment.json").read_text())
    secrets = [
        (agent.identity / "server.seed").read_text(), (agent.identity / "nats.nkey").read_text(),
        enrolment["grant"]["nats_jwt"], enrolment["grant"]["server_jwt"],
        (agent.config.parent / "provisioning.jwt").read_text(),
    ]  # fmt: skip
    texts = [agent.log.read_bytes(), (saas.path / "provisioner.log").read_bytes(), saas.log.read_bytes()]
    texts += [file.read_bytes() for file in agent.state.glob("outbox.db*")]
    texts += [(agent.state / "facts.json").read_bytes()]
    async with saas.connect(saas.backend) as wire:
        for stream in (EVENTS, NODES, SUBMISSION):
            texts += [message.body for message in await wire.read_stream(stream)]
    for secret in secrets:
        for text in texts:
            assert secret.encode() not in text
            assert secret.rpartition(".")[2].encode() not in text


async def test_a_node_that_lost_its_key_goes_back_to_provisioning_and_keeps_its_outbox(saas, tmp_path):
    agent = Agent(tmp_path / "site", token(saas))
    async with provisioner(saas):
        async with agent.running() as child:
            await agent.wait(is_drained)
            await child.terminate()
        before = (agent.state / "outbox.db").stat().st_ino
        await agent.submit("app.late")
        (agent.identity / "nats.nkey").unlink()
        async with agent.running() as child:
            await agent.wait(is_drained)
            await child.terminate()
    assert (agent.state / "outbox.db").stat().st_ino == before
    assert await stored(saas, SUBMISSION) == ["app.late"]
    assert len(ledger(saas)) == 1
    verified = json.loads(await saas.mra("verify", "--json"))
    assert verified["complete"]


async def test_a_node_whose_user_is_revoked_stays_refused_until_it_is_allowed_again(saas, tmp_path):
    agent = Agent(tmp_path / "site", token(saas))
    async with provisioner(saas), agent.running() as child:
        await agent.wait(is_drained)
        await saas.mra("customer", "deny", "acme", "--node", "n1")
        await agent.wait(lambda status: status["link"]["state"] == "down")
        await agent.submit("app.meanwhile")
        await agent.wait(lambda found: "denied" in str(found["last_error"]), "provision")
        await saas.mra("customer", "allow", "acme", "--node", "n1")
        await agent.wait(is_drained)
        await child.terminate()
    assert await stored(saas, SUBMISSION) == ["app.meanwhile"]


async def test_short_lived_credentials_are_renewed_and_a_new_configuration_starts_the_agent_anew(saas, tmp_path):
    agent = Agent(tmp_path / "site", token(saas, single_use=True))
    helper = write_helper(saas, {"configuration": {"site.plan": "silver"}})
    file = agent.identity / "enrolment.json"
    async with provisioner(saas, options=("--validity", "3s", "--helper", helper)), agent.running() as child:
        await agent.wait(is_drained)
        for number in range(3):
            before = json.loads(file.read_text())["grant"]
            await agent.submit(f"app.n{number}")
            if number == 1:
                write_helper(saas, {"configuration": {"site.plan": "gold"}})
            with trio.fail_after(30):
                while (after := json.loads(file.read_text())["grant"])["server_jwt"] == before["server_jwt"]:  # noqa: ASYNC110
                    await trio.sleep(0.02)
        assert after["configuration"] == {"site.plan": "gold"}
        await agent.wait(is_drained)
        await child.terminate()
    assert await stored(saas, SUBMISSION) == ["app.n0", "app.n1", "app.n2"]
    assert (await stored(saas, EVENTS)).count("lifecycle.event.startup.server") == 2  # once more, with what is new
    assert json.loads(await saas.mra("verify", "--json"))["complete"]


async def test_a_saas_can_have_a_node_stop_for_good(saas, tmp_path):
    agent = Agent(tmp_path / "site", token(saas))
    helper = write_helper(saas, {"shutdown": True, "msg": "not here"})
    async with provisioner(saas, options=("--helper", helper)), agent.running() as child:
        with trio.fail_after(30):
            assert await child.wait() == 0
    assert "not here" in agent.log.read_text()
    assert ledger(saas) == []


async def test_fifty_nodes_that_start_together_are_all_enrolled(saas, tmp_path):
    text = token(saas, nodes=50)
    async with provisioner(saas):
        async with trio.open_nursery() as nursery:
            for number in range(50):
                node = Node(tmp_path / f"n{number}", f"n{number}", text)
                nursery.start_soon(node.enrol, 90)
        late = Node(tmp_path / "late", "late", text)
        assert "50 of 50" in (await late.ask()).reason
    assert len(ledger(saas)) == 50


async def test_an_agent_that_is_killed_while_it_enrols_goes_on_where_it_was(saas, tmp_path):
    agent = Agent(tmp_path / "site", token(saas, single_use=True))
    async with provisioner(saas):
        for name in ("server.seed", "nats.nkey", "request", "enrolment.json", "nats.creds"):
            async with agent.running() as child:
                with trio.fail_after(30):
                    while not (agent.identity / name).exists() and not (agent.identity / "enrolment.json").exists():
                        await trio.lowlevel.checkpoint()
                await child.kill()
        async with agent.running() as child:
            await agent.wait(is_drained)
            await child.terminate()
    assert len(ledger(saas)) == 1


@pytest.mark.chaos
async def test_a_service_that_is_killed_at_every_step_in_turn_enrols_the_node_in_the_end_and_once(
    saas, tmp_path, monkeypatch
):
    monkeypatch.setattr(exchange, "NONCE_SECONDS", (0.2,) * 50)
    monkeypatch.setattr(exchange, "ANSWER_SECONDS", (0.2,) * 100)
    steps = [f"{when}:{name}" for name in STEPS for when in ("before", "after")]
    steps.remove("after:helper")  # a coroutine: after its call is before its run
    node = Node(tmp_path / "n1", "n1", token(saas, single_use=True))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.enrol, 100)
        for step in steps:
            async with provisioner(saas, "tests.provisioner.dying", step) as child:
                with trio.fail_after(30):
                    assert await child.wait() == -9, step
            assert node.enrolment is None
        async with provisioner(saas):
            with trio.fail_after(30):
                while node.enrolment is None:  # noqa: ASYNC110 - a file tells no event
                    await trio.sleep(0.02)
    (kept,) = ledger(saas)
    assert (kept["identity"], kept["public_key"]) == ("n1", node.keys.identity.public)


async def test_the_commands_say_no_in_one_sentence(saas, tmp_path):
    file = tmp_path / "t.jwt"
    await saas.mra("token", "acme", "-o", str(file), "--single-use", "--identity", "web-*", "--validity", "1h")
    (made,) = json.loads(await saas.mra("token", "ls", "--json"))
    assert (made["customer"], made["max_nodes"], made["used"], made["revoked"]) == ("acme", 1, 0, None)
    assert file.stat().st_mode & 0o777 == 0o600
    await saas.mra("token", "revoke", made["id"])
    (revoked,) = json.loads(await saas.mra("token", "ls", "acme", "--json"))
    assert revoked["revoked"] is not None
    for words, complaint in (
        (("token", "acme", "-o", str(file)), "exists"),
        (("token", "initech", "-o", str(tmp_path / "x")), "There is no customer initech"),
        (("token", "acme", "--single-use", "--nodes", "2", "-o", str(tmp_path / "x")), "give one of them"),
        (("token", "acme", "--identity", "a b", "-o", str(tmp_path / "x")), "cannot be called"),
        (("token", "revoke", "nonsense"), "no id of a token"),
        (("node", "forget", "acme", "n9"), "There is no node n9"),
    ):
        code, out = await saas.fail(*words)
        assert complaint in out
        assert out.count("\n") == 1
        assert code in (1, 2)
