"""Plugins from the vendor's desk to the customer's machine room: real daemon, SaaS, HTTPS server, nothing patched."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from lab.plugins.authority import Authority
from lab.plugins.server import ArtifactServer as PlainServer
from mra.control import ask_daemon
from tests.harness.ports import free_port
from tests.harness.saas import open_saas
from tests.harness.site import open_site
from tests.machines.archives.server import ArtifactServer
from tests.machines.schemas import assert_valid
from tests.machines.test_spec import EXAMPLE, needs_example
from tests.machines.vendor import LOOK_AGAIN_SECONDS, PATIENCE_SECONDS, PUMP, Vendor, customer_tables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.harness.saas import Saas
    from tests.harness.site import Site

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]


@pytest.fixture
def artifacts(tmp_path: Path) -> Iterator[ArtifactServer]:
    with ArtifactServer(Authority.new(tmp_path / "tls")) as server:
        yield server


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Saas]:
    async with open_saas(tmp_path / "saas") as running:
        yield running


@pytest.fixture
def vendor(saas: Saas, artifacts: ArtifactServer, tmp_path: Path) -> Vendor:
    return Vendor(saas, artifacts, tmp_path / "vendor")


@pytest.fixture
async def site(saas: Saas, artifacts: ArtifactServer, tmp_path: Path) -> AsyncIterator[Site]:
    tables = customer_tables(saas, artifacts)
    async with open_site(tmp_path / "site", saas.port, saas.site, tables=tables) as made:
        await made.start()
        yield made


@contextmanager
def serving(server: PlainServer) -> Iterator[PlainServer]:
    """Let it serve for the length of the block."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


async def machines(site: Site) -> dict[str, dict[str, Any]]:
    """What `mra machines ls` shows, by name."""
    found = await trio.to_thread.run_sync(ask_daemon, site.state / "mra.sock", "machines.ls")
    return {each["name"]: each for each in found}


async def wait_for_machines(site: Site, *names: str) -> None:
    """Wait until just these run."""
    with trio.fail_after(PATIENCE_SECONDS):
        while True:
            found = await machines(site)
            if found.keys() == set(names) and all(each["condition"] == "running" for each in found.values()):
                return
            await trio.sleep(LOOK_AGAIN_SECONDS)


async def wait_for_version(site: Site, version: str) -> None:
    """Wait until this version of `pump` runs."""
    with trio.fail_after(PATIENCE_SECONDS):
        while (await machines(site)).get("pump", {}).get("version") != version:  # noqa: ASYNC110 - another process
            await trio.sleep(LOOK_AGAIN_SECONDS)


async def test_a_plugin_comes_is_replaced_outlives_a_forgery_and_goes(site: Site, vendor: Vendor) -> None:
    await vendor.publish("1.0.0")
    await vendor.hears_of("pump", "1.0.0", previous_outcome="success")
    assert {"machines_manager", "mm_pump", "pump"} == (await machines(site)).keys()

    await vendor.publish("2.0.0")
    await vendor.hears_of("pump", "2.0.0", previous_outcome="success")

    forged = json.loads(vendor.signed(vendor.pack("6.6.6")))
    forged["signature"] = "00" * 64
    await vendor.order(json.dumps(forged).encode())
    refused = await vendor.hears(lambda event: event["machine"] == "machines_manager" and "reason" in event)
    assert "signature" in refused["reason"]
    assert b"manage_machines:" in (await site.mra("machines", "ls")).stdout
    assert (await machines(site))["pump"]["version"] == "2.0.0"

    await vendor.order(vendor.signed())
    await wait_for_machines(site, "machines_manager")
    assert not (site.state / "machines" / "pump").exists()
    assert "6.6.6" not in {event["version"] for event in await vendor.events()}


@needs_example
async def test_the_published_example_is_deployed_unchanged_and_its_machine_runs(saas: Saas, tmp_path: Path) -> None:
    """Its archive's host exists in the example's network only; a proxy of the node stands in for name resolution."""
    with serving(PlainServer(EXAMPLE, certificate=None)) as proxy:
        tables = {
            "saas": {"customer": saas.customer},
            "machines": {"signing_key": (EXAMPLE / "signer.pub").read_text().strip()},
        }
        environment = {"http_proxy": proxy.url(""), "no_proxy": ""}
        vendor = Vendor(saas, None, tmp_path)  # type: ignore[arg-type]
        async with open_site(tmp_path / "site", saas.port, saas.site, tables=tables, environment=environment) as site:
            await site.start()
            await vendor.order((EXAMPLE / "plugins.json").read_bytes())
            await vendor.hears_of("mm_echo", "1.0.0", previous_outcome="downloaded")
            for transition in ("enter_maintenance", "resume"):  # coming back to its state, it runs at once
                await site.mra("machines", "transition", "echo", transition)
            await vendor.hears_of("echo", "0.0.1", transition="resume")
            ran = await vendor.hears_of("echo", "0.0.1", type="exec", previous_outcome="success")
            assert ran["command"] == "/bin/echo hello"
            checked = [assert_valid(envelope) for envelope in await vendor.envelopes()]
            assert sum(checked) >= 3  # two transitions and a run of exec have published schemas


async def test_a_version_that_fails_its_trial_leaves_the_one_before(site: Site, vendor: Vendor) -> None:
    """Only the fleet knows that this site denies the machine: it goes live, and is taken back."""
    await vendor.publish("1.0.0")
    await vendor.hears_of("mm_pump", "1.0.0", previous_outcome="downloaded")
    await vendor.publish("2.0.0", PUMP.replace("name: pump", "name: unwanted"))
    failed = await vendor.hears(lambda event: event["machine"] == "mm_pump" and "reason" in event)
    assert failed["reason"] == "This agent does not allow unwanted."
    await wait_for_version(site, "1.0.0")
    assert "1.0.0" in (site.state / "machines" / "pump" / "machine.yaml").read_text()


async def test_an_older_specification_is_refused_even_after_a_restart(site: Site, vendor: Vendor) -> None:
    first = await vendor.publish("1.0.0")
    await vendor.hears_of("mm_pump", "1.0.0", previous_outcome="downloaded")
    await vendor.publish("2.0.0")
    await vendor.hears_of("pump", "2.0.0", previous_outcome="success")
    await site.terminate()
    await vendor.order(first)
    await site.start()
    refused = await vendor.hears(lambda event: event["machine"] == "machines_manager" and "reason" in event)
    assert "serial 1, but 2 was accepted before" in refused["reason"]
    await wait_for_version(site, "2.0.0")


async def test_orders_are_carried_out_from_the_mirror_once_the_archive_can_be_had(
    site: Site, vendor: Vendor, saas: Saas, tmp_path: Path
) -> None:
    """The artifact server is away when the order comes; when it is back, the SaaS is gone and the agent starts anew."""
    port, root = free_port(), tmp_path / "served"
    plugin = replace(vendor.pack("1.0.0"), source=f"https://127.0.0.1:{port}/pump.tgz")
    root.mkdir()
    (root / "pump.tgz").write_bytes(vendor.artifacts.files["/pump-1.0.0.tgz"])
    await vendor.order(vendor.signed(plugin))
    failed = await vendor.hears(lambda event: event["machine"] == "mm_pump" and "reason" in event)
    assert "is out of reach (ConnectError: " in failed["reason"]
    await saas.kill()
    await site.terminate()
    with serving(PlainServer(root, Authority.new(tmp_path / "tls").certificate, port)):
        await site.start()
        await wait_for_machines(site, "machines_manager", "mm_pump", "pump")
    await saas.start()
    await vendor.hears_of("pump", "1.0.0", previous_outcome="success")


async def test_an_archive_that_breaks_off_is_fetched_to_its_end(
    site: Site, vendor: Vendor, artifacts: ArtifactServer
) -> None:
    def cut(handler: Any) -> bool:
        if len(artifacts.requests) > 2:
            return False
        content = artifacts.files[handler.path]
        done = 0 if len(artifacts.requests) == 1 else 100
        if done:
            ranged = {"Content-Range": f"bytes {done}-{len(content) - 1}/{len(content)}"}
            handler.answer(206, content[done:], send=50, ETag='"v1"', **ranged)
        else:
            handler.answer(200, content, send=100, ETag='"v1"')
        return True

    artifacts.mischief = cut
    await vendor.publish("1.0.0")
    await vendor.hears_of("mm_pump", "1.0.0", previous_outcome="downloaded")
    assert artifacts.ranges == [None, "bytes=100-", "bytes=150-"]
