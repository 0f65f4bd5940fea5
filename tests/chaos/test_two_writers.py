"""Two daemons on one directory, and a copied directory run beside the original."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from mra.errors import EXIT_RETRY
from mra.outbox.record import Lane
from tests.chaos.ending import count_perfect, drained, until
from tests.harness.counting import count
from tests.harness.site import open_site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.saas import Saas
    from tests.harness.site import Site

pytestmark = pytest.mark.chaos


async def test_a_second_daemon_is_refused_in_one_sentence_and_the_first_goes_on(saas: Saas, site: Site) -> None:
    await site.start()
    second = await site.mra("run", check=False)
    assert second.returncode == EXIT_RETRY
    assert second.stderr.decode().startswith("mra: Another daemon")
    assert second.stderr.count(b"\n") == 1
    await site.produce(site.load(count=100, pause=0))
    await drained(site)
    await count_perfect("second daemon", saas, site.accepted(), at_least=400)


async def test_a_copied_directory_is_fenced_and_nothing_is_stored_twice(saas: Saas, site: Site, tmp_path: Path) -> None:
    """Both have the same rows waiting. The first to send wins; the other stands still and says so."""
    await site.produce(site.load(Lane.EVENTS, count=200, pause=0))
    await site.start()
    await drained(site)
    await site.terminate()
    await site.produce(site.load(Lane.EVENTS, count=300, pause=0))
    shutil.copytree(site.state, tmp_path / "copy")
    async with open_site(tmp_path / "other", saas.port, saas.site, state=tmp_path / "copy") as copy:
        await site.start()
        await drained(site)
        await site.produce(site.load(Lane.EVENTS, count=100, pause=0))
        await drained(site)
        await copy.produce(copy.load(Lane.EVENTS, count=50, pause=0))
        await copy.start()
        await until(lambda status: status["lanes"]["events"]["held"], copy)
        assert "fenced" in (await copy.status())["lanes"]["events"]["held"]
        await count_perfect("fenced copy", saas, site.accepted(), at_least=600)
        # The original is gone for good: the copy is told to go on, and its own rows arrive. Rows that both had may
        # then come from both; their ids tell, and the command says so beforehand.
        await site.terminate()
        for lane, fields in (await copy.status())["lanes"].items():
            if fields["held"]:
                await copy.mra("outbox", "adopt", lane, "--force")
        await copy.terminate()
        await copy.start()
        await drained(copy)
        found = (await count(saas, site.accepted() | copy.accepted()))["events"]
        print(f"adopted copy: {found}")
        assert (found.lost, found.accepted) == (0, 650)
        assert found.duplicated <= 300, "only rows that lay in both databases may come twice"
