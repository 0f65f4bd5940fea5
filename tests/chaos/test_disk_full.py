"""A disk that ends or turns read-only, with nobody at work and with producers in the middle of it; a full outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from mra.clock import now
from mra.errors import EXIT_RETRY, OutboxFull
from mra.outbox.opening import prepare
from mra.outbox.policy import OutboxSettings
from mra.outbox.record import Draft, Lane
from mra.outbox.store import Request, accept
from tests.chaos.ending import accept_more, count_perfect, drained, site_on_what_is_left, until

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from tests.harness.disks import LoopDisk
    from tests.harness.saas import Saas
    from tests.harness.site import Site

pytestmark = pytest.mark.chaos
ROWS = 400
KIBIBYTE = 1024


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


async def test_a_full_disk_refuses_rows_drains_and_recovers_without_a_restart(
    saas: Saas, disk: LoopDisk, disk_site: Site
) -> None:
    disk_site.configure({"outbox": {"min_free": "4MiB"}})  # less than what draining sets aside
    await disk_site.produce(disk_site.load(group=20, count=1000, pause=0, size=1024))
    await disk_site.start()
    await drained(disk_site)
    await saas.kill()
    await disk_site.produce(disk_site.load(group=20, count=1000, pause=0, size=1024))
    disk.fill(leave=0)
    refused = await disk_site.mra("submit", "app.refused", str(disk_site.config), check=False)
    assert refused.returncode == 75
    assert b"free disk space" in refused.stderr
    assert refused.stderr.count(b"\n") == 1
    await saas.start()
    await drained(disk_site)  # the disk is still full
    disk.give_back()
    await disk_site.produce(disk_site.load(group=20, count=200, pause=0, size=1024))
    await drained(disk_site)
    await count_perfect("full disk", saas, disk_site.accepted(), at_least=8800)


async def test_rows_on_a_disk_that_fills_up_under_load_drain_while_it_is_full(
    saas: Saas, disk: LoopDisk, disk_site: Site
) -> None:
    await saas.kill()
    await disk_site.start(load=disk_site.load(group=5, pause=0.02, size=KIBIBYTE))
    pid = disk_site.agent.pid
    await accept_more(disk_site, ROWS)
    disk.fill(leave=0)
    assert "free disk space" in await refusal(disk_site)
    accepted = len(disk_site.accepted())
    await saas.start()
    await until(lambda status: delivered(status) >= accepted, disk_site, 30)
    assert len(disk_site.accepted()) == accepted, "the space for draining is not for new rows"
    disk.give_back()
    await accept_more(disk_site, ROWS)
    assert disk_site.agent.pid == pid
    assert disk_site.agent.returncode is None
    await count_after_a_drain("disk filled by others", saas, disk_site, 2 * ROWS)


async def test_a_commit_that_finds_no_room_takes_nothing_with_it(saas: Saas, disk: LoopDisk, disk_site: Site) -> None:
    """Nothing is kept for the host here, so it is SQLite that meets the end of the disk, in the middle of a commit."""
    disk_site.configure({"outbox": {"min_free": "0B", "ballast": "1MiB"}})
    await saas.kill()
    load = disk_site.load(group=5, pause=0.01, size=4 * KIBIBYTE)
    await disk_site.start(load=load)
    pid = disk_site.agent.pid
    await accept_more(disk_site, ROWS)
    disk.fill(leave=512 * KIBIBYTE)
    beside = disk_site.start_producer(load)
    with trio.fail_after(30):
        assert await beside.wait() == 1
    assert "database or disk is full" in beside.log.read_text()
    disk.give_back()
    await saas.start()
    await accept_more(disk_site, ROWS)
    assert disk_site.agent.pid == pid
    assert disk_site.agent.returncode is None
    await count_after_a_drain("no room in a commit", saas, disk_site, 2 * ROWS)


async def test_a_disk_that_turns_read_only_while_rows_are_delivered_loses_and_repeats_nothing(
    saas: Saas, disk: LoopDisk, disk_site: Site, tmp_path: Path
) -> None:
    """What the SaaS took last could not be noted any more; the agent finds out when the disk is back."""
    await disk_site.start(load=disk_site.load(group=5, pause=0.02))
    await accept_more(disk_site, ROWS)
    await disk.fail_read_only()
    assert "(attempt to write a readonly database): check" in await refusal(disk_site)
    assert disk_site.agent.returncode is None, "the daemon stays, so that it can say what is wrong"
    assert "readonly database" in disk_site.log.read_text()
    await disk_site.kill()
    accepted = disk_site.accepted()
    async with site_on_what_is_left(saas, disk, tmp_path) as again:
        await again.start()
        await drained(again)
        assert (await again.mra("outbox", "verify")).returncode == 0
    await count_perfect("read-only under load", saas, accepted, at_least=ROWS)


async def test_a_disk_that_turns_read_only_loses_nothing_that_was_acknowledged(
    saas: Saas, disk: LoopDisk, disk_site: Site, tmp_path: Path
) -> None:
    await saas.suspend()
    await disk_site.start()
    await disk_site.produce(disk_site.load(group=20, count=200, pause=0))
    await disk.fail_read_only()
    refused = await disk_site.mra("submit", "app.refused", str(disk_site.config), check=False)
    assert refused.returncode not in (0, 1)
    assert b"Traceback" not in refused.stderr
    await disk_site.kill()
    saas.resume()
    async with site_on_what_is_left(saas, disk, tmp_path) as again:
        await again.start()
        await drained(again)
    await count_perfect("read-only disk", saas, disk_site.accepted(), at_least=800)


async def test_an_outbox_at_its_bound_still_drains(saas: Saas, disk_site: Site) -> None:
    """The file's own limit, not the disk's: rows are refused, and settling and pruning have pages left to work with."""
    disk_site.configure({"outbox": {"max_bytes": "4MiB"}, "lanes.events": {"overflow": "reject"}})
    connection = prepare(disk_site.database, OutboxSettings(max_bytes=4 << 20, ballast=0, min_free=0))
    try:
        settings = OutboxSettings(max_bytes=4 << 20, ballast=0, min_free=0)
        accepted = 0
        drafts = [Draft(Lane.SUBMISSIONS, "app.row", b"x" * 1024) for _ in range(50)]
        while True:
            (outcome,) = accept(connection, disk_site.database, [Request(drafts)], settings, now())
            if isinstance(outcome, OutboxFull):
                break
            assert isinstance(outcome, list)
            accepted += len(outcome)
    finally:
        connection.close()
    assert accepted > 1000
    await disk_site.start()
    await until(lambda status: status["lanes"]["submissions"]["delivered"] == accepted, disk_site)
