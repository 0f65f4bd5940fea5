"""Machines of a site elect a leader without the SaaS, whoever is killed or cut off: one story, ending in counts."""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

import pytest
import trio

from mra.aio.session import Access, open_session
from mra.governors.slots import Capacity
from mra.saas import governors
from tests.harness.proxy import open_proxy
from tests.harness.saas import open_saas
from tests.site.nodes import open_nodes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.site import Site

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]
LEASE = 8  # long enough that a busy host renews in time
PATIENCE = 60  # s: a lease, the longest pause of a candidate, and whatever else this host has to do
CANDIDATES = ("n2", "n3")
MACHINE = """\
name: guard
version: 1.0.0
initial_state: FOLLOWING
transitions:
  - {name: lead, from: [FOLLOWING], destination: LEADING}
  - {name: follow, from: [LEADING], destination: FOLLOWING}
watchers:
  - {name: leader, type: election, state_match: [FOLLOWING, LEADING], success_transition: lead,
     fail_transition: follow, properties: {governor: guard-leader}}
  - {name: reign, type: exec, state_match: [LEADING], properties: {command: ./reign.sh, timeout: 10m}}
"""
REIGN = """\
#!/bin/sh
# Holds the lock for as long as this node's agent lives and its machine leads.
exec 9>>LOCK
flock --nonblock 9 || { echo "violation NAME" >> JOURNAL; exit 0; }
echo "reign NAME" >> JOURNAL
while kill -0 $PPID 2>/dev/null; do sleep 0.1 9>&-; done
"""


class Realm:
    """What all nodes see of who leads: a journal, and a lock that its leader holds."""

    def __init__(self, directory: Path) -> None:
        self.journal, self.lock = directory / "journal", directory / "lock"
        self.journal.touch()
        self.lock.touch()

    def admit(self, site: Site) -> None:
        """Give a node the machine that campaigns."""
        directory = site.state / "machines" / "guard"
        directory.mkdir(parents=True)
        (directory / "machine.yaml").write_text(MACHINE)
        script = REIGN.replace("LOCK", str(self.lock)).replace("JOURNAL", str(self.journal)).replace("NAME", site.name)
        (directory / "reign.sh").write_text(script)
        (directory / "reign.sh").chmod(0o755)

    @property
    def reigns(self) -> list[str]:
        """Who began to lead, in order."""
        return [name for word, name in self._lines() if word == "reign"]

    @property
    def violations(self) -> int:
        """How often one began while another led."""
        return sum(word == "violation" for word, _ in self._lines())

    def is_vacant(self) -> bool:
        """Whether nobody leads now."""
        with self.lock.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    async def until(self, holds: Callable[[], bool]) -> float:
        """Wait until it holds, as it has to within some leases; the seconds that took."""
        began = trio.current_time()
        with trio.fail_after(PATIENCE):
            while not holds():  # noqa: ASYNC110 - files of other processes
                await trio.sleep(0.05)
        return trio.current_time() - began

    async def until_reigns(self, count: int) -> float:
        """Wait until that many reigns have begun, each while nobody else led; the seconds that took."""
        took = await self.until(lambda: len(self.reigns) >= count or self.violations > 0)
        assert self.violations == 0
        return took

    def _lines(self) -> list[list[str]]:
        return [line.split() for line in self.journal.read_text().splitlines(keepends=True) if line.endswith("\n")]


async def wait_campaigning(site: Site) -> None:
    """Return once a node's machine wants to lead."""
    with trio.fail_after(PATIENCE):
        while not (await site.status())["governors"]["waiting"]:  # noqa: ASYNC110 - another process
            await trio.sleep(0.05)


async def test_one_machine_of_a_site_leads_whoever_is_killed_while_the_saas_is_away(tmp_path: Path) -> None:
    realm = Realm(tmp_path)
    async with (
        open_saas(tmp_path / "saas") as saas,
        open_nodes(tmp_path, saas, followers=2) as nodes,
        open_proxy(nodes.ports["n1"]) as way2,
        open_proxy(nodes.ports["n1"]) as way3,
    ):
        async with open_session(Access((saas.url,), "vendor", saas.backend.user, saas.backend.password)) as session:
            await governors.put(session, saas.customer, "guard-leader", Capacity(1, LEASE))
        ways = dict(zip(CANDIDATES, (way2, way3), strict=True))  # to the site's bus
        for name, way in ways.items():
            urls = [f"tls://127.0.0.1:{way.port}"]
            nodes[name].configure({"machines": {"enabled": True}, "site": {"urls": urls}})
            realm.admit(nodes[name])
        await nodes.start()
        await realm.until_reigns(1)
        await saas.kill()

        first = realm.reigns[0]
        second = next(name for name in CANDIDATES if name != first)
        await wait_campaigning(nodes[second])
        await nodes[first].kill()
        took = await realm.until_reigns(2)
        print(f"election: {first} led and was killed; {second} led {took:.1f} s later, with a lease of {LEASE} s")

        await nodes.start(first)
        await wait_campaigning(nodes[first])
        await nodes[second].terminate()
        took = await realm.until_reigns(3)
        print(f"election: {second} was stopped in order; {first} led {took:.1f} s later")

        await nodes.start(second)
        await wait_campaigning(nodes[second])
        ways[first].blackhole()
        took = await realm.until_reigns(4)
        print(f"election: {first} was cut off and lives; {second} led {took:.1f} s later")
        ways[first].heal()  # and what was under way arrives now

        await wait_campaigning(nodes[first])
        await nodes["n1"].kill()
        took = await realm.until(realm.is_vacant)
        print(f"election: the site's leader was killed, and with it the bus; {second} gave up {took:.1f} s later")
        assert len(realm.reigns) == 4
        await nodes.start("n1")
        await realm.until_reigns(5)
        assert not realm.is_vacant()

    print(f"election: {len(realm.reigns)} reigns ({', '.join(realm.reigns)}), violations {realm.violations}")
    assert realm.reigns[:4] == [first, second, first, second]
    assert realm.violations == 0
