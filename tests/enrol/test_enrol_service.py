"""A node enrols however often it is killed, keeps its enrolment good, and never gets stuck."""

from __future__ import annotations

import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from lab.plugins.authority import Authority
from mra.aio.session import CredentialsRefused
from mra.enrol import enrolment as enrolment_files
from mra.enrol import keys as key_files
from mra.enrol.enrolment import FILE, Standing, judge
from mra.enrol.exchange import credential_of, tls_context
from mra.enrol.keys import load_keys, replace_identity_key
from mra.enrol.service import Enroller
from mra.errors import BadInput, LinkLost
from mra.provisioner import records
from mra.provisioner.helper import HelperAnswer
from mra.provisioner.ledger import connect
from mra.provisioner.opening import DATABASE
from mra.saas.accounts import DEFAULT_LIMITS
from mra.tokens import choria
from mra.tokens.ed25519 import SigningKey
from tests.harness.processes import open_child
from tests.harness.provisioning import Node, Scripted, serving, token
from tests.harness.saas import nats_server
from tests.harness.tenancy import Tenancy, open_tenancy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.lab


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Tenancy]:
    async with open_tenancy(tmp_path, "acme") as running:
        yield running


def nodes(saas: Tenancy) -> list[dict[str, Any]]:
    with closing(connect(saas.path / DATABASE)) as connection:
        return records.nodes(connection)


class Killed(BaseException):
    """The process ends here."""


class Scythe:
    """Ends the node at one of its writes, before or after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at, self.before, self.count = -1, True, 0
        write = key_files.replace_file

        def replace_file(path: Path, content: bytes) -> None:
            number, self.count = self.count, self.count + 1
            if number == self.at and self.before:
                raise Killed
            write(path, content)
            if number == self.at:
                raise Killed

        monkeypatch.setattr(key_files, "replace_file", replace_file)
        monkeypatch.setattr(enrolment_files, "replace_file", replace_file)

    async def reap(self, node: Node, at: int, *, before: bool) -> None:
        self.at, self.before, self.count = at, before, 0
        with pytest.raises(Killed):
            await node.enrol()
        self.at = -1


async def test_a_node_that_is_killed_at_any_of_its_writes_enrols_all_the_same(saas, tmp_path, monkeypatch):
    scythe, helper = Scythe(monkeypatch), Scripted()
    async with serving(saas, helper):
        await Node(tmp_path / "whole", "whole", token(saas)).enrol()
        writes = scythe.count
        assert writes == 6  # two keys, the request, the enrolment, two copies
        for at in range(writes):
            for before in (True, False):
                name = f"n{at}-{before}"
                node, asked = Node(tmp_path / name, name, token(saas, single_use=True)), len(helper.asked)
                await scythe.reap(node, at, before=before)
                enrolment = await node.enrol()
                assert judge(enrolment, load_keys(node.directory), time.time()) is Standing.VALID, name
                # Killed while it made the copies, it had been enrolled; before that, the same request was repeated.
                assert len(helper.asked) - asked == (2 if at > 3 else 1), name
    assert len(nodes(saas)) == 1 + 2 * writes


async def test_a_node_that_lost_a_key_or_its_enrolment_enrols_again(saas, tmp_path):
    node = Node(tmp_path / "n1", "n1", token(saas))
    async with serving(saas):
        before = await node.enrol()
        (node.directory / "nats.nkey").write_text("garbage")
        after = await node.enrol()
        assert after.public_nkey != before.public_nkey
        (node.directory / FILE).write_text("{")
        assert (await node.enrol()).public_key == before.public_key
    assert len(nodes(saas)) == 1


async def test_a_changed_identity_key_is_told_to_the_saas_and_the_old_one_forgotten(saas, tmp_path):
    node = Node(tmp_path / "n1", "n1", token(saas, single_use=True))
    async with serving(saas):
        before = await node.enrol()
        new = replace_identity_key(node.directory)
        assert judge(node.enrolment, new, time.time()) is Standing.MISMATCHED
        after = await node.enrol()
    assert after.public_key == new.identity.public != before.public_key
    assert not (node.directory / "server.seed.previous").exists()
    assert [one["public_key"] for one in nodes(saas)] == [new.identity.public]


def age(node: Node, *, issued: float, expires: float) -> None:
    """Have the kept enrolment be of another time."""
    kept = node.enrolment
    assert kept is not None
    grant = msgspec.structs.replace(kept.grant, issued_at=int(issued), expires=int(expires))
    (node.directory / FILE).write_bytes(msgspec.json.encode(msgspec.structs.replace(kept, grant=grant)))


async def renewed(node: Node, refused: trio.Event | None = None) -> tuple[str, list[str]]:
    """Keep an enrolment until it is another; what it is then, and what was told to have changed."""
    changes: list[str] = []
    event = trio.Event() if refused is None else refused

    async def wait() -> None:
        await event.wait()

    before = (node.directory / FILE).read_bytes()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            keeper = Enroller(node.settings, "1.0.0")
            nursery.start_soon(keeper.keep, wait, lambda after: changes.append(after.grant.role))
            while (node.directory / FILE).read_bytes() == before:  # noqa: ASYNC110 - a file tells no event
                await trio.sleep(0.01)
            while keeper.status.state != "enrolled":  # noqa: ASYNC110 - a moment later
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    kept = node.enrolment
    assert kept is not None
    return kept.grant.server_jwt, changes


@pytest.mark.parametrize(("since", "left"), [(70, 30), (100, -1), (1000, -600)])
async def test_an_enrolment_is_renewed_long_before_its_end_and_long_after(saas, tmp_path, since, left):
    node = Node(tmp_path / "n1", "n1", token(saas))
    async with serving(saas):
        before = await node.enrol()
        node.token_file.unlink()
        age(node, issued=time.time() - since, expires=time.time() + left)
        after, changes = await renewed(node)
    assert after != before.grant.server_jwt
    assert changes == []


async def test_an_enrolment_that_the_saas_refuses_is_renewed_at_once(saas, tmp_path):
    node, refused = Node(tmp_path / "n1", "n1", token(saas)), trio.Event()
    async with serving(saas):
        before = await node.enrol()
        refused.set()
        after, _ = await renewed(node, refused)
    assert after != before.grant.server_jwt


async def test_a_renewal_that_says_something_new_is_told(saas, tmp_path):
    node, helper = Node(tmp_path / "n1", "n1", token(saas, role="tools")), Scripted()
    async with serving(saas, helper):
        await node.enrol()
        age(node, issued=time.time() - 70, expires=time.time() + 30)
        helper.says = HelperAnswer(configuration={"site.plan": "gold"})
        _, changes = await renewed(node)
    assert changes == ["tools"]


async def test_a_token_that_replaces_the_one_before_gives_the_node_another_role(saas, tmp_path):
    node = Node(tmp_path / "n1", "n1", token(saas, role="tools"))
    async with serving(saas):
        await node.enrol()
        node.token_file.write_text(token(saas, role="leader"))
        _, changes = await renewed(node)
    assert changes == ["leader"]
    assert [one["role"] for one in nodes(saas)] == ["leader"]


async def test_a_replaced_token_that_is_no_good_is_tried_once_and_costs_nothing(saas, tmp_path):
    node = Node(tmp_path / "n1", "n1", token(saas, role="tools"))
    async with serving(saas):
        before = await node.enrol()
        node.token_file.write_text(token(saas, role="leader", issuer=SigningKey.generate()))
        _, changes = await renewed(node)
    assert changes == []
    after = node.enrolment
    assert after is not None
    assert after.token != before.token  # so that it is not tried again
    assert after.grant.role == "tools"


async def test_a_node_never_takes_its_records_to_another_customer(saas, tmp_path):
    await saas.mra("customer", "add", "globex")
    node = Node(tmp_path / "n1", "n1", token(saas))
    async with serving(saas):
        await node.enrol()
        await saas.mra("node", "forget", "acme", "n1")
        node.token_file.write_text(token(saas, "globex"))
        enroller = Enroller(node.settings, "1.0.0")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(enroller.enrol)
            with trio.fail_after(20):
                while enroller.status.attempts < 3:  # noqa: ASYNC110 - no event tells of a failed attempt
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    kept = node.enrolment
    assert kept is not None
    assert kept.grant.customer == "acme"
    assert [(one["customer"], one["identity"]) for one in nodes(saas)] == []


async def test_a_node_whose_token_is_replaced_uses_the_new_one(saas, tmp_path):
    node = Node(tmp_path / "n1", "n1", token(saas, now=time.time() - 10 * 86400))
    async with serving(saas), trio.open_nursery() as nursery:
        enroller = Enroller(node.settings, "1.0.0")
        nursery.start_soon(enroller.enrol)
        with trio.fail_after(20):
            while enroller.status.attempts == 0:  # noqa: ASYNC110 - no event tells of a failed attempt
                await trio.sleep(0.01)
            assert "credentials" in str(enroller.status.last_error)
            node.token_file.write_text(token(saas))
    assert node.enrolment is not None


async def test_a_token_that_is_missing_or_garbage_is_waited_for(saas, tmp_path):
    node = Node(tmp_path / "n1", "n1", "garbage")
    enroller = Enroller(node.settings, "1.0.0")
    said = []
    async with serving(saas), trio.open_nursery() as nursery:
        nursery.start_soon(enroller.enrol)
        with trio.fail_after(20):
            for change in (lambda: None, node.token_file.unlink, lambda: node.token_file.write_text(token(saas))):
                attempts = enroller.status.attempts
                change()
                while enroller.status.attempts in (attempts, attempts + 1) and enroller.status.state != "enrolled":  # noqa: ASYNC110
                    await trio.sleep(0.01)
                said.append(enroller.status.last_error)
    assert "no signed token" in str(said[0])
    assert "no provisioning token" in str(said[1])
    assert said[2] is None


async def test_a_server_is_judged_by_the_authority_that_the_token_pins(tmp_path):
    good, bad = Authority.new(tmp_path / "good"), Authority.new(tmp_path / "bad")
    saas = Tenancy(tmp_path)
    certificate = str(good.certificate)
    await saas.mra(
        "init", str(saas.path), "--port", str(saas.port), "--tls-cert", certificate, "--tls-key", certificate,
        "--tls-ca", str(good.ca_file),
    )  # fmt: skip
    saas.registry.add("acme", DEFAULT_LIMITS, time.time())
    saas.url = f"tls://127.0.0.1:{saas.port}"
    await saas.mra("token", "acme", "-o", str(tmp_path / "made.jwt"))
    text = (tmp_path / "made.jwt").read_text()
    assert choria.read(text).extension("ca") == good.ca_file.read_text()
    pinned = tls_context((saas.url,), good.ca_file.read_text())
    misled = Node(tmp_path / "n2", "n2", token(saas, ca=bad.ca_file.read_text()))
    server = [nats_server(), "--config", str(saas.path / "saas.conf")]
    async with open_child(server, saas.log), serving(saas, tls=pinned):
        enrolment = await Node(tmp_path / "n1", "n1", text).enrol()
        with pytest.raises((LinkLost, CredentialsRefused), match=r"(?i)certificate"):
            await misled.ask()
    assert enrolment.ca == good.ca_file.read_text()
    assert enrolment.grant.urls == (saas.url,)


def test_an_authority_that_is_none_is_a_sentence():
    with pytest.raises(BadInput, match="no PEM"):
        tls_context(("tls://s",), "garbage")
    assert tls_context(("nats://s",), "") is None
    assert tls_context(("tls://s",), "") is not None


def test_a_token_without_addresses_is_a_sentence():
    text = choria.mint(
        choria.Provisioning(srv_domain="acme.example"),
        SigningKey.generate(),
        now=time.time(),
        validity=60,
        random=bytes(16),
    )
    with pytest.raises(BadInput, match="SRV domain"):
        credential_of(text)


async def test_an_enrolment_and_a_credential_do_not_show_secrets_when_printed(saas, tmp_path):
    node = Node(tmp_path / "n1", "n1", token(saas))
    async with serving(saas):
        enrolment = await node.enrol()
    shown = repr(enrolment) + repr(credential_of(node.token_file.read_text())) + repr(enrolment.grant)
    for secret in (enrolment.grant.nats_jwt, enrolment.grant.server_jwt, node.token_file.read_text()):
        assert secret not in shown
    assert json.loads((node.directory / FILE).read_text())["grant"]["customer"] == "acme"
