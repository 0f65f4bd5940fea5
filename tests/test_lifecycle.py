"""What the agent tells of its own life, read back from a real outbox."""

from __future__ import annotations

import json
import random
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mra.errors import OutboxFull
from mra.lifecycle import Lifecycle, lifecycle_event
from mra.outbox.outbox import open_outbox
from mra.outbox.policy import OutboxSettings

SCHEMAS = Path(__file__).parents[2] / "shared" / "interop" / "schemas" / "choria" / "lifecycle" / "v1"
SETTINGS = OutboxSettings(min_free=0, ballast=0)


@pytest.fixture
def open_life(tmp_path):
    @asynccontextmanager
    async def opened(version: str = "1.0.0", dice: random.Random | None = None):
        async with open_outbox(tmp_path / "outbox.db", SETTINGS) as outbox:
            yield Lifecycle(outbox, "site1", version, dice), outbox

    return opened


class Dice(random.Random):
    """Throws what a test wants."""

    def __init__(self, minutes: int) -> None:
        super().__init__(0)
        self.minutes, self.asked = minutes, 0

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        self.asked = start
        return self.minutes


class Journal:
    """An outbox that remembers what it took, and refuses when told to."""

    def __init__(self) -> None:
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.full = False

    async def read(self, unit):
        await trio.lowlevel.checkpoint()

    async def append(self, draft):
        await self.append_many([draft])

    async def append_many(self, drafts, also=None):
        await trio.lowlevel.checkpoint()
        if self.full:
            raise OutboxFull("There is no room: make some.")
        self.events += [(trio.current_time(), json.loads(draft.body)) for draft in drafts]


async def stored(outbox) -> list[tuple[str, dict[str, Any]]]:
    rows = await outbox.read(
        lambda connection: connection.execute("SELECT subject, body FROM row_events ORDER BY seq").fetchall()
    )
    return [(subject, json.loads(body)) for subject, body in rows]


async def test_a_run_begins_with_a_startup_and_ends_with_a_shutdown(open_life):
    async with open_life() as (life, outbox):
        await life.announce()
        await life.close()
        found = await stored(outbox)
    assert [subject for subject, _ in found] == ["lifecycle.event.startup.server", "lifecycle.event.shutdown.server"]
    assert [event["data"].get("version") for _, event in found] == ["1.0.0", None]
    assert {event["subject"] for _, event in found} == {event["data"]["identity"] for _, event in found} == {"site1"}


async def test_another_version_on_the_same_state_is_an_upgrade_and_is_told_once(open_life):
    for version in ("1.0.0", "1.1.0", "1.1.0"):
        async with open_life(version) as (life, outbox):
            await life.announce()
            found = await stored(outbox)
    upgrades = [event["data"] for _, event in found if event["type"] == "io.choria.lifecycle.v1.upgraded"]
    assert [(each["version"], each["new_version"]) for each in upgrades] == [("1.0.0", "1.1.0")]


async def test_the_start_is_told_once_even_when_the_task_is_started_again(open_life):
    async with open_life() as (life, outbox):
        await life.announce()
        await life.announce()
        assert len(await stored(outbox)) == 1


async def test_a_run_that_never_told_its_start_tells_no_shutdown(open_life):
    async with open_life() as (life, outbox):
        await life.close()
        assert await stored(outbox) == []


async def test_a_stop_while_the_start_is_being_stored_is_told_all_the_same(mock_clock: MockClock):
    journal = Journal()
    life = Lifecycle(journal, "site1", "1.0.0")  # type: ignore[arg-type]
    append_many = journal.append_many

    async def stored_but_not_answered(drafts, also=None):
        await append_many(drafts, also)
        await trio.sleep_forever()

    journal.append_many = stored_but_not_answered  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    journal.append_many = append_many  # type: ignore[method-assign]
    await life.close()
    assert [event["type"].rpartition(".")[2] for _, event in journal.events] == ["startup", "shutdown"]


async def test_a_start_that_was_refused_is_told_at_the_next_attempt():
    journal = Journal()
    life = Lifecycle(journal, "site1", "1.0.0")  # type: ignore[arg-type]
    journal.full = True
    with pytest.raises(OutboxFull):
        await life.announce()
    journal.full = False
    await life.announce()
    assert len(journal.events) == 1


async def test_signs_of_life_come_every_half_hour_each_with_its_own_id_and_time(autojump_clock: MockClock):
    journal, dice = Journal(), Dice(minutes=17)
    life = Lifecycle(journal, "site1", "1.0.0", dice)  # type: ignore[arg-type]
    started = trio.current_time()
    with trio.move_on_after(17 * 60 + 3 * 1800 + 1):
        await life.run()
    alive = [(at - started, event) for at, event in journal.events if event["type"].endswith(".alive")]
    assert dice.asked == 30
    assert [round(at / 60) for at, _ in alive] == [17, 47, 77, 107]
    assert len({event["id"] for _, event in alive}) == 4
    assert all(event["id"] == event["data"]["id"] for _, event in alive)
    assert len({event["time"] for _, event in alive}) == 4


async def test_a_full_outbox_costs_signs_of_life_and_not_the_task(mock_clock: MockClock):
    journal = Journal()
    life = Lifecycle(journal, "site1", "1.0.0", Dice(minutes=0))  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.run)
        await wait_all_tasks_blocked()
        journal.full = True
        mock_clock.jump(1800)
        await wait_all_tasks_blocked()
        journal.full = False
        mock_clock.jump(1800)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [event["type"].rpartition(".")[2] for _, event in journal.events] == ["startup", "alive", "alive"]


async def test_the_shutdown_waits_for_nobody_longer_than_two_seconds(autojump_clock: MockClock):
    journal = Journal()
    life = Lifecycle(journal, "site1", "1.0.0")  # type: ignore[arg-type]
    await life.announce()

    async def hang(draft):
        await trio.sleep_forever()

    journal.append = hang  # type: ignore[method-assign]
    before = trio.current_time()
    await life.close()
    assert trio.current_time() - before == pytest.approx(2)


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason=f"Choria's schemas are not at {SCHEMAS}")
@pytest.mark.parametrize(
    ("type_", "extra"),
    [
        ("startup", {"version": "1"}),
        ("alive", {"version": "1"}),
        ("shutdown", {}),
        ("upgraded", {"version": "1", "new_version": "2"}),
    ],
)
def test_every_type_is_what_the_published_schema_asks_for(type_, extra):
    event = json.loads(lifecycle_event(type_, "site1", 1_767_261_600_123_456_789, **extra).body)
    schema = json.loads((SCHEMAS / f"{type_}.json").read_text())
    jsonschema.Draft4Validator(schema).validate(event["data"])
    assert event["type"] == event["data"]["protocol"]
    assert (event["source"], event["data"]["timestamp"]) == ("io.choria.lifecycle", 1_767_261_600)
