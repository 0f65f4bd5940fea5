"""A customer against the others, with everything its own credentials allow: each attempt is refused, and counted.

Every attempt is made twice: by a node, which the template of its account binds, and by a user of the same account that
nothing binds. The second is never handed out; it shows that accounts keep customers apart, not only permissions.
"""

from __future__ import annotations

import base64
import json
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trio

from mra.aio.session import Access, open_session
from mra.cli.saas_access import Reach
from mra.credentials import from_creds
from mra.errors import BadInput
from mra.outbox.outbox import open_outbox
from mra.outbox.policy import OutboxSettings
from mra.outbox.record import Draft, Lane
from mra.saas import accounts, claims_api
from mra.saas.directory import Directory
from mra.tokens import claims, creds, nats
from mra.tokens.nkey import KeyPair, Kind
from mra.uplink.service import LinkStatus, UplinkSettings, run_uplink
from tests.harness.saas import EVENTS, NODES, SUBMISSION
from tests.harness.tenancy import Tenancy, open_tenancy
from tests.harness.wire import NoResponders, Part, Wire, WireError, open_proven_wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from mra.tokens.nats import Claims

pytestmark = pytest.mark.lab
BUCKET, GOVERNORS = "KV_CONFIG", "MACHINE_ROOM_GOVERNORS"
STREAMS = (EVENTS, NODES, SUBMISSION, BUCKET, GOVERNORS)


SILENT_SECONDS = 1


class Attempt(NamedTuple):
    """One message of the attacker. With `reply` the server is made to answer there, and nobody waits for it."""

    subject: str
    body: bytes = b""
    headers: Mapping[str, str] = {}
    reply: str = ""


@dataclass
class Scene:
    """Victim `acme`, attacker `mallory`, and who the attacker is at the moment."""

    saas: Tenancy
    victim: str = ""
    own: str = ""
    attacker: Path | None = None
    refused: list[str] = field(default_factory=list)

    async def attempt(self, attempt: Attempt) -> None:
        """Fails unless the server refuses, in whichever of its ways."""
        verdict = await self._outcome(attempt)
        assert verdict, f"{attempt} was answered"
        self.refused.append(f"{attempt.subject}: {verdict}")

    async def _outcome(self, attempt: Attempt) -> str:
        assert self.attacker is not None
        try:
            async with self.saas.connect(self.attacker, inbox="_INBOX.n1") as wire:
                with trio.fail_after(SILENT_SECONDS if attempt.subject.startswith("$JS.API.CONSUMER") else 20):
                    answer = await wire.request(attempt.subject, attempt.body, attempt.headers)
        except trio.TooSlowError:
            return "silence"  # how an account without JetStream meets requests about consumers
        except NoResponders:
            return "nobody answers"
        except WireError as error:
            return str(error)
        if answer.status is not None:
            return f"status {answer.status}"
        error = json.loads(answer.body or b"{}").get("error")
        return str(error.get("description", error)) if error else ""

    async def tells(self, subject: str) -> str:
        """What the server says to a user about its own account; empty where it says nothing."""
        assert self.attacker is not None
        try:
            async with self.saas.connect(self.attacker, inbox="_INBOX.n1") as wire:
                return (await wire.request(subject)).body.decode()
        except WireError:
            return ""

    async def misdirect(self, attempt: Attempt) -> None:
        """Have the answer to an allowed request sent elsewhere; what comes of it shows in `others`."""
        assert self.attacker is not None
        try:
            async with self.saas.connect(self.attacker, inbox="_INBOX.n1") as wire:
                await wire.publish(attempt.subject, attempt.body, attempt.headers, reply=attempt.reply)
                await wire.flush()
        except WireError as error:
            self.refused.append(f"{attempt.reply}: {error}")

    async def others(self) -> dict[str, Any]:
        """Everything that is not the attacker's: configurations of the streams, and messages without its id."""
        found: dict[str, Any] = {}
        async with self.saas.connect(self.saas.backend) as backend:
            found["streams"] = (await backend.ask("$JS.API.STREAM.NAMES"))["streams"]
            for stream in STREAMS:
                info = await backend.stream_info(stream)
                found[stream] = {key: value for key, value in info["config"].items() if key != "metadata"}
                found[f"{stream} holds"] = [
                    (one.sequence, one.subject, one.body, dict(one.headers))
                    for one in await backend.read_stream(stream)
                    if self.own not in one.subject.split(".")
                ]
                found[f"{stream} consumers"] = info["state"]["consumer_count"]
        return found


def checkpoint(node: str = "n1") -> list[Part]:
    row = Part("machine_room.events.lifecycle.x", b"a row", {})
    headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
    return [row, Part(f"machine_room.events.checkpoint.{node}-events", b"{}", headers)]


async def unbound(saas: Tenancy, name: str) -> Path:
    """A user of a customer's account that no template binds, as a careless vendor might make it."""
    key, signer = KeyPair.generate(Kind.USER), KeyPair.generate(Kind.ACCOUNT)
    account = saas.registry.claims(saas.customer(name))
    open_key = {**account.nats, "signing_keys": [*account.nats["signing_keys"], signer.public]}
    await push(saas, claims_of(account, open_key))
    token = nats.encode(claims.user("n1", key.public, account=account.subject), signer, time.time())
    file = saas.path.parent / "unbound-n1.creds"
    file.write_text(creds.compose(token, key))
    return file


def claims_of(account: Claims, nats_: Mapping[str, Any]) -> Claims:
    return nats.Claims(account.type, account.subject, nats_, account.name)


async def push(saas: Tenancy, account: Claims) -> None:
    async with open_session(Reach(home=saas.path).system()) as session:
        await claims_api.push(session, account, Directory(saas.path).operator_signer(), time.time())


@pytest.fixture(params=["a node", "a user that nothing binds"])
async def scene(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with open_tenancy(tmp_path, "acme", "mallory") as saas:
        found = Scene(saas, saas.customer("acme").account, saas.customer("mallory").account)
        value = tmp_path / "value"
        value.write_text("desired")
        for customer in ("acme", "mallory"):
            await saas.mra("config", "put", customer, "limits", str(value))
            await saas.mra("governors", "set", customer, "REFILL", "--slots", "2")
            async with saas.connect(saas.site(customer)) as site:
                await site.store_batch(checkpoint())
                await site.store("machine_room.nodes.n1", b"{}")
                await site.store("machine_room.submit.app", b"{}")
        found.attacker = saas.site("mallory") if request.param == "a node" else await unbound(saas, "mallory")
        yield found


KINDS = {"events": EVENTS, "nodes": NODES, "submit": SUBMISSION}


async def test_what_is_published_in_anothers_name_is_stored_under_the_own(scene: Scene) -> None:
    before = await scene.others()
    assert scene.attacker is not None
    async with scene.saas.connect(scene.attacker, inbox="_INBOX.n1") as wire:
        for kind in KINDS:
            await wire.store(f"machine_room.{kind}.{scene.victim}.lifecycle.x", b"forged")
            await wire.store(f"machine_room.{kind}.{scene.victim}.checkpoint.n1-{kind}", b"forged")
    assert await scene.others() == before
    async with scene.saas.connect(scene.saas.backend) as backend:
        forged = [
            one.subject for kind in KINDS.values() for one in await backend.read_stream(kind) if one.body == b"forged"
        ]
    assert len(forged) == 6
    assert all(subject.split(".")[2:4] == [scene.own, scene.victim] for subject in forged)


async def test_an_answer_sent_to_another_place_does_nothing_there(scene: Scene) -> None:
    before = await scene.others()
    own_key = f"machine_room.api.DIRECT.GET.KV_CONFIG.$KV.CONFIG.{scene.own}"
    requests = ["machine_room.events.lifecycle.x", "machine_room.checkpoint.events.n1-events", f"{own_key}.limits",
                f"{own_key}.absent"]  # fmt: skip
    replies = [
        f"machine_room.events.{scene.victim}.lifecycle.x", f"machine_room.events.{scene.victim}.checkpoint.n1-events",
        f"$KV.CONFIG.{scene.victim}.limits", f"$KV.CONFIG.{scene.victim}.index",
        f"machine_room.config.{scene.victim}.limits", f"machine_room.governors.{scene.victim}.REFILL.capacity",
        *(f"$JS.API.STREAM.{verb}.{stream}" for verb in ("PURGE", "DELETE") for stream in STREAMS),
        f"$JS.ACK.{EVENTS}.c.1.1.1.1.1", "_R_.forged", "_INBOX.n1.x", "$SYS.REQ.CLAIMS.LIST",
    ]  # fmt: skip
    async with scene.saas.connect(scene.saas.site("acme")) as victim:
        for subject in requests:
            for reply in replies:
                await scene.misdirect(Attempt(subject, b"{}", reply=reply))
        assert await victim.heard() == []
    assert await scene.others() == before


async def test_anothers_keys_rows_and_checkpoints_cannot_be_read(scene: Scene) -> None:
    before = await scene.others()
    key, rows = f"$KV.CONFIG.{scene.victim}.limits", f"machine_room.events.{scene.victim}"
    own = f"machine_room.api.DIRECT.GET.{BUCKET}.$KV.CONFIG.{scene.own}.limits"
    bodies: list[dict[str, Any]] = [
        {"last_by_subj": key}, {"seq": 1}, {"multi_last": [key]}, {"seq": 1, "batch": 10, "next_by_subj": ">"},
    ]  # fmt: skip
    attempts = [
        *(Attempt(f"{prefix}.DIRECT.GET.{BUCKET}.{key}") for prefix in ("machine_room.api", "$JS.API")),
        *(Attempt(f"{prefix}.DIRECT.GET.{BUCKET}.$KV.CONFIG.*.limits") for prefix in ("machine_room.api", "$JS.API")),
        *(Attempt(own, json.dumps(body).encode()) for body in bodies),
        *(Attempt(f"$JS.API.DIRECT.GET.{stream}", json.dumps(body).encode()) for stream in STREAMS for body in bodies),
        *(Attempt(f"machine_room.api.DIRECT.GET.{stream}", b'{"seq":1}') for stream in STREAMS),
        *(Attempt(f"$JS.API.STREAM.MSG.GET.{stream}", b'{"seq":1}') for stream in STREAMS),
        Attempt(f"machine_room.api.STREAM.INFO.{BUCKET}", b'{"subjects_filter":">"}'),
        Attempt(f"$JS.API.STREAM.INFO.{BUCKET}", b'{"subjects_filter":">"}'),
        Attempt(f"$JS.API.DIRECT.GET.{EVENTS}.{rows}.checkpoint.n1-events"),
        Attempt(f"machine_room.checkpoint.events.{scene.victim}.checkpoint.n1-events"),
        Attempt(f"machine_room.read.governors.{scene.victim}.REFILL.capacity"),
        Attempt("$JS.API.STREAM.NAMES"), Attempt("$JS.API.STREAM.LIST"), Attempt("$JS.API.INFO"),
    ]  # fmt: skip
    for attempt in attempts:
        await scene.attempt(attempt)
    assert len(scene.refused) == len(attempts)
    assert await scene.others() == before


async def test_no_consumer_can_be_made_found_or_used(scene: Scene) -> None:
    before = await scene.others()
    config = {"stream_name": BUCKET, "config": {"deliver_subject": "_INBOX.n1.x", "ack_policy": "none"}}
    durable = {"stream_name": EVENTS, "config": {"durable_name": "c", "ack_policy": "none"}}
    attempts = [
        Attempt(f"$JS.API.CONSUMER.CREATE.{BUCKET}", json.dumps(config).encode()),
        Attempt(f"$JS.API.CONSUMER.CREATE.{BUCKET}.c.$KV.CONFIG.{scene.victim}.>", json.dumps(config).encode()),
        Attempt(f"$JS.API.CONSUMER.DURABLE.CREATE.{EVENTS}.c", json.dumps(durable).encode()),
        Attempt(f"machine_room.api.CONSUMER.CREATE.{BUCKET}", json.dumps(config).encode()),
        Attempt(f"$JS.API.CONSUMER.MSG.NEXT.{EVENTS}.c", b"1"),
        *(Attempt(f"$JS.API.CONSUMER.{verb}.{EVENTS}.c") for verb in ("INFO", "DELETE", "NAMES")),
    ]
    for attempt in attempts:
        await scene.attempt(attempt)
    assert len(scene.refused) == len(attempts)
    assert await scene.others() == before


async def test_nothing_of_another_can_be_changed_purged_or_deleted(scene: Scene) -> None:
    before = await scene.others()
    stream = json.dumps({"name": "MINE", "subjects": [f"machine_room.events.{scene.victim}.>"]}).encode()
    mirror = json.dumps({"name": "MINE", "mirror": {"name": EVENTS}}).encode()
    attempts = [
        *(Attempt(f"$JS.API.STREAM.{verb}.{name}") for verb in ("PURGE", "DELETE") for name in STREAMS),
        *(Attempt(f"machine_room.api.STREAM.{verb}.{name}") for verb in ("PURGE", "DELETE") for name in STREAMS),
        *(Attempt(f"$JS.API.STREAM.MSG.DELETE.{name}", b'{"seq":1}') for name in STREAMS),
        Attempt("$JS.API.STREAM.CREATE.MINE", stream), Attempt("$JS.API.STREAM.CREATE.MINE", mirror),
        Attempt(f"$JS.API.STREAM.UPDATE.{EVENTS}", json.dumps({"name": EVENTS, "max_msgs": 1}).encode()),
        Attempt(f"$JS.API.STREAM.SNAPSHOT.{EVENTS}", b'{"deliver_subject":"_INBOX.n1.x"}'),
        *(Attempt(f"$KV.CONFIG.{customer}.limits", b"forged") for customer in (scene.victim, scene.own)),
        Attempt(f"$KV.CONFIG.{scene.victim}.limits", b"", {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}),
        Attempt(f"machine_room.config.{scene.victim}.limits", b"forged"),
        Attempt(f"machine_room.governors.{scene.victim}.REFILL.slot.0", b"{}"),
        *(Attempt(f"machine_room.governors.{name}.capacity", b"{}") for name in ("REFILL", f"{scene.victim}.REFILL")),
    ]  # fmt: skip
    for attempt in attempts:
        await scene.attempt(attempt)
    assert len(scene.refused) == len(attempts)
    assert await scene.others() == before


async def test_headers_that_act_beyond_the_message_are_refused(scene: Scene) -> None:
    before = await scene.others()
    attempts = [
        Attempt("machine_room.events.x", b"", headers)
        for headers in (
            {"Nats-Rollup": "all"}, {"Nats-Rollup": "sub"}, {"Nats-Incr": "+1"},
            {"Nats-Schedule": "@at 2030-01-01T00:00:00Z", "Nats-Schedule-Target": f"machine_room.{scene.victim}.x"},
            {"Nats-Expected-Stream": NODES}, {"Nats-Expected-Last-Sequence": "7777"},
        )
    ]  # fmt: skip
    for attempt in attempts:
        await scene.attempt(attempt)
    assert len(scene.refused) == len(attempts)
    assert await scene.others() == before


async def test_only_the_own_messages_are_heard(scene: Scene, tmp_path: Path) -> None:
    assert scene.attacker is not None
    is_bound = scene.attacker == scene.saas.site("mallory")
    listens = [
        ">", "*.>", "_INBOX.>", "_INBOX.*.>", "_INBOX.n2.>", "_R_.>", "$SYS.>", "$KV.>", "$JS.>", "machine_room.>",
        "machine_room.events.>", f"machine_room.events.{scene.victim}.>", "$SYS.REQ.USER.AUTH",
    ]  # fmt: skip
    async with AsyncExitStack() as stack:
        wires: list[Wire] = []
        for subject in listens:
            wire = await stack.enter_async_context(scene.saas.connect(scene.attacker, inbox="_INBOX.n1"))
            try:
                await wire.subscribe(subject)
            except WireError as error:
                scene.refused.append(f"{subject}: {error}")
            else:
                wires.append(wire)
        feed = await stack.enter_async_context(scene.saas.connect(scene.attacker, inbox="_INBOX.n1"))
        await feed.subscribe("machine_room.config.>")
        await _busy_victim(scene, tmp_path)
        heard = [message.subject for wire in (*wires, feed) for message in await wire.heard()]
    assert len(scene.refused) == (len(listens) if is_bound else 0)
    assert not [subject for subject in heard if scene.victim in subject]
    assert not [subject for subject in heard if subject.startswith(("machine_room.", "$KV", "$SYS.REQ.USER"))]


async def _busy_victim(scene: Scene, folder: Path) -> None:
    """The victim does all that it can, and so does the vendor for it."""
    value = folder / "value"
    value.write_text("changed")
    await scene.saas.mra("config", "put", "acme", "limits", str(value))
    async with scene.saas.connect(scene.saas.site("acme")) as victim:
        await victim.store("machine_room.events.lifecycle.x", b"{}")
        await victim.request("machine_room.checkpoint.events.n1-events")
        await victim.request(f"machine_room.api.DIRECT.GET.KV_CONFIG.$KV.CONFIG.{scene.victim}.limits")


async def test_the_servers_own_subjects_do_not_answer(scene: Scene) -> None:
    before = await scene.others()
    token = nats.encode(
        accounts.customer("mallory", scene.own, KeyPair.generate(Kind.ACCOUNT).public, backend=scene.victim),
        KeyPair.generate(Kind.OPERATOR), time.time(),
    )  # fmt: skip
    attempts = [
        Attempt("$SYS.REQ.CLAIMS.UPDATE", token.encode()), Attempt("$SYS.REQ.CLAIMS.DELETE", b"{}"),
        Attempt("$SYS.REQ.CLAIMS.LIST"), Attempt("$SYS.REQ.CLAIMS.PACK"), Attempt("$SYS.REQ.SERVER.PING"),
        *(Attempt(f"$SYS.REQ.SERVER.PING.{what}") for what in ("ACCOUNTZ", "JSZ", "VARZ", "ROUTEZ")),
        *(Attempt(f"$SYS.REQ.ACCOUNT.{scene.victim}.{what}") for what in ("CONNZ", "INFO", "CLAIMS.LOOKUP", "JSZ")),
        Attempt("$SYS.REQ.USER.AUTH", b"forged"),
    ]  # fmt: skip
    for attempt in attempts:
        await scene.attempt(attempt)
    assert len(scene.refused) == len(attempts)
    assert await scene.others() == before
    for subject in ("$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.PING.SUBSZ", "$SYS.REQ.USER.INFO"):
        assert scene.victim not in await scene.tells(subject)
    assert scene.victim in {one.account for one in scene.saas.registry.all()}


# --- who one is ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Tenancy]:
    async with open_tenancy(tmp_path, "acme", "mallory") as running:
        yield running


async def lets_in(saas: Tenancy, token: str, key: KeyPair) -> bool:
    def prove(info: Any) -> dict[str, str]:
        return {"jwt": token, "sig": base64.b64encode(key.sign(info.options["nonce"].encode())).decode()}

    try:
        async with open_proven_wire(saas.port, prove, inbox="_INBOX.n1"):
            return True
    except WireError:
        return False


async def test_no_token_that_a_customer_can_make_lets_it_in_as_another(saas: Tenancy) -> None:
    mallory = creds.parse(saas.site("mallory").read_text())
    acme = creds.parse(saas.site("acme").read_text())
    victim, own = saas.customer("acme"), saas.customer("mallory")
    stranger, now = KeyPair.generate(Kind.ACCOUNT), time.time()
    head, body, signature = mallory.token.split(".")
    said = json.loads(base64.urlsafe_b64decode(body + "=="))
    said["nats"]["issuer_account"] = victim.account
    moved = base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode()
    none = base64.urlsafe_b64encode(b'{"typ":"JWT","alg":"none"}').rstrip(b"=").decode()
    forged = {
        "another's token without its key": acme.token,
        "signed by a key of the own making": nats.encode(
            claims.scoped_user("n1", mallory.key.public, account=victim.account), stranger, now
        ),
        "an account of the own making": nats.encode(claims.user("n1", mallory.key.public), stranger, now),
        "the own token moved to another account": f"{head}.{moved}.{signature}",
        "the same without signature": f"{none}.{moved}.",
        "no token": "",
        "rubbish": "a.b.c",
    }
    assert await lets_in(saas, mallory.token, mallory.key)
    entered: dict[str, bool] = {}

    async def try_to_enter(name: str) -> None:
        entered[name] = await lets_in(saas, forged[name], mallory.key)

    async with trio.open_nursery() as nursery:  # the server takes two seconds for an account that it does not know
        for name in forged:
            nursery.start_soon(try_to_enter, name)
    assert entered == dict.fromkeys(forged, False)
    signer = Directory(saas.path).path / "customers" / "mallory" / "signing.seed"
    key = KeyPair.from_seed(signer.read_text())  # even with the key that signs its nodes
    for token in (
        nats.encode(claims.scoped_user("n1", mallory.key.public, account=victim.account), key, now),
        nats.encode(claims.user("n1", mallory.key.public, account=own.account), key, now),  # unbound
    ):
        assert not await lets_in(saas, token, mallory.key)


async def test_nobody_gets_a_token_for_a_name_that_is_a_wildcard(saas: Tenancy) -> None:
    public = KeyPair.generate(Kind.USER).public
    for name in ("*", ">", "a.b", "", "n1 ", "n\n", "é", "a" * 65, "{{name()}}"):
        with pytest.raises(BadInput, match="is no name of a node"):
            saas.registry.issue("mallory", name, public, now=time.time(), expires=None)


async def test_a_node_cannot_hear_its_neighbours_answers(saas: Tenancy) -> None:
    for subject in ("_INBOX.>", "_INBOX.*.>", "_INBOX.n2.>"):
        async with saas.connect(saas.site("mallory", "n1")) as n1:
            with pytest.raises(WireError, match="Permissions Violation"):
                await n1.subscribe(subject)


# --- how much one may use -----------------------------------------------------------------------------------------


async def test_connections_beyond_the_limit_are_refused_and_others_get_in(saas: Tenancy) -> None:
    await saas.mra("customer", "limit", "mallory", "--connections", "5")
    refused = 0
    async with AsyncExitStack() as stack:
        for number in range(20):
            try:
                await stack.enter_async_context(saas.connect(saas.site("mallory", f"n{number}")))
            except WireError:
                refused += 1
        async with saas.connect(saas.site("acme")) as acme:
            await acme.store("machine_room.events.lifecycle.x", b"undisturbed")
    assert refused == 15


async def test_subscriptions_beyond_the_limit_are_refused(saas: Tenancy) -> None:
    async with saas.connect(saas.site("mallory")) as mallory:
        for number in range(1, accounts.SUBSCRIPTIONS):  # the inbox has taken one
            await mallory.subscribe(f"_INBOX.n1.{number}")
        with pytest.raises(WireError, match="maximum subscriptions exceeded"):
            await mallory.subscribe("_INBOX.n1.x")


async def test_a_message_beyond_the_limit_is_refused_and_not_stored(saas: Tenancy) -> None:
    await saas.mra("customer", "limit", "mallory", "--payload", "4KiB")
    async with saas.connect(saas.site("mallory")) as mallory:
        await mallory.store("machine_room.events.lifecycle.x", bytes(4096))
    with pytest.raises((WireError, trio.BrokenResourceError), match="Maximum Payload"):
        async with saas.connect(saas.site("mallory")) as mallory:
            await mallory.store("machine_room.events.lifecycle.x", bytes(4097))
    async with saas.connect(saas.site("acme")) as acme, saas.connect(saas.backend) as backend:
        await acme.store("machine_room.events.lifecycle.x", bytes(5000))
        assert [len(one.body) for one in await backend.read_stream(EVENTS)] == [4096, 5000]


async def test_a_neighbour_that_holds_every_batch_open_delays_and_costs_nothing(saas: Tenancy, tmp_path: Path) -> None:
    """Open batches are counted for the stream, not for a customer; the server forgets idle ones."""
    await saas.stop()
    file = saas.path / "saas.conf"
    shipped, small = "max_inflight_per_stream: 500", 'max_inflight_per_stream: 20, timeout: "1s"'
    text = file.read_text()
    assert shipped in text
    file.write_text(text.replace(shipped, small))
    await saas.start()
    found = from_creds(saas.site("acme"))
    access = Access((saas.url,), "n1", user_jwt=found.user_jwt, sign=found.sign)
    async with (
        saas.connect(saas.site("mallory")) as mallory,
        open_outbox(tmp_path / "o.db", OutboxSettings()) as outbox,
    ):
        for number in range(60):
            headers = {"Nats-Batch-Id": f"held-{number}", "Nats-Batch-Sequence": "1"}
            await mallory.publish("machine_room.events.x", b"x", headers)
        await mallory.flush()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_uplink, outbox, access, UplinkSettings(), LinkStatus())
            await outbox.append_many([Draft(Lane.EVENTS, "lifecycle.x", b"%d" % number) for number in range(50)])
            with trio.fail_after(60):
                await outbox.wait_empty()
            nursery.cancel_scope.cancel()
        async with saas.connect(saas.backend) as backend:
            stored = [one.body for one in await backend.read_stream(EVENTS) if "lifecycle" in one.subject]
    assert stored == [b"%d" % number for number in range(50)]


# --- what a vendor may get wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [crossing.name for crossing in accounts.CROSSINGS])
async def test_an_account_that_imports_anothers_subject_reaches_nothing(
    saas: Tenancy, name: str, tmp_path: Path
) -> None:
    """The server itself compares the token in the subject with the importing account."""
    crossing = next(one for one in accounts.CROSSINGS if one.name == name)
    victim, own = saas.customer("acme").account, saas.customer("mallory").account
    backend = Directory(saas.path).charter().accounts[accounts.BACKEND]
    account = saas.registry.claims(saas.customer("mallory"))
    wrong = {**crossing.take(victim, backend), "local_subject": crossing.take(own, backend)["local_subject"]}
    imports = [one if one["name"] != name else wrong for one in account.nats["imports"]]
    await push(saas, claims_of(account, {**account.nats, "imports": imports}))
    local = str(wrong["local_subject"]).replace("*", "n1-events").replace(">", "limits")
    async with saas.connect(saas.site("mallory")) as mallory:
        if crossing.kind == "service":
            with pytest.raises(NoResponders):
                await mallory.request(local, b"{}")
        else:
            await mallory.subscribe(str(wrong["local_subject"]))
            value = tmp_path / "value"
            value.write_text("desired")
            await saas.mra("config", "put", "acme", "limits", str(value))
            assert await mallory.heard() == []
    async with saas.connect(saas.backend) as owner:
        assert not any([await owner.read_stream(stream) for stream in (EVENTS, NODES, SUBMISSION)])
