"""A site of five, from its enrolment to the end of an outage that takes its leader: one story, ending in counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from mra.cli.saas_plugins import public_half
from tests.harness.proxy import Proxy, open_proxy
from tests.harness.tenancy import SIGNER, Tenancy, open_tenancy
from tests.site.enrolled import open_enrolled_site, provisioning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.plugins.server import ArtifactServer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]
FOLLOWERS = ("n2", "n3", "n4", "n5")
ROWS = 100
SLOTS = 2
ROLLOUT = """\
name: rollout
version: 1.0.0
initial_state: UPGRADE
transitions:
  - {name: done, from: [UPGRADE], destination: DONE}
watchers:
  - name: upgrade
    type: exec
    interval: 5s
    state_match: [UPGRADE]
    success_transition: done
    properties: {command: ./upgrade.sh, timeout: 60s, governor: UPGRADE, governor_timeout: 2m}
"""
UPGRADE = """\
#!/bin/sh
echo begin >> {journal}
sleep 1
echo end >> {journal}
"""


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Tenancy]:
    async with open_tenancy(tmp_path, "acme") as running:
        yield running


@pytest.fixture
async def way(saas: Tenancy) -> AsyncIterator[Proxy]:
    """The site's way to the SaaS."""
    async with open_proxy(saas.port) as proxy:
        yield proxy


def most_at_once(journal: Path) -> tuple[int, int]:
    """How many upgrades ran at once at most, and how many ended."""
    running = most = ended = 0
    for word in journal.read_text().split():
        running += 1 if word == "begin" else -1
        ended += word == "end"
        most = max(most, running)
    return most, ended


async def test_a_site_is_rolled_out_to_cut_off_and_killed_and_every_row_arrives_once(
    saas: Tenancy, way: Proxy, artifacts: tuple[ArtifactServer, Path], tmp_path: Path
) -> None:
    server, authority = artifacts
    journal, machine = tmp_path / "journal", tmp_path / "rollout"
    journal.touch()
    machine.mkdir()
    (machine / "machine.yaml").write_text(ROLLOUT)
    (machine / "upgrade.sh").write_text(UPGRADE.format(journal=journal))
    (machine / "upgrade.sh").chmod(0o755)
    key = public_half(bytes.fromhex(SIGNER.read_text().strip()))
    await saas.mra("governors", "set", "acme", "UPGRADE", "--slots", str(SLOTS))

    async with open_enrolled_site(saas, tmp_path, nodes=5) as site:
        for node in site.nodes.values():
            node.configure({"machines": {"enabled": True, "signing_key": key, "extra_ca": str(authority)}})
        async with provisioning(saas, "--url", f"nats://127.0.0.1:{way.port}"):
            await site.start()
            for name in site.nodes:
                await site.until(name, lambda status: status["link"]["state"] == "connected")

        await saas.publish("acme", machine, server, tmp_path)
        with trio.fail_after(90):
            while most_at_once(journal)[1] < len(site.nodes):  # noqa: ASYNC110 - a file of other processes
                await trio.sleep(0.1)
        print(f"rollout: {most_at_once(journal)[1]} nodes upgraded, at most {most_at_once(journal)[0]} at once")
        assert most_at_once(journal)[0] <= SLOTS

        await site.produce(ROWS)
        way.cut()
        way.refuse()
        await site.produce(ROWS)
        await site["n1"].kill()
        await site["n2"].kill()
        await site.produce(ROWS, *FOLLOWERS[1:])
        way.heal()
        way.accept()
        await site.start("n1", "n2")
        await site.produce(ROWS)
        delivered = await site.count_perfect()
        print(f"site of {len(site.nodes)}: {delivered} rows were accepted, and each stands once at the SaaS, in order")
        assert delivered == (3 * len(site.nodes) + len(FOLLOWERS[1:])) * 4 * ROWS
