"""How fast the outbox accepts."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import trio

from lab.bench.limits import BODY, ROWS_PER_COMMIT, bare_sqlite
from mra.outbox.outbox import open_outbox
from mra.outbox.policy import OutboxSettings
from mra.outbox.record import Draft, Lane

if TYPE_CHECKING:
    from mra.outbox.outbox import Outbox

PRODUCERS = 256
DRAFT = Draft(Lane.EVENTS, "bench.row", BODY)


async def _concurrent(outbox: Outbox, rows_each: int) -> float:
    async def produce() -> None:
        for _ in range(rows_each):
            await outbox.append(DRAFT)

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(PRODUCERS):
            nursery.start_soon(produce)
    return PRODUCERS * rows_each / (time.perf_counter() - started)


async def _bulk(outbox: Outbox, commits: int) -> float:
    drafts = [DRAFT] * ROWS_PER_COMMIT
    started = time.perf_counter()
    for _ in range(commits):
        await outbox.append_many(drafts)
    return commits * ROWS_PER_COMMIT / (time.perf_counter() - started)


async def _outbox(folder: Path, scale: float) -> tuple[float, float]:
    async with open_outbox(folder / "outbox.db", OutboxSettings(ballast=0)) as outbox:
        return await _concurrent(outbox, int(400 * scale)), await _bulk(outbox, int(100 * scale))


def measure(where: Path, scale: float = 1.0, rounds: int = 3) -> dict[str, float]:
    """Rows per second: the bare loop, 256 concurrent producers, bulk; medians of alternating rounds."""
    limit, concurrent, bulk = [], [], []
    for _ in range(rounds):
        folder = Path(tempfile.mkdtemp(dir=where))
        limit.append(bare_sqlite(folder, int(100 * scale)))
        one, many = trio.run(_outbox, folder, scale)
        concurrent.append(one)
        bulk.append(many)
        shutil.rmtree(folder)
    return {"limit": median(limit), "concurrent": median(concurrent), "bulk": median(bulk)}
