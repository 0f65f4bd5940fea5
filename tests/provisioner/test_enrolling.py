"""Nodes enrol at a SaaS as `mra saas init` makes it, on a stock nats-server."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from mra.aio.session import CredentialsRefused
from mra.enrol import exchange
from mra.enrol.exchange import credential_of
from mra.enrol.keys import NodeKeys, load_or_make_keys
from mra.enrol.service import ShutdownAsked
from mra.errors import Refused, Unavailable
from mra.provisioner import records
from mra.provisioner.helper import HelperAnswer, ServerClaims
from mra.provisioner.ledger import connect
from mra.provisioner.opening import DATABASE
from mra.tokens import choria, nats, servers
from mra.tokens.ed25519 import SigningKey
from tests.harness.provisioning import DAY, Node, Scripted, serving, token
from tests.harness.saas import EVENTS
from tests.harness.tenancy import Tenancy, open_tenancy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.lab
ALWAYS = "0" * 32


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Tenancy]:
    async with open_tenancy(tmp_path, "acme", "globex") as running:
        yield running


def ledger(saas: Tenancy, unit: Any, *values: Any) -> Any:
    with closing(connect(saas.path / DATABASE)) as connection:
        return unit(connection, *values)


def nodes(saas: Tenancy) -> list[tuple[str, str]]:
    return [(node["customer"], node["identity"]) for node in ledger(saas, records.nodes)]


async def test_a_node_enrols_and_its_first_event_arrives_under_its_customer(saas, tmp_path):
    node = Node(tmp_path / "n1", "n1", token(saas, role="tools"))
    helper = Scripted(HelperAnswer(configuration={"site.plan": "gold"}))
    async with serving(saas, helper):
        enrolment = await node.enrol(host={"cpus": 2})
    grant = enrolment.grant
    account = saas.customer("acme").account
    assert (grant.customer, grant.account, grant.role, grant.name) == ("acme", account, "tools", "n1")
    assert (grant.configuration, grant.urls) == ({"site.plan": "gold"}, (saas.url,))
    assert nats.decode(grant.nats_jwt).issuer_account == account
    server = servers.read(grant.server_jwt)
    assert (server.identity, server.customer, server.public_key) == ("n1", "acme", node.keys.identity.public)
    assert '"cpus":2' in helper.asked[0]["inventory"]
    async with saas.connect(node.directory / "nats.creds", inbox="_INBOX.n1") as wire:
        await wire.ask("machine_room.events.lifecycle.x", {})
    async with saas.connect(saas.backend) as wire:
        stored = [message.subject for message in await wire.read_stream(EVENTS)]
    assert stored == [f"machine_room.events.{account}.lifecycle.x"]


async def test_the_same_request_gets_the_same_answer_also_from_a_service_that_was_started_anew(saas, tmp_path):
    node, helper = Node(tmp_path / "n1", "n1", token(saas)), Scripted()
    async with serving(saas, helper):
        one = await node.ask(ALWAYS)
    async with serving(saas, helper):
        two = await node.ask(ALWAYS)
        three = await node.ask("1" * 32)
    assert one.grant is not None
    assert one.grant == two.grant
    assert three.grant != one.grant
    assert len(helper.asked) == 2


async def test_a_single_use_token_enrols_one_node_for_good(saas, tmp_path):
    single = token(saas, single_use=True)
    one, two = Node(tmp_path / "n1", "n1", single), Node(tmp_path / "n2", "n2", single)
    async with serving(saas):
        await one.enrol()
        again = await one.ask()
        refused = await two.ask()
    ledger(saas, records.forget_node, saas.customer("acme").account, "n1", time.time())
    async with serving(saas):
        still_refused = await two.ask()
    assert again.outcome == "enrolled"
    assert (refused.outcome, still_refused.outcome) == ("refused", "refused")
    assert "1 of 1 nodes" in refused.reason
    assert nodes(saas) == []


async def test_a_token_of_a_site_enrols_as_many_nodes_as_it_says_and_only_fitting_ones(saas, tmp_path):
    site = token(saas, nodes=2, identities=["web-*"])
    outcomes = {}
    async with serving(saas):
        for name in ("web-1", "db-1", "web-2", "web-3"):
            outcomes[name] = (await Node(tmp_path / name, name, site).ask()).outcome
    assert outcomes == {"web-1": "enrolled", "db-1": "refused", "web-2": "enrolled", "web-3": "refused"}


async def test_tokens_that_are_no_good_are_turned_away_at_the_door(saas, tmp_path):
    stranger = SigningKey.generate()
    revoked = token(saas)
    ledger(saas, records.revoke_token, choria.read(revoked).id, time.time())
    await saas.mra("customer", "suspend", "globex")
    bad = {
        "expired": token(saas, now=time.time() - 2 * DAY),
        "not valid yet": token(saas, now=time.time() + DAY),
        "forged": token(saas, issuer=stranger),
        "revoked": revoked,
        "of nobody": token(saas, "initech"),
        "of a suspended customer": token(saas, "globex"),
        "without a customer": token(saas, ""),
    }
    async with serving(saas):
        for why, text in bad.items():
            node = Node(tmp_path / "n1", "n1", text)
            with pytest.raises(CredentialsRefused):
                await node.ask()
            assert node.enrolment is None, why
    assert nodes(saas) == []


async def test_a_token_that_is_revoked_after_the_door_was_opened_enrols_nobody(saas, tmp_path):
    text = token(saas)

    async def revoke(_):
        ledger(saas, records.revoke_token, choria.read(text).id, time.time())
        return HelperAnswer()

    async with serving(saas, revoke):
        answer = await Node(tmp_path / "n1", "n1", text).ask()
    assert (answer.outcome, nodes(saas)) == ("refused", [])


async def test_an_identity_belongs_to_the_key_that_enrolled_it(saas, tmp_path):
    owner, thief = Node(tmp_path / "n1", "n1", token(saas)), Node(tmp_path / "x", "n1", token(saas))
    async with serving(saas):
        await owner.enrol()
        refused = await thief.ask()
        assert "another key" in refused.reason
        # The same name at another customer is another node.
        assert (await Node(tmp_path / "g", "n1", token(saas, "globex")).ask()).outcome == "enrolled"
        await saas.mra("node", "forget", "acme", "n1")
        assert (await thief.ask()).outcome == "enrolled"
    assert refused.outcome == "refused"


async def test_a_changed_key_is_accepted_with_the_word_of_the_key_before(saas, tmp_path):
    node = Node(tmp_path / "n1", "n1", token(saas))
    before = node.keys
    new = NodeKeys(SigningKey.generate(), before.user, before.identity)
    claimed = replace(new, previous=SigningKey.generate())
    async with serving(saas):
        await node.enrol()
        assert (await node.ask(keys=claimed)).outcome == "refused"
        assert (await node.ask(keys=new)).outcome == "enrolled"
        assert (await node.ask(keys=before)).outcome == "refused"


async def test_a_node_that_was_away_for_years_comes_back_with_its_key_alone(saas, tmp_path):
    node = Node(tmp_path / "n1", "n1", token(saas, single_use=True))
    past = int(time.time()) + 3700
    async with serving(saas, Scripted(HelperAnswer(server_claims=ServerClaims(exp=past)))):
        enrolment = await node.enrol()
    node.token_file.unlink()
    old = servers.mint(
        replace(servers.read(enrolment.grant.server_jwt)),
        saas.registry._directory.issuer(),
        now=1_600_000_000,
        expires=1_600_000_001,
        random=bytes(16),
    )
    (node.directory / "enrolment.json").write_text(
        (node.directory / "enrolment.json").read_text().replace(enrolment.grant.server_jwt, old)
    )
    async with serving(saas):
        renewed = await node.enrol()
    assert renewed.grant.expires > past
    assert renewed.grant.nats_jwt != enrolment.grant.nats_jwt


async def test_a_server_token_serves_its_owner_and_a_forgotten_node_no_more(saas, tmp_path):
    node, thief = Node(tmp_path / "n1", "n1", token(saas)), Node(tmp_path / "x", "n1", token(saas))
    async with serving(saas):
        enrolment = await node.enrol()
        text = enrolment.grant.server_jwt
        stolen = replace(credential_of(node.token_file.read_text()), token=text, id=servers.read(text).id)
        assert (await thief.ask(credential=stolen)).outcome == "refused"
        await saas.mra("node", "forget", "acme", "n1")
        assert (await node.ask(credential=stolen)).outcome == "refused"
        await node.enrol()  # falls back to the provisioning token
    assert nodes(saas) == [("acme", "n1")]


async def test_nodes_survive_the_loss_of_the_ledger(saas, tmp_path):
    node = Node(tmp_path / "n1", "n1", token(saas, single_use=True))
    async with serving(saas):
        before = await node.enrol()
    for file in saas.path.glob(f"{DATABASE}*"):
        file.unlink()
    node.token_file.unlink()
    async with serving(saas):
        after = await node.enrol()
    assert after.grant.server_jwt != before.grant.server_jwt
    assert nodes(saas) == [("acme", "n1")]


async def test_a_failing_helper_costs_one_node_a_pause_and_nobody_else_anything(saas, tmp_path):
    helper = Scripted(Unavailable("The helper gave no answer within 10 s."))
    node = Node(tmp_path / "n1", "n1", token(saas))
    async with serving(saas, helper):
        one, two = await node.ask(ALWAYS), await node.ask(ALWAYS)
        helper.says = HelperAnswer()
        other = await Node(tmp_path / "n2", "n2", token(saas)).ask()
    assert (one.outcome, two.outcome, other.outcome) == ("failed", "failed", "enrolled")
    assert len(helper.asked) == 2  # the second time it was not asked again
    assert 0 < two.retry_after <= one.retry_after + 1
    assert [one["identity"] for one in ledger(saas, records.waiting)] == ["n1"]


async def test_a_slow_helper_is_asked_once_however_often_the_node_repeats_itself(saas, tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "ANSWER_SECONDS", (0.1,) * 5 + (20.0,))
    repeated, asked = trio.Event(), []

    async def slow(question: dict[str, Any]) -> HelperAnswer:
        asked.append(question["identity"])
        if question["identity"] == "slow":
            await repeated.wait()
        return HelperAnswer()

    outcomes = {}

    async def attempt(name: str) -> None:
        outcomes[name] = (await Node(tmp_path / name, name, token(saas)).ask()).outcome

    async with serving(saas, slow), trio.open_nursery() as nursery:
        nursery.start_soon(attempt, "slow")
        await trio.sleep(0.5)  # five repetitions; with fewer the test would only show less
        await attempt("quick")
        assert outcomes == {"quick": "enrolled"}
        repeated.set()
    assert outcomes["slow"] == "enrolled"
    assert sorted(asked) == ["quick", "slow"]


async def test_a_helper_can_defer_a_node_or_have_it_stop(saas, tmp_path):
    node = Node(tmp_path / "n1", "n1", token(saas))
    async with serving(saas, Scripted(HelperAnswer(defer=True, msg="after lunch"))):
        deferred = await node.ask()
    async with serving(saas, Scripted(HelperAnswer(shutdown=True, msg="go away"))):
        with pytest.raises(ShutdownAsked, match="go away"):
            await node.enrol()
    assert (deferred.outcome, deferred.reason) == ("deferred", "after lunch")
    assert (node.enrolment, nodes(saas)) == (None, [])


async def test_what_was_given_to_a_customer_counts_for_no_other_of_the_same_name(saas, tmp_path):
    account = saas.customer("acme").account
    old, vague = token(saas, account=account), token(saas)
    node = Node(tmp_path / "n1", "n1", old)
    async with serving(saas):
        await node.enrol()
        await saas.mra("customer", "remove", "acme", "--force")
        await saas.mra("customer", "add", "acme")
        for text in (old, node.enrolment.grant.server_jwt):
            credential = replace(credential_of(old), token=text)
            with pytest.raises(CredentialsRefused):
                await node.ask(credential=credential)
        # A token that names no account goes by the name; the identity is another customer's now, and free.
        answer = await Node(tmp_path / "x", "n1", vague).ask()
    assert answer.grant is not None
    assert answer.grant.account == saas.customer("acme").account != account


async def test_a_node_that_the_registry_denies_is_refused(saas, tmp_path):
    await saas.mra("customer", "deny", "acme", "--node", "n1")
    async with serving(saas):
        answer = await Node(tmp_path / "n1", "n1", token(saas)).ask()
    assert answer.outcome == "refused"
    assert nodes(saas) == []


async def test_an_answer_is_believed_from_the_pinned_issuer_only(saas, tmp_path):
    pinned = token(saas, issuer=saas.registry._directory.issuer())
    other = replace(credential_of(pinned), issuers=frozenset({SigningKey.generate().public}))
    node = Node(tmp_path / "n1", "n1", pinned)
    async with serving(saas):
        with pytest.raises(Refused, match="not the issuer"):
            await node.ask(credential=other)
        assert (await node.ask()).outcome == "enrolled"


async def test_another_issuer_can_be_trusted_for_tokens_but_not_to_answer(saas, tmp_path):
    organization = SigningKey.generate()
    text = token(saas, issuer=organization)
    own = saas.registry._directory.issuer().public
    node = Node(tmp_path / "n1", "n1", text)
    async with serving(saas, issuers=(organization.public,)):
        with pytest.raises(Refused, match="not the issuer"):
            await node.ask()  # the token does not say that the SaaS's key answers
        told = Node(tmp_path / "n2", "n2", token(saas, issuer=organization, pinned=own))
        assert (await told.ask()).outcome == "enrolled"


async def test_a_node_waits_for_a_service_that_comes_later(saas, tmp_path):
    node = Node(tmp_path / "n1", "n1", token(saas))
    with pytest.raises(CredentialsRefused):
        await node.ask()
    async with serving(saas):
        await node.enrol()


async def test_two_nodes_at_once_with_one_name_and_two_keys_are_one_node(saas, tmp_path):
    outcomes: list[str] = []

    async def attempt(node: Node) -> None:
        outcomes.append((await node.ask()).outcome)

    async with serving(saas), trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(attempt, Node(tmp_path / str(number), "n1", token(saas)))
    assert sorted(outcomes) == ["enrolled", "refused", "refused", "refused"]
    assert nodes(saas) == [("acme", "n1")]


async def test_no_secret_is_in_what_the_helper_is_asked_or_the_service_logs(saas, tmp_path, caplog):
    node, helper = Node(tmp_path / "n1", "n1", token(saas)), Scripted()
    with caplog.at_level("DEBUG"):
        async with serving(saas, helper):
            enrolment = await node.enrol()
            with pytest.raises(CredentialsRefused):
                await Node(tmp_path / "n2", "n2", token(saas, issuer=SigningKey.generate())).ask()
    told = str(helper.asked) + caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    keys = load_or_make_keys(node.directory)
    for secret in (
        node.token_file.read_text(), keys.identity.seed, keys.user.seed, enrolment.grant.nats_jwt,
        enrolment.grant.server_jwt,
    ):  # fmt: skip
        assert secret not in told
        assert secret.rpartition(".")[2] not in told
