"""What a node can do that is not enrolled yet: ask in its own name, and nothing else."""

from __future__ import annotations

import base64
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from mra.credentials import from_creds
from mra.enrol import messages
from mra.enrol.sealing import Reader
from mra.enrol.shapes import Statement
from mra.tokens import choria
from mra.tokens.ed25519 import SigningKey
from mra.tokens.nkey import KeyPair, Kind
from tests.harness.protocol import encode
from tests.harness.provisioning import Node, Scripted, serving, token
from tests.harness.tenancy import Tenancy, open_tenancy
from tests.harness.wire import Wire, WireError, open_proven_wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.harness.protocol import Info

pytestmark = pytest.mark.lab


class Intruder:
    """Someone with a good token and a client of his own."""

    def __init__(self, saas: Tenancy, text: str) -> None:
        self.saas = saas
        self.token = text
        self.key = KeyPair.generate(Kind.USER)

    @property
    def subject(self) -> str:
        return f"mra.enrol.{self.key.public}"

    @asynccontextmanager
    async def connect(self, **changes: Any) -> AsyncIterator[Wire]:
        def prove(info: Info) -> dict[str, Any]:
            signature = base64.b64encode(self.key.sign(info.options["nonce"].encode())).decode()
            return {"auth_token": self.token, "nkey": self.key.public, "sig": signature} | changes

        async with open_proven_wire(self.saas.port, prove, inbox=f"_INBOX.{self.key.public}") as wire:
            yield wire

    async def say(self, wire: Wire, body: bytes) -> dict[str, Any]:
        """Send to the service and return its answer, which is one in the clear."""
        answer: dict[str, Any] = json.loads((await wire.request(self.subject, body)).body)
        return answer

    async def nonce(self, wire: Wire) -> str:
        return str((await self.say(wire, messages.ask_challenge()))["nonce"])


async def publish(wire: Wire, subject: str, body: bytes, reply: str) -> None:
    """Publish with a reply subject of one's choice."""
    await wire._stream.send_all(encode(subject, body, {}, reply))


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Tenancy]:
    async with open_tenancy(tmp_path, "acme", "globex") as running, serving(running, Scripted()):
        yield running


@pytest.fixture
def intruder(saas: Tenancy) -> Intruder:
    return Intruder(saas, token(saas, "globex"))


OTHERS = (
    ">", "*", "mra.enrol.>", "mra.enrol.*", "_INBOX.>", "_INBOX.provisioner.>", "_INBOX.saas-tool.>", "$SYS.>",
    "$SYS.REQ.USER.AUTH", "$SYS.ACCOUNT.>", "machine_room.>",
)  # fmt: skip
FOREIGN = (
    "mra.enrol", "mra.enrol.UOTHER", "_INBOX.UOTHER.1", "$SYS.REQ.USER.AUTH", "$SYS.REQ.CLAIMS.UPDATE",
    "machine_room.events.x", "$JS.API.INFO", "provisioner",
)  # fmt: skip
FORBIDDEN = re.compile("permissions violation", re.IGNORECASE)


async def test_it_can_listen_to_nothing_of_others(intruder):
    for subject in OTHERS:
        async with intruder.connect() as wire:
            with pytest.raises(WireError, match=FORBIDDEN):
                await wire.subscribe(subject)


async def test_it_can_publish_nothing_but_its_own_request(intruder):
    for subject in FOREIGN:
        async with intruder.connect() as wire:
            with pytest.raises(WireError, match=FORBIDDEN):
                await wire.request(subject, b"{}")


async def test_a_connection_proves_its_token_and_its_key(intruder):
    for why, changes in {
        "no token": {"auth_token": "no token"},
        "nothing at all": {"auth_token": None},
        "a signature by nobody": {"sig": base64.b64encode(bytes(64)).decode()},
        "no signature": {"sig": None},
        "no key": {"nkey": None},
        "a key that is none": {"nkey": "UNONSENSE"},
    }.items():
        with pytest.raises(WireError, match="Authorization"):
            async with intruder.connect(**changes):
                raise AssertionError(why)


@pytest.mark.parametrize("field", ["user", "name"])
async def test_a_name_that_sounds_important_opens_nothing_more(intruder, field):
    async with intruder.connect(**{field: "provisioner"}) as wire:
        with pytest.raises(WireError, match=FORBIDDEN):
            await wire.subscribe("mra.enrol.>")


async def test_the_key_of_the_service_opens_nothing_without_its_seed(saas, intruder):
    public = from_creds(saas.path / "creds" / "provisioner.creds").public
    with pytest.raises(WireError, match="Authorization"):
        async with intruder.connect(nkey=public) as wire:
            await wire.subscribe(">")


async def test_the_token_of_those_without_one_opens_nothing_either(saas, intruder):
    sentinel = (saas.path / "accounts" / "sentinel.jwt").read_text()
    with pytest.raises(WireError, match="Authorization"):
        async with intruder.connect(jwt=sentinel, auth_token=None) as wire:
            await wire.subscribe(">")


async def test_the_service_sends_no_answer_where_somebody_else_listens(saas, intruder):
    victim = Intruder(saas, token(saas))
    async with victim.connect() as victims, intruder.connect() as wire:
        mine = f"_INBOX.{victim.key.public}.x"
        await victims.subscribe(mine)
        for reply in (mine, victim.subject, "$SYS.REQ.USER.AUTH", f"_INBOX.{intruder.key.public}.>"):
            await publish(wire, intruder.subject, messages.ask_challenge(), reply)
        for _ in range(8):  # more than there are workers: what was sent before has been looked at
            await intruder.nonce(wire)
        assert not [message for message in await victims.heard() if message.subject == mine]


def forged(intruder: Intruder, nonce: str, owner: Node, **changes: Any) -> bytes:
    """A request as `owner` would make it, on the intruder's connection."""
    keys = owner.keys
    said = {
        "nonce": nonce,
        "connection": intruder.key.public,
        "credential": choria.read(intruder.token).id,
        "request": "0" * 32,
        "identity": owner.identity,
        "public_key": keys.identity.public,
        "public_nkey": keys.user.public,
        "reader": Reader().public,
    }
    return messages.make_request(Statement(**(said | changes)), intruder.token, keys.identity, keys.user)


async def test_a_request_that_was_overheard_counts_on_no_other_connection(saas, intruder, tmp_path):
    victim = Intruder(saas, token(saas))
    node = Node(tmp_path / "n1", "n1", victim.token)
    async with victim.connect() as victims, intruder.connect() as wire:
        overheard = forged(victim, await victim.nonce(victims), node)
        own_nonce = forged(intruder, await intruder.nonce(wire), node, connection=victim.key.public)
        other_nonce = forged(intruder, await victim.nonce(victims), node)
        assert "another connection" in (await intruder.say(wire, overheard))["error"]
        assert "another connection" in (await intruder.say(wire, own_nonce))["error"]
        assert "nonce" in (await intruder.say(wire, other_nonce))["error"]


async def test_signatures_of_other_keys_enrol_nobody(saas, intruder, tmp_path):
    node, stranger = Node(tmp_path / "n1", "n1", intruder.token), SigningKey.generate()
    async with intruder.connect() as wire:
        nonce = await intruder.nonce(wire)
        request = json.loads(forged(intruder, nonce, node))
        for changes in ({"by_identity": stranger.sign(b"x").hex()}, {"by_user": "00" * 64}, {"statement": "e30="}):
            assert "error" in await intruder.say(wire, json.dumps(request | changes).encode())
    assert json.loads(await saas.mra("node", "ls", "--json")) == []


async def test_garbage_is_answered_and_disturbs_nobody(saas, intruder, tmp_path):
    async with intruder.connect() as wire:
        for body in (b"", b"{", b"null", b"[" * 10_000, b'{"ask":"enrol"}', b'{"ask":"dance"}', bytes(range(256)) * 50):
            await publish(wire, intruder.subject, body, f"_INBOX.{intruder.key.public}.x")
        assert (await Node(tmp_path / "n1", "n1", token(saas)).ask()).outcome == "enrolled"
