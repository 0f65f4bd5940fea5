"""Customers come, are suspended, denied, limited and removed under a running server, which never restarts."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio

from mra.aio.session import Access, open_session
from mra.cli.saas_access import Reach
from mra.credentials import from_creds
from mra.errors import BadInput, Refused
from mra.saas import claims_api
from mra.saas.directory import Directory
from mra.tokens import creds, nats
from mra.tokens.nkey import KeyPair, Kind
from tests.harness.saas import EVENTS
from tests.harness.tenancy import Tenancy, open_tenancy
from tests.harness.wire import WireError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.harness.wire import Wire

pytestmark = pytest.mark.lab
EVENT = "machine_room.events.lifecycle.x"


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Tenancy]:
    async with open_tenancy(tmp_path, "acme", "globex") as running:
        yield running


async def subjects(saas: Tenancy) -> list[str]:
    async with saas.connect(saas.backend) as backend:
        return [stored.subject for stored in await backend.read_stream(EVENTS)]


async def is_refused(saas: Tenancy, file: Path) -> str:
    with pytest.raises(WireError) as refused:
        async with saas.connect(file):
            pass
    return str(refused.value)


async def is_cut(wire: Wire) -> None:
    with pytest.raises((WireError, trio.BrokenResourceError)):
        await talk_on(wire)


async def talk_on(wire: Wire) -> None:
    with trio.fail_after(10):
        while True:
            await wire.flush()


async def test_a_customer_added_live_stores_under_its_own_id(saas: Tenancy) -> None:
    assert "is added" in await saas.mra("customer", "add", "third")
    async with saas.connect(saas.site("third")) as site:
        await site.store(EVENT, b"{}")
    assert await subjects(saas) == [f"machine_room.events.{saas.customer('third').account}.lifecycle.x"]


async def test_before_there_are_streams_a_customer_is_added_all_the_same(saas: Tenancy) -> None:
    async with saas.connect(saas.backend) as backend:
        await backend.ask("$JS.API.STREAM.DELETE.KV_CONFIG")
    assert "mra saas streams apply" in await saas.mra("customer", "add", "third")
    await saas.mra("streams", "apply")
    await saas.mra("customer", "add", "third")
    assert json.loads(await saas.mra("config", "ls", "third", "--json"))["keys"] == {}


async def test_suspending_cuts_and_refuses_until_it_is_resumed(saas: Tenancy) -> None:
    async with saas.connect(saas.site("acme")) as acme, saas.connect(saas.site("globex")) as globex:
        await saas.mra("customer", "suspend", "acme")
        await is_cut(acme)
        assert "connections exceeded" in await is_refused(saas, saas.site("acme"))
        await globex.store(EVENT, b"undisturbed")
    with pytest.raises(Refused, match="suspended"):
        saas.site("acme", "n2")
    await saas.mra("customer", "resume", "acme")
    async with saas.connect(saas.site("acme")) as acme:
        await acme.store(EVENT, b"again")
    assert len(await subjects(saas)) == 2


async def test_a_suspended_customer_stays_so_when_the_server_restarts(saas: Tenancy) -> None:
    file = saas.site("acme")
    await saas.mra("customer", "suspend", "acme")
    await saas.stop()
    await saas.start()
    await is_refused(saas, file)
    async with saas.connect(saas.site("globex")) as globex:
        await globex.store(EVENT, b"{}")


async def test_denying_a_node_cuts_it_and_leaves_its_neighbour(saas: Tenancy) -> None:
    async with saas.connect(saas.site("acme", "n1")) as n1, saas.connect(saas.site("acme", "n2")) as n2:
        await saas.mra("customer", "deny", "acme", "--node", "n1")
        await is_cut(n1)
        await n2.store(EVENT, b"{}")
    assert await is_refused(saas, saas.site("acme", "n1")) == "Authorization Violation"
    with pytest.raises(Refused, match="denied"):
        saas.registry.issue("acme", "n1", KeyPair.generate(Kind.USER).public, now=time.time(), expires=None)
    await saas.mra("customer", "allow", "acme", "--node", "n1")
    async with saas.connect(saas.site("acme", "n1")) as n1:
        await n1.store(EVENT, b"{}")


async def test_denying_a_key_refuses_it_whatever_token_it_shows(saas: Tenancy) -> None:
    key = creds.parse(saas.site("acme").read_text()).key
    await saas.mra("customer", "deny", "acme", "--key", key.public)
    await is_refused(saas, saas.site("acme"))
    with pytest.raises(Refused, match="denied"):
        saas.registry.issue("acme", "other", key.public, now=time.time(), expires=None)


async def test_more_denials_than_fit_into_the_claims_are_refused_and_the_account_stays(saas: Tenancy) -> None:
    many = tuple(KeyPair.generate(Kind.USER).public for _ in range(4000))
    saas.registry.change("acme", lambda one: msgspec.structs.replace(one, denied_users=many))
    code, sentence = await saas.fail("customer", "push")
    assert (code, sentence.count("\n"), "at most" in sentence) == (1, 1, True)
    async with saas.connect(saas.site("acme")) as site:
        await site.store(EVENT, b"{}")


async def test_a_lower_limit_cuts_the_connections_beyond_it(saas: Tenancy) -> None:
    async with saas.connect(saas.site("acme", "n1")), saas.connect(saas.site("acme", "n2")):
        await saas.mra("customer", "limit", "acme", "--connections", "1")
        with trio.fail_after(10):
            while True:
                try:
                    async with saas.connect(saas.site("acme", "n3")):
                        pytest.fail("a third connection got in")
                except WireError:
                    break
    assert saas.customer("acme").limits.payload == 1024 * 1024  # what was not named stays


async def test_a_removed_customer_never_returns_and_its_name_may_be_used_again(saas: Tenancy) -> None:
    old, account = saas.site("acme"), saas.customer("acme").account
    async with saas.connect(old) as acme:
        await acme.store(EVENT, b"{}")
        await saas.mra("customer", "remove", "acme", "--force")
        await is_cut(acme)
    await is_refused(saas, old)
    await saas.mra("customer", "add", "acme")
    assert saas.customer("acme").account != account
    await is_refused(saas, old)
    assert await subjects(saas) == [f"machine_room.events.{account}.lifecycle.x"]
    assert saas.registry.names()[account] == "acme (removed)"


async def test_purging_with_the_removal_leaves_the_others_rows(saas: Tenancy) -> None:
    for customer in ("acme", "globex"):
        async with saas.connect(saas.site(customer)) as site:
            await site.store(EVENT, b"{}")
    await saas.mra("customer", "remove", "acme", "--force", "--purge")
    assert await subjects(saas) == [f"machine_room.events.{saas.customer('globex').account}.lifecycle.x"]


async def test_a_server_that_lost_its_accounts_learns_them_again(saas: Tenancy) -> None:
    file = saas.site("acme")
    await saas.stop()
    for account in (saas.path / "jwt").glob("*.jwt"):
        account.unlink()
    await saas.start()
    await is_refused(saas, file)
    await saas.mra("customer", "push")
    async with saas.connect(file) as site:
        await site.store(EVENT, b"{}")


async def test_without_the_server_a_decision_stands_and_repeating_it_makes_the_server_follow(saas: Tenancy) -> None:
    file = saas.site("acme")
    await saas.stop()
    code, sentence = await saas.fail("customer", "suspend", "acme")
    assert (code, sentence.count("\n")) == (75, 1)
    assert saas.customer("acme").suspended
    await saas.start()
    await saas.mra("customer", "suspend", "acme")
    await is_refused(saas, file)


async def test_customers_are_listed_for_people_and_programs(saas: Tenancy) -> None:
    await saas.mra("customer", "suspend", "globex")
    found = json.loads(await saas.mra("customer", "ls", "--json"))
    assert [(one["name"], one["suspended"], one["limits"]["connections"]) for one in found] == [
        ("acme", False, 500), ("globex", True, 500),
    ]  # fmt: skip
    assert saas.customer("acme").account in await saas.mra("customer", "ls")


async def test_wrong_names_are_one_sentence(saas: Tenancy) -> None:
    for words, code in (
        (("add", "a.b"), 2), (("add", "*"), 2), (("add", saas.customer("acme").account), 2),
        (("add", "acme", "--connections", "7"), 1), (("suspend", "nobody"), 1), (("deny", "acme"), 2),
        (("deny", "acme", "--node", "*"), 2), (("deny", "acme", "--key", "UABC"), 1),
        (("credentials", "acme", "*", "-o", "x"), 2),
    ):  # fmt: skip
        found, sentence = await saas.fail("customer", *words)
        assert (found, sentence.count("\n")) == (code, 1), (words, sentence)
    with pytest.raises(BadInput):
        saas.site("acme", "a*")


async def test_config_governors_and_verify_take_names(saas: Tenancy, tmp_path: Path) -> None:
    value = tmp_path / "value"
    value.write_text("1")
    await saas.mra("config", "put", "acme", "limits", str(value))
    assert await saas.mra("config", "get", "acme", "limits") == "1"
    await saas.mra("governors", "set", "acme", "REFILL", "--slots", "2")
    assert json.loads(await saas.mra("governors", "ls", "--json"))[0]["customer"] == "acme"
    assert json.loads(await saas.mra("verify", "--customer", "acme", "--json"))["complete"] is True
    assert "no customer" in (await saas.fail("config", "ls", "nobody"))[1]
    async with saas.connect(saas.site("acme")) as site:
        account = saas.customer("acme").account
        answer = await site.request(f"machine_room.api.DIRECT.GET.KV_CONFIG.$KV.CONFIG.{account}.limits")
        assert answer.body == b"1"
        assert (await site.request("machine_room.read.governors.REFILL.capacity")).status is None


async def test_an_agents_session_connects_with_a_token_that_is_read_again(saas: Tenancy) -> None:
    file = saas.site("acme")
    found = from_creds(file)
    access = Access((saas.url,), "n1", user_jwt=found.user_jwt, sign=found.sign)
    async with open_session(access) as session:
        assert b'"seq":1' in (await session.request(EVENT, b"{}", patience=5)).body
    key = creds.parse(file.read_text()).key
    token = saas.registry.issue("acme", "n1", key.public, now=time.time(), expires=int(time.time()) + 3600)
    file.write_text(creds.compose(token, key))
    assert nats.decode(found.user_jwt()).expires
    async with open_session(access) as session:
        assert b'"seq":2' in (await session.request(EVENT, b"{}", patience=5)).body


async def test_a_signing_key_of_the_operator_that_leaked_can_be_replaced(saas: Tenancy) -> None:
    file, leaked = saas.site("acme"), Directory(saas.path).operator_signer()
    Directory(saas.path).key_file("operator-signing").unlink()
    await saas.mra("init", str(saas.path))
    await saas.stop()
    await saas.start()
    await is_refused(saas, file)  # its account still shows the old key's signature
    await saas.mra("customer", "push")
    async with saas.connect(file) as site:
        await site.store(EVENT, b"{}")
    account = saas.registry.claims(saas.customer("acme"))
    async with open_session(Reach(home=saas.path).system()) as session:
        await claims_api.push(session, account, leaked, time.time())  # the server takes it, and does not follow
    async with saas.connect(file) as site:
        await site.store(EVENT, b"{}")
