"""A disk that ends, or turns read-only, under producers that are in the middle of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from mra.errors import EXIT_RETRY
from tests.chaos.ending import count_perfect, drained, until
from tests.harness import disks
from tests.harness.disks import LoopDisk, open_disk, open_snapshot
from tests.harness.site import Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import Any

    from tests.harness.saas import Saas

pytestmark = [pytest.mark.chaos, pytest.mark.skipif(disks.missing() is not None, reason=str(disks.missing()))]
ROWS = 400
KIBIBYTE = 1024


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[LoopDisk]:
    async with open_disk(tmp_path / "disk", 64) as mounted:
        yield mounted


@pytest.fixture
async def loaded(saas: Saas, disk: LoopDisk, tmp_path: Path) -> AsyncIterator[Site]:
    """A site on the small disk; the space kept for the host is more than what draining sets aside for itself."""
    tables = {"outbox": {"max_bytes": "512MiB", "min_free": "12MiB", "ballast": "8MiB"}, "facts": {"enabled": False}}
    async with open_site(tmp_path / "site", saas.port, saas.site, state=disk.path / "state", tables=tables) as made:
        yield made


async def accept_more(site: Site, rows: int, seconds: float = 30) -> None:
    """Wait until producers were told of that many more rows."""
    before = len(site.accepted())
    with trio.fail_after(seconds):
        while len(site.accepted()) < before + rows:  # noqa: ASYNC110 - the producers are other processes
            await trio.sleep(0.05)


async def refusal(site: Site, seconds: float = 20) -> str:
    """Submit until it is refused; the sentence that says so."""
    with trio.fail_after(seconds):
        while True:
            done = await site.mra("submit", "app.refused", str(site.config), check=False)
            if done.returncode:
                break
    said = done.stderr.decode()
    assert done.returncode == EXIT_RETRY, said
    assert said.count("\n") == 1, said
    return said


def delivered(status: dict[str, Any]) -> int:
    return sum(lane["delivered"] for lane in status["lanes"].values())


async def count_after_a_drain(story: str, saas: Saas, site: Site, at_least: int) -> None:
    await site.terminate()
    await site.start()  # without producers
    await drained(site)
    await count_perfect(story, saas, site.accepted(), at_least=at_least)
    assert (await site.mra("outbox", "verify")).returncode == 0


async def test_rows_on_a_disk_that_fills_up_under_load_drain_while_it_is_full(
    saas: Saas, disk: LoopDisk, loaded: Site
) -> None:
    await saas.kill()
    await loaded.start(load=loaded.load(group=5, pause=0.02, size=KIBIBYTE))
    pid = loaded.agent.pid
    await accept_more(loaded, ROWS)
    disk.fill(leave=0)
    assert "free disk space" in await refusal(loaded)
    accepted = len(loaded.accepted())
    await saas.start()
    await until(lambda status: delivered(status) >= accepted, loaded, 30)
    assert len(loaded.accepted()) == accepted, "the space for draining is not for new rows"
    disk.give_back()
    await accept_more(loaded, ROWS)
    assert loaded.agent.pid == pid
    assert loaded.agent.returncode is None
    await count_after_a_drain("disk filled by others", saas, loaded, 2 * ROWS)


async def test_a_commit_that_finds_no_room_takes_nothing_with_it(saas: Saas, disk: LoopDisk, loaded: Site) -> None:
    """Nothing is kept for the host here, so it is SQLite that meets the end of the disk, in the middle of a commit."""
    loaded.configure({"outbox": {"min_free": "0B", "ballast": "1MiB"}})
    await saas.kill()
    load = loaded.load(group=5, pause=0.01, size=4 * KIBIBYTE)
    await loaded.start(load=load)
    pid = loaded.agent.pid
    await accept_more(loaded, ROWS)
    disk.fill(leave=512 * KIBIBYTE)
    beside = loaded.start_producer(load)
    with trio.fail_after(30):
        assert await beside.wait() == 1
    assert "database or disk is full" in beside.log.read_text()
    disk.give_back()
    await saas.start()
    await accept_more(loaded, ROWS)
    assert loaded.agent.pid == pid
    assert loaded.agent.returncode is None
    await count_after_a_drain("no room in a commit", saas, loaded, 2 * ROWS)


async def test_a_disk_that_turns_read_only_while_rows_are_delivered_loses_and_repeats_nothing(
    saas: Saas, disk: LoopDisk, loaded: Site, tmp_path: Path
) -> None:
    """What the SaaS took last could not be noted any more; the agent finds out when the disk is back."""
    await loaded.start(load=loaded.load(group=5, pause=0.02))
    await accept_more(loaded, ROWS)
    await disk.fail_read_only()
    assert "(attempt to write a readonly database): check" in await refusal(loaded)
    assert loaded.agent.returncode is None, "the daemon stays, so that it can say what is wrong"
    assert "readonly database" in loaded.log.read_text()
    await loaded.kill()
    accepted = loaded.accepted()
    image = tmp_path / "after"
    await disk.snapshot(image)
    async with (
        open_snapshot(image, tmp_path / "mounted") as mounted,
        open_site(tmp_path / "again", saas.port, saas.site, state=mounted / "state") as again,
    ):
        again.configure({"facts": {"enabled": False}})
        await again.start()
        await drained(again)
        assert (await again.mra("outbox", "verify")).returncode == 0
    await count_perfect("read-only under load", saas, accepted, at_least=ROWS)
