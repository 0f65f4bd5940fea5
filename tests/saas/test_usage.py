"""The streams are everyone's: whoever fills more than its share is suspended, and nobody else notices."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.harness.tenancy import Tenancy, open_tenancy
from tests.harness.wire import WireError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.lab


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Tenancy]:
    async with open_tenancy(tmp_path, "acme", "mallory") as running:
        yield running


async def flood(saas: Tenancy, customer: str, rows: int) -> None:
    async with saas.connect(saas.site(customer)) as site:
        for number in range(rows - 1):
            await site.publish(f"machine_room.events.x{number % 7}", b"x")
        await site.store("machine_room.events.last", b"x")  # answered when those before it are stored


async def usage(saas: Tenancy, *words: str) -> dict[str, Any]:
    return {one["customer"]: one for one in json.loads(await saas.mra("customer", "usage", "--json", *words))}


async def test_rows_are_counted_by_customer_and_stream(saas: Tenancy) -> None:
    await flood(saas, "acme", 10)
    async with saas.connect(saas.site("acme")) as acme:
        await acme.store("machine_room.submit.app", b"x")
    found = await usage(saas)
    assert found["acme"]["rows"] == {
        "MACHINE_ROOM_EVENTS": 10, "MACHINE_ROOM_NODES": 0, "MACHINE_ROOM_SUBMISSION": 1,
    }  # fmt: skip
    assert (found["acme"]["total"], found["acme"]["limit"], found["mallory"]["total"]) == (11, -1, 0)
    assert list(await usage(saas, "acme")) == ["acme"]
    assert "11" in await saas.mra("customer", "usage")


async def test_a_customer_beyond_its_room_is_suspended_and_the_others_go_on(saas: Tenancy) -> None:
    await saas.mra("customer", "limit", "mallory", "--rows", "100")
    await flood(saas, "mallory", 100)
    assert await saas.mra("customer", "guard") == ""
    await flood(saas, "mallory", 1)
    assert await saas.mra("customer", "guard") == "mallory is suspended: 101 rows of 100.\n"
    with pytest.raises(WireError, match="connections exceeded"):
        await flood(saas, "mallory", 1)
    await flood(saas, "acme", 200)
    assert await saas.mra("customer", "guard") == ""  # it says so once
    assert {name: one["total"] for name, one in (await usage(saas)).items()} == {"acme": 200, "mallory": 101}
    assert "suspended: 101 rows of 100" in await saas.mra("customer", "ls")
    await saas.mra("customer", "limit", "mallory", "--rows", "1000")
    await saas.mra("customer", "resume", "mallory")
    await flood(saas, "mallory", 1)
    assert saas.customer("mallory").reason == ""


async def test_a_guard_that_was_killed_before_the_server_knew_is_made_up_for(saas: Tenancy) -> None:
    await saas.mra("customer", "limit", "mallory", "--rows", "5")
    await flood(saas, "mallory", 10)
    saas.registry.change("mallory", lambda one: msgspec.structs.replace(one, suspended=True))
    await flood(saas, "mallory", 1)  # decided, but not told
    assert await saas.mra("customer", "guard") == ""
    with pytest.raises(WireError):
        await flood(saas, "mallory", 1)


async def test_without_the_server_a_single_round_asks_to_be_repeated(saas: Tenancy) -> None:
    await saas.stop()
    code, sentence = await saas.fail("customer", "guard")
    assert (code, sentence.count("\n")) == (75, 1)
