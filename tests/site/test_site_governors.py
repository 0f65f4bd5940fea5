"""A roll-out in a site that is cut off: its leader lets as many nodes act at once as the SaaS had said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from mra.aio.session import Access, open_session
from mra.governors.slots import Capacity
from mra.saas import governors
from tests.harness.saas import open_saas
from tests.site.nodes import open_nodes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.site import Site

pytestmark = pytest.mark.lab
MACHINE = """\
name: pump
version: 1.0.0
initial_state: old
transitions:
  - {name: rolled, from: [old], destination: new}
watchers:
  - name: roll
    type: exec
    interval: 500ms
    state_match: [old]
    success_transition: rolled
    properties: {command: ./roll.sh LOG, timeout: 30s, governor: rollout, governor_timeout: 60s}
"""
ROLL = "#!/bin/sh\necho begin >> $1\nsleep 0.4\necho end >> $1\n"
AT_ONCE = 2


def put_machine(site: Site, log: Path) -> None:
    directory = site.state / "machines" / "pump"
    directory.mkdir(parents=True)
    (directory / "machine.yaml").write_text(MACHINE.replace("LOG", str(log)))
    script = directory / "roll.sh"
    script.write_text(ROLL)
    script.chmod(0o755)


async def wait_rolled(site: Site) -> None:
    """Ask the daemon's file until its machine is in the new state."""
    with trio.fail_after(60):
        while '"new"' not in (await site.mra("machines", "ls", "--json")).stdout.decode():  # noqa: ASYNC110
            await trio.sleep(0.2)


@pytest.mark.timeout(150)
async def test_at_most_two_nodes_are_rolled_at_once_without_the_saas(tmp_path: Path) -> None:
    log = tmp_path / "rolled"
    async with open_saas(tmp_path / "saas") as saas:
        backend = Access((saas.url,), "vendor", saas.backend.user, saas.backend.password)
        async with open_session(backend) as session:
            await governors.put(session, saas.customer, "rollout", Capacity(AT_ONCE, 60))
        async with open_nodes(tmp_path, saas, followers=4) as nodes:
            for site in nodes.sites.values():
                site.configure({"machines": {"enabled": True}})
                put_machine(site, log)
            await nodes.start("n1")
            await wait_rolled(nodes["n1"])
            await saas.kill()
            await nodes.start("n2", "n3", "n4", "n5")
            for name in ("n2", "n3", "n4", "n5"):
                await wait_rolled(nodes[name])
    acting = most = 0
    for line in log.read_text().split():
        acting += 1 if line == "begin" else -1
        most = max(most, acting)
    assert log.read_text().count("end") == len(nodes.sites)
    assert 0 < most <= AT_ONCE
