"""Sites whose roles and keys come from enrolment: nobody makes a key by hand, and nobody can be somebody else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from mra.aio.session import CredentialsRefused, open_session
from mra.enrol.enrolment import load_enrolment
from mra.errors import LinkLost, Misconfigured
from mra.groups import first
from mra.outbox.record import Lane
from mra.site import granted
from mra.site.words import Hello, encode
from tests.harness.ports import free_port
from tests.harness.provisioning import Node, token
from tests.harness.tenancy import Tenancy, open_tenancy
from tests.site.enrolled import SITE, EnrolledSite, open_enrolled_site, provisioning, write_rules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mra.aio.session import Access

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Tenancy]:
    async with open_tenancy(tmp_path, "acme", "globex") as running:
        yield running


def identity(site: EnrolledSite, name: str) -> Path:
    return site[name].state / "identity"


def certificate(site: EnrolledSite, name: str) -> str:
    """That of a node's bus, as it was granted last."""
    enrolment = load_enrolment(identity(site, name))
    assert enrolment is not None
    assert enrolment.grant.site is not None
    return enrolment.grant.site.certificate


def on_bus(site: EnrolledSite, directory: Path, name: str, *, leads: bool = False) -> Access:
    """The way to the first leader's bus with what was granted to a node, wherever it was."""
    return granted.access([site.url()], name, directory, leads=leads)


async def refusal(access: Access) -> BaseException:
    """Why the bus does not let somebody in."""
    found: BaseException | None = None
    try:
        async with open_session(access):
            pytest.fail("it was let in")
    except* (LinkLost, Misconfigured) as group:
        found = first(group)
    assert found is not None
    return found


async def test_three_nodes_with_one_token_become_a_site_whose_rows_arrive_once_under_their_origin(
    saas: Tenancy, tmp_path: Path
) -> None:
    async with open_enrolled_site(saas, tmp_path) as site, provisioning(saas):
        await site.start()
        for name, role in (("n1", "leader"), ("n2", "follower"), ("n3", "follower")):
            status = await site.until(name, lambda status: status["link"]["state"] == "connected")
            assert (status["site"]["role"], status["site"]["leader"]) == (role, "n1")
        await site.produce(50)
        assert await site.count_perfect() == 3 * 4 * 50
        verified = json.loads(await saas.mra("verify", "--customer", "acme", "--json"))
        assert verified["complete"]
        carried = {lane["lane"] for lane in verified["lanes"] if lane["via"]}
        assert carried == {f"{name}-{lane}" for name in ("n2", "n3") for lane in Lane}
        kept = {(identity(site, name) / "enrolment.json").read_text() for name in site.nodes}
        assert not any("PRIVATE" in text for text in kept)  # keys are made on the node
        await nobody_is_somebody_else(saas, site, tmp_path)


async def nobody_is_somebody_else(saas: Tenancy, site: EnrolledSite, tmp_path: Path) -> None:
    """On a running site: a follower under another's name, another's token, and nodes of other sites and customers."""
    own = on_bus(site, identity(site, "n2"), "n2")
    word = encode(Hello(1, "n1", "0" * 16))
    async with open_session(own) as session:
        with pytest.raises(Misconfigured, match=r"site\.n3\.hello"):
            await session.request("site.n3.hello", word, patience=10)
        heard: list[object] = []
        await session.subscribe("site.>", heard.append)
        await session.subscribe("_INBOX.n3.>", heard.append)
        await session.round_trip(10)
        assert not heard
    other = on_bus(site, identity(site, "n3"), "n3")
    assert isinstance(await refusal(replace(own, user_jwt=other.user_jwt)), CredentialsRefused)

    ports = {"n1": 9}
    sites = [("acme", SITE, "n1", site.ports), ("acme", "munich", "n1", ports), ("globex", SITE, "n1", ports)]
    write_rules(saas, sites)
    for customer, called in (("acme", "munich"), ("globex", SITE)):
        stranger = Node(tmp_path / f"{customer}-{called}", "n2" if customer == "globex" else "m2",
                        token(saas, customer, site=called))  # fmt: skip
        await stranger.enrol()
        theirs = on_bus(site, stranger.directory, stranger.identity)
        assert "certificate" in str(await refusal(theirs))  # they do not believe this bus, ...
        assert isinstance(await refusal(replace(theirs, tls=own.tls)), CredentialsRefused)  # ... nor it them


async def test_a_site_enrolled_once_works_on_without_saas_and_provisioner_and_changes_its_leader_with_them(
    saas: Tenancy, tmp_path: Path
) -> None:
    async with open_enrolled_site(saas, tmp_path, leaders=2) as site:
        async with provisioning(saas):
            await site.start()
            for name in site.nodes:
                await site.until(name, lambda status: status["link"]["state"] == "connected")
        await saas.stop()
        await site["n3"].kill()
        await site["n1"].kill()
        await site.start("n1", "n3")
        await site.produce(20)
        await site.until("n3", lambda status: not any(lane["waiting"] for lane in status["lanes"].values()))
        await saas.start()
        for wrong, complaint in (("n3", "may not lead"), ("n9", "no node n9")):
            assert complaint in (await saas.fail("site", "lead", "acme", SITE, wrong))[1]
        assert "not in site" in (await saas.fail("site", "lead", "acme", "munich", "n2"))[1]
        assert "term 1" in (await saas.fail("site", "lead", "acme", SITE, "n2", "--term", "1"))[1]
        await saas.mra("site", "lead", "acme", SITE, "n2")
        for name, role in (("n1", "former"), ("n2", "leader"), ("n3", "follower")):
            await site.until(
                name, lambda status, role=role: (status["site"]["role"], status["site"]["leader"]) == (role, "n2")
            )  # fmt: skip
        await site.produce(20)
        assert await site.count_perfect() == 2 * 3 * 4 * 20
        told = json.loads(await saas.mra("config", "get", "acme", f"site.leader.{SITE}"))
        assert told == {"leader": "n2", "term": 2}


async def test_a_renewed_enrolment_counts_on_the_bus_without_a_restart(saas: Tenancy, tmp_path: Path) -> None:
    async with open_enrolled_site(saas, tmp_path, nodes=2) as site, provisioning(saas, "--validity", "4s"):
        await site.start()
        await site.until("n2", lambda status: status["link"]["state"] == "connected")
        before = {name: load_enrolment(identity(site, name)) for name in site.nodes}
        pid = int((site["n1"].state / "site" / "bus.pid").read_text())
        log = site["n1"].state / "site" / "bus.log"
        with trio.fail_after(60):
            while any(load_enrolment(identity(site, name)) == before[name] for name in site.nodes):  # noqa: ASYNC110
                await trio.sleep(0.1)
            while certificate(site, "n1") not in (site["n1"].state / "site" / "bus.pem").read_text():  # noqa: ASYNC110
                await trio.sleep(0.1)
            while "Reloaded server configuration" not in log.read_text():  # noqa: ASYNC110
                await trio.sleep(0.1)
        await site.produce(20)
        assert await site.count_perfect() == 2 * 4 * 20
        assert int((site["n1"].state / "site" / "bus.pid").read_text()) == pid


async def test_a_node_that_cannot_reach_the_saas_enrols_and_renews_through_its_leader(
    saas: Tenancy, tmp_path: Path
) -> None:
    relay, nowhere = free_port(), f"nats://127.0.0.1:{free_port()}"
    async with open_enrolled_site(saas, tmp_path, nodes=2) as site:
        write_rules(saas, [("acme", SITE, "n1", site.ports)], relay)
        inside = tmp_path / "inside.jwt"
        way = ("--url", nowhere, "--via", f"127.0.0.1:{relay}", "--output", str(inside))
        await saas.mra("token", "acme", "--site", SITE, *way)
        (site["n2"].directory / "provisioning.jwt").write_text(inside.read_text())
        async with provisioning(saas, "--validity", "10s"):
            await site.start()
            await site.until("n2", lambda status: status["link"]["state"] == "connected")
            first_one = load_enrolment(identity(site, "n2"))
            assert first_one is not None
            assert first_one.provisioner_urls == (nowhere,)
            with trio.fail_after(60):
                while load_enrolment(identity(site, "n2")) == first_one:  # noqa: ASYNC110 - a file tells no event
                    await trio.sleep(0.1)
        await site.produce(10)
        assert await site.count_perfect() == 2 * 4 * 10


async def test_a_node_that_is_denied_leaves_its_site_once_the_leader_has_heard_of_it(
    saas: Tenancy, tmp_path: Path
) -> None:
    async with open_enrolled_site(saas, tmp_path) as site, provisioning(saas, "--validity", "60s"):
        await site.start()
        for name in site.nodes:
            await site.until(name, lambda status: status["link"]["state"] == "connected")
        await saas.mra("customer", "deny", "acme", "--node", "n2")
        await site["n1"].mra("provision", "renew")
        await site.until("n2", lambda status: status["link"]["state"] == "down")
        assert isinstance(await refusal(on_bus(site, identity(site, "n2"), "n2")), CredentialsRefused)
        await site.produce(10)
        await site.until("n3", lambda status: not any(lane["waiting"] for lane in status["lanes"].values()))
        assert (await site["n2"].status())["lanes"]["events"]["waiting"] >= 10
        await saas.mra("customer", "allow", "acme", "--node", "n2")
        await site["n1"].mra("provision", "renew")
        await site.until("n2", lambda status: status["link"]["state"] == "connected")
        assert await site.count_perfect() == 3 * 4 * 10
