"""The mirror on a real server, from inside a customer's account, beside the lanes of the uplink."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio
import trio.testing

from mra.aio.session import Access, open_session
from mra.config import mirror as mirroring
from mra.config.bucket import SessionBucket
from mra.config.mirror import Mirror
from mra.errors import LinkLost, MraError, Unavailable
from mra.outbox.outbox import open_outbox
from mra.outbox.policy import OutboxSettings
from mra.outbox.record import Draft, Lane
from mra.saas import config
from mra.uplink.service import LinkStatus, UplinkSettings, run_uplink
from tests.harness.saas import LAB, open_saas

KV = json.loads((LAB / "streams" / "KV_CONFIG.json").read_text())


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(mirroring, "RETRY_FIRST", 0.05)
    monkeypatch.setattr(mirroring, "RETRY_CAP", 0.05)


@pytest.fixture
async def saas(tmp_path):
    async with open_saas(tmp_path / "saas") as running:
        yield running


@pytest.fixture
async def outbox(tmp_path):
    async with open_outbox(tmp_path / "outbox.db", OutboxSettings(ballast=0, min_free=0)) as opened:
        yield opened


@asynccontextmanager
async def backend(saas):
    async with open_session(Access((saas.url,), "saas-tool", saas.backend.user, saas.backend.password)) as session:
        yield session


def as_site(saas):
    return Access((saas.url,), "edge-1", saas.site.user, saas.site.password)


@asynccontextmanager
async def uplink(saas, outbox, *beside):
    status = LinkStatus()
    async with trio.open_nursery() as nursery:
        settings = UplinkSettings(retry_first=0.05, retry_cap=0.1)
        nursery.start_soon(partial(run_uplink, outbox, as_site(saas), settings, status, beside=beside))
        yield status
        nursery.cancel_scope.cancel()


async def until(mirror, key, expected):
    with trio.fail_after(20):
        while True:
            changed = mirror.changed()
            with suppress(Unavailable):
                found = await mirror.get(key)
                if (found.value if found else None) == expected:
                    return
            await changed.wait()


async def test_orders_arrive_change_and_go_while_connected(saas, outbox):
    mirror = Mirror(outbox, "acme")
    async with backend(saas) as session:
        await config.put(session, "globex", "machines", b"theirs")
        await config.put(session, "acme", "machines", b"one")
        async with uplink(saas, outbox, mirror.follow):
            await until(mirror, "machines", b"one")
            revision = await config.put(session, "acme", "machines", b"two")
            await until(mirror, "machines", b"two")
            assert (await mirror.get("machines")).revision == revision
            await config.remove(session, "acme", "machines")
            await until(mirror, "machines", None)


async def test_orders_given_while_the_site_was_away_arrive_after_it_is_back(saas, outbox):
    mirror = Mirror(outbox, "acme")
    async with backend(saas) as session:
        await config.put(session, "acme", "a", b"1")
        await config.put(session, "acme", "gone", b"1")
    async with uplink(saas, outbox, mirror.follow):
        await until(mirror, "gone", b"1")
        await saas.kill()
        assert (await mirror.get("a")).value == b"1"
        await saas.start()
        async with backend(saas) as session:
            await config.put(session, "acme", "a", b"2")
            await config.remove(session, "acme", "gone")
        await until(mirror, "a", b"2")
        await until(mirror, "gone", None)


async def test_a_bucket_created_anew_replaces_the_orders_and_an_empty_one_does_not(saas, outbox):
    mirror = Mirror(outbox, "acme")
    async with backend(saas) as session:
        first = await config.put(session, "acme", "a", b"old")
    async with uplink(saas, outbox, mirror.follow):
        await until(mirror, "a", b"old")
    await saas.delete_stream("KV_CONFIG")
    async with saas.connect() as wire:
        await wire.ask("$JS.API.STREAM.CREATE.KV_CONFIG", KV)
    async with uplink(saas, outbox, mirror.follow):
        with trio.fail_after(20):
            while mirror.status.last_error is None:
                await trio.testing.wait_all_tasks_blocked(0.01)
        assert "no index" in mirror.status.last_error
        assert (await mirror.get("a")).value == b"old"
        async with backend(saas) as session:
            assert await config.put(session, "acme", "a", b"new") == first
        await until(mirror, "a", b"new")


async def test_a_customer_cannot_read_the_keys_of_another(saas):
    async with backend(saas) as session:
        await config.put(session, "globex", "secret", b"theirs")
    async with open_session(as_site(saas)) as session:
        with pytest.raises(MraError):
            await SessionBucket(session, "globex", patience=1).read("secret")
    async with open_session(as_site(saas)) as session:
        assert await SessionBucket(session, "acme", patience=5).read("secret") is None


async def test_a_service_that_crashes_stops_neither_the_lanes_nor_itself(saas, outbox):
    calls = 0
    again = trio.Event()

    async def crash(_):
        nonlocal calls
        await trio.lowlevel.checkpoint()
        calls += 1
        if calls == 2:
            again.set()
        raise LinkLost("no answer") if calls % 2 else RuntimeError("a bug")

    async with uplink(saas, outbox, crash) as status:
        await outbox.append(Draft(Lane.EVENTS, "a.b", b"{}"))
        with trio.fail_after(20):
            await again.wait()
            await outbox.wait_empty()
        assert status.connections == 1
