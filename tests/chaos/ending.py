"""How every chaos test ends: drained, counted, printed, perfect."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from tests.harness.counting import count
from tests.harness.disks import open_snapshot
from tests.harness.site import open_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from tests.harness.disks import LoopDisk
    from tests.harness.ledger import Row
    from tests.harness.saas import Saas
    from tests.harness.site import Site


async def drained(site: Site, seconds: float = 60) -> None:
    """Wait until nothing waits at the site."""
    with trio.fail_after(seconds):
        await site.wait_drained()


async def until(holds: Callable[[dict[str, Any]], object], site: Site, seconds: float = 20) -> None:
    """Ask the daemon for its status until it `holds`; another process offers nothing to wait on."""
    with trio.fail_after(seconds):
        while not holds(await site.status()):  # noqa: ASYNC110
            await trio.sleep(0.05)


async def accept_up_to(site: Site, rows: int, seconds: float = 60) -> None:
    """Wait until producers were told of that many rows."""
    with trio.fail_after(seconds):
        while len(site.accepted()) < rows:  # noqa: ASYNC110 - the producers are other processes
            await trio.sleep(0.05)


async def accept_more(site: Site, rows: int, seconds: float = 60) -> None:
    """Wait until producers were told of that many more rows."""
    await accept_up_to(site, len(site.accepted()) + rows, seconds)


@asynccontextmanager
async def site_on_what_is_left(saas: Saas, disk: LoopDisk, folder: Path) -> AsyncIterator[Site]:
    """Another site on a copy of the disk as its blocks are now."""
    image = folder / "after"
    await disk.snapshot(image)
    async with (
        open_snapshot(image, folder / "mounted") as mounted,
        open_site(folder / "again", saas.port, saas.site, state=mounted / "state") as site,
    ):
        site.configure({"facts": {"enabled": False}})
        yield site


async def count_perfect(story: str, saas: Saas, accepted: Iterable[Row], *, at_least: int = 1) -> int:
    """Count what the SaaS holds, say it, and fail unless every accepted row is there once and in order."""
    counts = await count(saas, accepted)
    for lane, found in counts.items():
        print(
            f"{story}: {lane}: accepted {found.accepted}, delivered {found.delivered}, lost {found.lost},"
            f" duplicated {found.duplicated}, reordered {found.reordered}"
        )
    assert all(found.perfect for found in counts.values()), counts
    total = sum(found.delivered for found in counts.values())
    assert total >= at_least
    return total
