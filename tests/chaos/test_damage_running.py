"""Pages of the database are overwritten under a running daemon: it mends the file and goes on in the same process."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio

from mra.outbox import doubt
from mra.outbox.record import Lane
from tests.chaos.ending import accept_more, accept_up_to, drained, until
from tests.harness.counting import count
from tests.harness.ledger import LedgerWriter, Row
from tests.harness.loaded_agent import PRODUCERS_PER_LANE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.harness.ledger import Counts
    from tests.harness.saas import Saas
    from tests.harness.site import Site

pytestmark = pytest.mark.chaos
PAGE = 4096
QUIET = {"facts": {"enabled": False}, "machines": {"enabled": False}}
MOST_ROWS_ON_A_PAGE = 12  # of 300 bytes and what is stored beside them
PER_MAP = PAGE // 5 + 1  # pages that one page of the pointer map stands for, itself included; the first is page 2
KINDS = {2: "inner index", 5: "inner table", 10: "index", 13: "rows", 0: "rest of a row"}  # by a page's first byte


def kind_of(no: int, content: bytes) -> str | None:
    """What page `no` (from 1) is; none that matters when it is empty."""
    if not any(content):
        return None
    return "pointer map" if (no - 2) % PER_MAP == 0 else KINDS.get(content[0])


def overwrite(file: Path, kind: str, most: int, dice: random.Random) -> int:
    """Fill up to `most` pages of a kind with noise, as a failing disk would, past SQLite; return how many."""
    content = file.read_bytes()
    pages = {no: content[(no - 1) * PAGE : no * PAGE] for no in range(2, len(content) // PAGE + 1)}
    found = [no for no, page in pages.items() if kind_of(no, page) == kind]
    chosen = dice.sample(found, min(most, len(found)))
    with file.open("r+b") as disk:
        for no in chosen:
            disk.seek((no - 1) * PAGE)
            disk.write(dice.randbytes(PAGE))
    return len(chosen)


async def submitted(site: Site, row: Row) -> None:
    """Submit as a person does: what fails for the damage is tried again, and the daemon has heard of it."""
    (site.directory / "row").write_bytes(row.body())
    with trio.fail_after(60):
        while (done := await site.mra("submit", "tested.rows", str(site.directory / "row"), check=False)).returncode:
            assert done.returncode == 75
            assert b"damaged" in done.stderr or b"salvaged" in done.stderr, done.stderr
    ledger = LedgerWriter(site.ledger)
    ledger.accepted([row])
    ledger.close()


def say(story: str, counts: Mapping[str, Counts], gone: int) -> int:
    """The counts, none of them double or out of order; how many rows are missing."""
    for lane, found in counts.items():
        print(
            f"{story}: {lane}: accepted {found.accepted}, delivered {found.delivered}, lost {found.lost}"
            f" ({gone} on record in all lanes), duplicated {found.duplicated}, reordered {found.reordered}"
        )
        assert found.duplicated == found.reordered == 0
    return sum(found.lost for found in counts.values())


async def on_record(site: Site) -> int:
    """Rows that the site itself says will not be delivered."""
    return sum(lane["shed"] + lane["parked"] for lane in (await site.status())["lanes"].values())


@pytest.mark.parametrize(
    ("kind", "pages", "size"),
    [
        ("rows", 1, 300),
        ("rows", 40, 300),
        ("rest of a row", 5, 9000),
        ("inner table", 9, 300),
        ("index", 9, 300),
        ("pointer map", 9, 300),
    ],
)
async def test_what_a_resting_daemon_cannot_read_any_more_is_on_record(
    kind: str, pages: int, size: int, saas: Saas, site: Site
) -> None:
    """The SaaS is away and everything waits: each row is delivered, or counted as lost, to the row."""
    site.configure(QUIET)
    rows = 500 if size < 1000 else 50
    await saas.kill()
    await site.start(load=site.load(Lane.EVENTS, Lane.SUBMISSIONS, group=50, count=rows, pause=0, size=size))
    await accept_up_to(site, 2 * PRODUCERS_PER_LANE * rows)
    await site.mra("outbox", "vacuum")  # everything is in the file itself, nothing in its log
    pid = site.agent.pid
    assert overwrite(site.database, kind, pages, random.Random(pages)) > 0
    await saas.start()
    await drained(site)
    gone = await on_record(site)
    lost = say(f"{pages} pages ({kind}) under a resting daemon", await count(saas, site.accepted()), gone)
    assert gone == lost
    assert lost <= MOST_ROWS_ON_A_PAGE * pages if kind in ("rows", "rest of a row") else lost == 0
    assert (await site.status())["pid"] == pid, "the same daemon all along"
    await submitted(site, Row.new(Lane.SUBMISSIONS.value, "later", 1))
    await drained(site)
    counts = await count(saas, site.accepted())
    assert sum(found.lost for found in counts.values()) == lost, "what comes later is delivered"


@pytest.mark.parametrize("kind", ["rows", "index"])
async def test_damage_under_load_costs_what_was_on_the_pages_and_no_more(kind: str, saas: Saas, site: Site) -> None:
    """Accepting and delivering go on while the disk fails three times."""
    site.configure(QUIET)
    dice = random.Random(7)
    await site.start(load=site.load(group=5, pause=0.02, size=300))
    pid = site.agent.pid
    hit = 0
    for _ in range(3):
        await accept_more(site, 400)
        hit += overwrite(site.database, kind, 5, dice)
        await site.mra("outbox", "verify", check=False)  # tells the daemon what its own memory of the pages hides
        await accept_more(site, 100)  # what is accepted after the damage counts as ever
    assert hit > 0
    assert (await site.status())["pid"] == pid
    await site.terminate()
    await site.start()
    await drained(site)
    gone = await on_record(site)
    lost = say(f"{hit} pages ({kind}) under load", await count(saas, site.accepted()), gone)
    assert lost <= gone, "what is missing is on record"
    assert list(site.state.glob("outbox.db.damaged-*")), "it was salvaged on the way"
    # What `verify` found last is examined at the latest after the restart.
    await until(lambda _: doubt.since(site.database) is None, site, 60)
    assert (await site.mra("outbox", "verify", check=False)).returncode == 0
