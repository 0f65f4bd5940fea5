"""Sealed files on a real server: whatever way rows take, and however often, each is stored once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from mra.aio.session import Access
from mra.errors import BadInput, Refused
from mra.outbox.outbox import open_outbox
from mra.outbox.record import Lane
from mra.uplink.service import UplinkSettings, run_uplink
from mra.uplink.status import LinkStatus
from tests.harness.saas import EVENTS, SUBMISSION, Saas, open_saas
from tests.outbox.desk import SETTINGS
from tests.sealed.courier import Island, bring, bring_and_answer, proven, stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.lab


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Saas]:
    async with open_saas(tmp_path / "saas") as running:
        yield running


@pytest.fixture
def island(tmp_path: Path) -> Iterator[Island]:
    with Island.open(tmp_path / "island") as island:
        yield island


async def come_online(saas: Saas, folder: Path) -> LinkStatus:
    """The site's agent reaches the SaaS after all, and drains what is left to drain."""
    access = Access((saas.url,), "site1", saas.site.user, saas.site.password)
    status = LinkStatus()
    settings = UplinkSettings(retry_first=0.05, retry_cap=0.2)
    async with open_outbox(folder / "outbox.db", SETTINGS) as outbox, trio.open_nursery() as nursery:
        nursery.start_soon(run_uplink, outbox, access, settings, status)
        with trio.fail_after(30):
            await outbox.wait_empty()
        nursery.cancel_scope.cancel()
    return status


async def test_rows_arrive_as_if_the_site_had_sent_them(saas: Saas, island: Island) -> None:
    island.accept(2)
    island.accept(3, Lane.SUBMISSIONS)
    assert stored(await bring(saas, island.export())) == {"events": 2, "submissions": 3}
    assert await proven(saas) == {"site1-events": 2, "site1-submissions": 3}
    async with saas.connect() as wire:
        first, *_, checkpoint = await wire.read_stream(EVENTS)
        assert len(await wire.read_stream(SUBMISSION)) == 4
    epoch = island.desk.state(Lane.EVENTS).epoch
    assert first.subject == "machine_room.events.acme.some.subject"
    assert first.headers["Mra-Row"] == f"site1-events {epoch} 1 0"
    assert first.headers["A"] == "b"
    assert checkpoint.subject == "machine_room.events.acme.checkpoint.site1-events"


async def test_a_file_imported_twice_stores_nothing_twice(saas: Saas, island: Island) -> None:
    island.accept(2500)
    path = island.export()
    assert stored(await bring(saas, path)) == {"events": 2500}
    assert stored(await bring(saas, path)) == {"events": 0}
    assert await proven(saas) == {"site1-events": 2500}


async def test_two_imports_at_once_store_each_row_once(saas: Saas, island: Island) -> None:
    island.accept(6000)
    path = island.export()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(bring, saas, path)
    assert await proven(saas) == {"site1-events": 6000}


async def test_exporting_again_adds_only_what_is_new(saas: Saas, island: Island) -> None:
    island.accept(3)
    first = island.export()
    island.accept(4)
    second = island.export()
    assert stored(await bring(saas, first)) == {"events": 3}
    assert stored(await bring(saas, second)) == {"events": 4}
    assert stored(await bring(saas, first)) == {"events": 0}  # the courier finds it in another pocket
    assert await proven(saas) == {"site1-events": 7}


async def test_the_newer_file_alone_is_enough(saas: Saas, island: Island) -> None:
    island.accept(3)
    first = island.export()
    island.accept(4)
    assert stored(await bring(saas, island.export())) == {"events": 7}
    assert stored(await bring(saas, first)) == {"events": 0}


async def test_an_answer_settles_and_the_next_file_begins_behind_it(saas: Saas, island: Island) -> None:
    island.accept(3)
    settled = island.settle(await bring_and_answer(saas, island.export()))
    assert settled[Lane.EVENTS] == (3, 3)
    assert island.standing() == (3, 0)
    island.accept(2)
    path = island.export()
    assert island.last.parts[0].first_seq == 4
    assert stored(await bring(saas, path)) == {"events": 2}
    assert await proven(saas) == {"site1-events": 5}


async def test_a_file_before_its_predecessor_names_what_is_missing(saas: Saas, island: Island) -> None:
    island.accept(3)
    first = island.export()
    island.desk.deliver(Lane.EVENTS)  # as if it had been answered
    island.accept(3)
    second = island.export()
    island.desk.deliver(Lane.EVENTS)
    island.accept(3)
    third = island.export()
    with pytest.raises(Refused, match=r"holds nothing of lane events .* rows up to 6 first"):
        await bring(saas, third)
    await bring(saas, first)
    with pytest.raises(Refused, match="Rows 4 to 6 of lane events of site1 are missing"):
        await bring(saas, third)
    await bring(saas, second)
    await bring(saas, third)
    assert await proven(saas) == {"site1-events": 9}


async def test_a_saas_restored_from_a_backup_gets_again_what_is_still_kept(
    saas: Saas, island: Island, tmp_path: Path
) -> None:
    island.accept(3)
    island.settle(await bring_and_answer(saas, island.export()))
    await saas.stop()
    saas.backup(tmp_path / "backup")
    await saas.start()
    island.accept(4)
    island.settle(await bring_and_answer(saas, island.export()))
    await saas.stop()
    saas.restore(tmp_path / "backup")
    await saas.start()
    island.accept(2)
    with pytest.raises(Refused, match=r"Rows 4 to 7 .* are missing.* export with --all"):
        await bring(saas, island.export())
    raw = await bring_and_answer(saas, island.export(everything=True))
    assert await proven(saas) == {"site1-events": 9}
    assert island.settle(raw) == {Lane.EVENTS: (2, 9)}


async def test_a_site_that_comes_online_finds_its_file_stored(saas: Saas, tmp_path: Path) -> None:
    with Island.open(tmp_path / "site") as island:
        island.accept(2500)
        await bring(saas, island.export())
        island.accept(10)
    await come_online(saas, tmp_path / "site")
    assert await proven(saas) == {"site1-events": 2510}
    with Island.open(tmp_path / "site") as island:
        assert island.standing() == (2510, 0)
        assert island.desk.state(Lane.EVENTS).exported_through == 0


async def test_a_file_and_the_site_itself_at_once_store_each_row_once(saas: Saas, tmp_path: Path) -> None:
    with Island.open(tmp_path / "site") as island:
        island.accept(9000)
        path = island.export()
        island.accept(500)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(come_online, saas, tmp_path / "site")
        nursery.start_soon(bring, saas, path)
    assert await proven(saas) == {"site1-events": 9500}
    with Island.open(tmp_path / "site") as island:
        assert island.standing() == (9500, 0)


async def test_a_file_that_comes_after_the_site_itself_adds_nothing(saas: Saas, tmp_path: Path) -> None:
    with Island.open(tmp_path / "site") as island:
        island.accept(1500)
        path = island.export()
        island.accept(1500)
    await come_online(saas, tmp_path / "site")
    assert stored(await bring(saas, path)) == {"events": 0}
    assert await proven(saas) == {"site1-events": 3000}


async def test_a_file_gives_the_rest_of_what_the_site_delivered_in_part(saas: Saas, tmp_path: Path) -> None:
    with Island.open(tmp_path / "site") as island:
        island.accept(700)
        island.copy(tmp_path / "earlier")
    await come_online(saas, tmp_path / "earlier")  # the first 700 travel over the link, and the answer is lost
    with Island.open(tmp_path / "site") as island:
        island.accept(800)
        assert stored(await bring(saas, island.export())) == {"events": 800}
    await come_online(saas, tmp_path / "site")
    assert await proven(saas) == {"site1-events": 1500}


async def test_a_copy_of_a_site_that_went_its_own_way_is_refused(saas: Saas, island: Island, tmp_path: Path) -> None:
    island.accept(5)
    island.copy(tmp_path / "copy")
    island.accept(5)
    with Island.open(tmp_path / "copy") as copy:
        copy.accept(3)
        shorter = copy.export()
        copy.accept(5)
        longer = copy.export()
    await bring(saas, island.export())
    for path in (shorter, longer):
        with pytest.raises(Refused, match="Row 6 of lane events is another one"):
            await bring(saas, path)
    assert await proven(saas) == {"site1-events": 10}


async def test_rows_shed_here_after_the_hold_do_not_fence_the_site_when_the_file_arrives(
    saas: Saas, tmp_path: Path
) -> None:
    with Island.open(tmp_path / "site") as island:
        island.accept(4, Lane.METRICS)
        path = island.export()
        island.desk.sleep(60 * 86400)
        assert island.desk.shed_aged() == 4
        island.accept(2, Lane.METRICS)
    await bring(saas, path)
    status = await come_online(saas, tmp_path / "site")
    assert status.lanes[Lane.METRICS].last_error is None
    assert await proven(saas) == {"site1-metrics": 6}


async def test_a_new_installation_takes_over_only_when_told_to(saas: Saas, island: Island, tmp_path: Path) -> None:
    island.accept(3)
    old = island.export()
    await bring(saas, old)
    with Island.open(tmp_path / "new") as new:
        new.accept(2)
        path = new.export()
    with pytest.raises(Refused, match=r"another installation .* import with --adopt"):
        await bring(saas, path)
    assert stored(await bring(saas, path, adopt=True)) == {"events": 2}
    assert stored(await bring(saas, path)) == {"events": 0}
    for adopt in (False, True):  # the old one does not come back, not even by mistake
        with pytest.raises(Refused):
            await bring(saas, old, adopt=adopt)
    assert await proven(saas) == {"site1-events": 5}


async def test_a_row_too_large_for_the_saas_is_refused_before_anything_is_stored(saas: Saas, island: Island) -> None:
    island.accept(3)
    island.accept(1, Lane.SUBMISSIONS, size=2 << 20)
    with pytest.raises(Refused, match=r"Row 1 of lane submissions .* raise max_payload"):
        await bring(saas, island.export())
    assert await proven(saas) == {}


async def test_a_saas_that_takes_smaller_batches_gets_smaller_ones(
    saas: Saas, island: Island, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mra.uplink import answers, jetstream

    commit = jetstream.JetStreamLink.commit

    async def picky(self, batch, checkpoint, expected):  # type: ignore[no-untyped-def]
        if len(batch.rows) > 100:
            raise answers.TooManyRows("at most 100")
        return await commit(self, batch, checkpoint, expected)

    monkeypatch.setattr(jetstream.JetStreamLink, "commit", picky)
    island.accept(1200)
    assert stored(await bring(saas, island.export())) == {"events": 1200}
    monkeypatch.undo()
    assert await proven(saas) == {"site1-events": 1200}


async def test_an_answer_that_is_lost_costs_nothing(
    saas: Saas, island: Island, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mra.errors import Unavailable
    from mra.uplink import jetstream

    commit = jetstream.JetStreamLink.commit
    calls = 0

    async def forgetful(self, batch, checkpoint, expected):  # type: ignore[no-untyped-def]
        nonlocal calls
        done = await commit(self, batch, checkpoint, expected)
        calls += 1
        if calls % 2:
            raise Unavailable("the answer was lost")
        return done

    monkeypatch.setattr(jetstream.JetStreamLink, "commit", forgetful)
    island.accept(5000)
    await bring(saas, island.export())
    assert await proven(saas) == {"site1-events": 5000}


async def test_a_file_that_is_no_sealed_one_is_not_opened(saas: Saas, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello")
    with pytest.raises(BadInput, match="no sealed file"):
        await bring(saas, tmp_path / "x")
