"""Delivery by courier: files that are cut short, lost, late, doubled or copied, on real processes and a real server."""

from __future__ import annotations

import json
import random
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio

from mra.errors import EXIT_RETRY
from mra.outbox.record import Lane
from mra.tokens.ed25519 import SigningKey
from tests.chaos.ending import count_perfect, drained
from tests.harness import disks
from tests.harness.disks import open_memory_disk
from tests.harness.ports import free_port
from tests.harness.processes import Child
from tests.harness.saas import EVENTS
from tests.harness.site import open_site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.saas import Saas
    from tests.harness.site import Site

pytestmark = pytest.mark.chaos
EXPORT_KILLS = 12


class Courier:
    """Carries files between a site and the desk of its SaaS, which has the sealing key."""

    def __init__(self, site: Site, saas: Saas, bag: Path) -> None:
        bag.mkdir()
        self.site, self.saas, self.bag = site, saas, bag
        self._signer = SigningKey.generate()
        seed = bag / "server.seed"
        seed.touch(0o600)
        seed.write_text(self._signer.seed)
        (bag / "password").write_text(saas.backend.password)

    async def make_key(self) -> None:
        """The SaaS makes its key, and the site gets the public half."""
        done = await self.site.mra("saas", "sealing-key", str(self.bag / "seal.key"))
        self.site.configure({"saas": {"sealing_key": done.stdout.decode().strip()}})

    def export_command(self, name: str) -> list[str]:
        """What the site is asked to do."""
        return ["outbox", "export", "--sealed", str(self.bag / name), "--sign", str(self.bag / "server.seed")]

    async def export(self, name: str) -> Path:
        """The site fills a file."""
        await self.site.mra(*self.export_command(name))
        return self.bag / name

    def import_command(self, name: str, *more: str) -> list[str]:
        """What the desk does."""
        return [
            "saas", "import", str(self.bag / name), "--key", str(self.bag / "seal.key"), "--customer", "acme",
            "--signer", self._signer.public, *self._reach(), "--json", *more,
        ]  # fmt: skip

    async def deliver(self, name: str, *more: str) -> int:
        """The desk takes a file; rows that it stored."""
        done = await self.site.mra(*self.import_command(name, *more))
        return sum(lane["stored"] for lane in json.loads(done.stdout)["lanes"])

    async def settle(self, name: str) -> None:
        """The site takes an answer."""
        await self.site.mra("outbox", "settle", str(self.bag / name))

    async def verify(self) -> dict[str, Any]:
        """`mra saas verify`, which fails unless every lane is complete."""
        done = await self.site.mra("saas", "verify", "--json", *self._reach())
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def start(self, words: list[str]) -> Child:
        """A command in a process that the test can kill."""
        command = [sys.executable, "-m", "mra.cli.main", *words]
        environment = {**self.site.environment, "MRA_CONFIG": str(self.site.config)}
        return Child(command, self.site.directory / "courier.log", environment)

    def _reach(self) -> list[str]:
        password = str(self.bag / "password")
        return ["--server", self.saas.url, "--user", self.saas.backend.user, "--password-file", password]


@pytest.fixture
async def courier(site: Site, saas: Saas, tmp_path: Path) -> Courier:
    courier = Courier(site, saas, tmp_path / "bag")
    await courier.make_key()
    return courier


async def kill_when(child: Child, moment: Any) -> bool:
    """SIGKILL as soon as `moment` comes; whether it came before the process had ended."""
    try:
        while child.returncode is None:
            if await moment():
                await child.kill()
                return True
            await trio.sleep(0.001)
        return False
    finally:
        await child.aclose()


async def test_files_and_the_link_together_store_every_row_once(courier: Courier, site: Site, saas: Saas) -> None:
    """A courier for months, killed imports, a lost file, then the link after all, and the lost file last."""
    await site.produce(site.load(count=1500, group=100, pause=0))
    await courier.export("1.sealed")

    async def something_is_stored() -> bool:
        async with saas.connect() as wire:
            return bool((await wire.ask(f"$JS.API.STREAM.INFO.{EVENTS}"))["state"]["messages"])

    assert await kill_when(courier.start(courier.import_command("1.sealed")), something_is_stored)
    rest = await courier.deliver("1.sealed", "--ack", str(courier.bag / "1.ack"))
    print(f"sneakernet: killed import, then the same again: {rest} of 6000 rows were left to store")
    assert 0 <= rest < 6000
    await courier.settle("1.ack")

    await site.produce(site.load(count=200, group=100, pause=0))
    await courier.export("2.sealed")
    both = [courier.start(courier.import_command("2.sealed")) for _ in range(2)]
    assert [await child.wait() for child in both] == [0, 0], both[0].log.read_text()
    for child in both:
        await child.aclose()
    assert await courier.deliver("2.sealed") == 0

    await site.produce(site.load(count=300, group=100, pause=0))
    await courier.export("lost.sealed")
    await site.start()  # file 2 was never answered: the agent reads the checkpoints, and settles
    await drained(site)
    await site.produce(site.load(count=100, group=100, pause=0))
    await drained(site)
    assert await courier.deliver("lost.sealed") == 0
    await count_perfect("sneakernet", saas, site.accepted(), at_least=4 * 2100)
    assert (await courier.verify())["complete"]


async def test_an_export_killed_anywhere_leaves_no_half_file(courier: Courier, site: Site, saas: Saas) -> None:
    await site.produce(site.load(count=1000, group=100, pause=0, size=500))
    chance = random.Random(5)
    whole = 0
    for number in range(EXPORT_KILLS):
        name = f"{number}.sealed"
        child = courier.start(courier.export_command(name))
        wait = chance.uniform(0, 0.15)

        async def it_has_been_writing(name: str = name, wait: float = wait) -> bool:
            if not list(courier.bag.glob(f".{name}.*")):
                return False
            await trio.sleep(wait)
            return True

        await kill_when(child, it_has_been_writing)
        if (courier.bag / name).exists():
            whole += 1
            await courier.deliver(name)
    print(f"sneakernet: {EXPORT_KILLS} exports killed, {whole} whole files, no half ones")
    await courier.export("last.sealed")
    await courier.deliver("last.sealed")
    await count_perfect("killed exports", saas, site.accepted(), at_least=4000)
    await site.start()
    await drained(site)
    await count_perfect("killed exports, then online", saas, site.accepted(), at_least=4000)


@pytest.mark.skipif(disks.missing() is not None, reason=str(disks.missing()))
async def test_a_full_stick_is_one_sentence_and_no_file(courier: Courier, site: Site, tmp_path: Path) -> None:
    await site.produce(site.load(Lane.EVENTS, count=500, group=100, pause=0, size=2000))
    async with open_memory_disk(tmp_path / "stick", 4) as stick:
        stick.fill(leave=256 * 1024)
        words = courier.export_command("ignored")
        words[3] = str(stick.path / "1.sealed")
        done = await site.mra(*words, check=False)
        assert done.returncode == EXIT_RETRY, done
        assert done.stderr.decode() == (
            f"mra: There is no room for {words[3]}: free space on its disk, or choose another.\n"
        )
        assert [path.name for path in stick.path.iterdir()] == ["filler"]
        query = await site.mra("outbox", "lanes", "--json")
        assert json.loads(query.stdout)[1]["waiting"] == 500
        stick.give_back()
        await site.mra(*words)
        assert (stick.path / "1.sealed").stat().st_size > 1_000_000


@pytest.mark.skipif(disks.missing() is not None, reason=str(disks.missing()))
async def test_an_outbox_on_a_full_disk_is_emptied_by_courier(saas: Saas, tmp_path: Path) -> None:
    """The space that was set aside is given up, so that the note of the export and the answer find room."""
    async with (
        open_memory_disk(tmp_path / "disk", 24) as disk,
        open_site(
            tmp_path / "site", free_port(), saas.site, state=disk.path / "state", tables={"outbox": {"ballast": "8MiB"}}
        ) as site,
    ):
        courier = Courier(site, saas, tmp_path / "bag")
        await courier.make_key()
        await site.start()  # it sets the ballast aside, and never reaches a SaaS
        await site.produce(site.load(Lane.EVENTS, count=300, pause=0, size=2000))
        await site.kill()
        disk.fill()
        await courier.export("1.sealed")
        await courier.deliver("1.sealed", "--ack", str(courier.bag / "1.ack"))
        await courier.settle("1.ack")
        found = json.loads((await site.mra("outbox", "lanes", "--json")).stdout)
        assert [lane["waiting"] for lane in found if lane["lane"] == "events"] == [0]
        await count_perfect("full disk", saas, site.accepted(), at_least=300)


async def test_a_copied_site_is_refused_by_file_and_fenced_on_the_link(
    courier: Courier, site: Site, saas: Saas, tmp_path: Path
) -> None:
    await site.produce(site.load(Lane.EVENTS, count=300, pause=0))
    shutil.copytree(site.state, tmp_path / "copy")
    await site.produce(site.load(Lane.EVENTS, count=200, pause=0))
    async with open_site(tmp_path / "other", saas.port, saas.site, state=tmp_path / "copy") as copy:
        other = Courier(copy, saas, tmp_path / "other bag")
        await other.make_key()
        await copy.produce(copy.load(Lane.EVENTS, count=50, pause=0))
        await courier.export("1.sealed")
        assert await courier.deliver("1.sealed") == 500
        await other.export("1.sealed")
        refused = await copy.mra(*other.import_command("1.sealed"), check=False)
        assert refused.returncode == 1
        assert b"is another one at the SaaS" in refused.stderr
    await site.start()
    await drained(site)
    await count_perfect("copied site", saas, site.accepted(), at_least=500)
