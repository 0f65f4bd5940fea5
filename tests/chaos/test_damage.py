"""Pages of the database are overwritten: what still reads is delivered once, the rest is on record."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from mra.outbox.record import Lane
from tests.chaos.ending import drained
from tests.harness.counting import count

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.saas import Saas
    from tests.harness.site import Site

pytestmark = pytest.mark.chaos
PAGE = 4096
QUIET = {"facts": {"enabled": False}}


def overwrite(path: Path, pages: list[int]) -> None:
    """Fill whole pages with noise."""
    noise = random.Random(3)
    with path.open("r+b") as file:
        for page in pages:
            file.seek(page * PAGE)
            file.write(noise.randbytes(PAGE))


@pytest.mark.parametrize("damaged", [1, 5, 40])
async def test_a_damaged_file_is_salvaged_row_by_row(damaged: int, saas: Saas, site: Site) -> None:
    site.configure(QUIET)
    await saas.kill()
    await site.produce(site.load(Lane.EVENTS, Lane.SUBMISSIONS, group=50, count=1500, pause=0, size=300))
    await site.mra("outbox", "vacuum")  # everything is in the file itself, nothing in its log
    pages = site.database.stat().st_size // PAGE
    overwrite(site.database, random.Random(damaged).sample(range(pages // 2, pages), damaged))
    await saas.start()
    await site.start()
    await drained(site)
    counts = await count(saas, site.accepted())
    lost = sum(found.lost for found in counts.values())
    for lane, found in counts.items():
        print(
            f"{damaged} damaged pages: {lane}: accepted {found.accepted}, delivered {found.delivered},"
            f" lost {found.lost}, duplicated {found.duplicated}, reordered {found.reordered}"
        )
        assert found.duplicated == found.reordered == 0
    assert sum(found.delivered for found in counts.values()) > 2000, "what reads is delivered"
    if lost:
        listed = (await site.mra("outbox", "losses")).stdout.decode()
        parked = (await site.mra("outbox", "parked")).stdout.decode()
        assert "corrupt" in listed or "checksum" in parked
    status = await site.status()
    gone = sum(lane["shed"] + lane["parked"] for lane in status["lanes"].values())
    assert gone == lost, "what is missing is on record, row for row"
    checked = await site.mra("outbox", "verify", check=False)
    # A page of an index that no row needed stays unnoticed until somebody verifies; then it is named.
    assert checked.returncode == 0 or b"SQLite: " in checked.stdout
    if "salvaged" in site.log.read_text():
        assert list(site.state.glob("outbox.db.damaged-*")), "the damaged file is kept"


async def test_a_file_that_is_noise_from_its_first_page_is_kept_and_said_loudly(saas: Saas, site: Site) -> None:
    site.configure(QUIET)
    await site.produce(site.load(Lane.EVENTS, count=100, pause=0))
    await site.mra("outbox", "vacuum")
    before = site.database.read_bytes()
    overwrite(site.database, [0])
    await site.start()
    await site.produce(site.load(Lane.SUBMISSIONS, count=100, pause=0))
    await drained(site)
    kept = [file for file in site.state.glob("outbox.db.damaged-*") if not file.name.endswith(("-wal", "-shm"))]
    assert [file.read_bytes()[PAGE:] for file in kept] == [before[PAGE:]]
    assert "salvaged" in site.log.read_text()
    counts = await count(saas, site.accepted())
    print(f"first page damaged: {counts}")
    assert counts["submissions"].perfect
    assert counts["events"].duplicated == 0
