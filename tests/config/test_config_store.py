"""The copy in the database changes whole, or not at all."""

from __future__ import annotations

import pytest

from mra.config import store
from mra.config.buckets import Buckets
from mra.config.index import Mark
from mra.config.mirror import Mirror
from mra.config.store import Copy, Stored
from mra.errors import Unavailable
from mra.outbox.outbox import open_outbox
from mra.outbox.policy import OutboxSettings

ONE, TWO = Mark(2, 100, "bucket"), Mark(4, 200, "bucket")


@pytest.fixture
async def outbox(tmp_path):
    async with open_outbox(tmp_path / "outbox.db", OutboxSettings(ballast=0, min_free=0)) as opened:
        yield opened


async def apply(outbox, mark, put, drop=(), customer="acme"):
    await outbox.run_unit(store.apply, customer, mark, put, drop, 0)


async def test_a_change_that_fails_half_way_leaves_the_copy_as_it_was(outbox):
    await apply(outbox, ONE, {"a": Stored(b"1", 1), "b": Stored(b"1", 1)})
    with pytest.raises(OverflowError):
        await apply(outbox, TWO, {"a": Stored(b"2", 3), "c": Stored(b"2", 2**70)}, ["b"])
    assert await outbox.read(store.load, "acme") == Copy(ONE, {"a": 1, "b": 1})
    assert await outbox.read(store.find, "acme", "a") == (True, (Stored(b"1", 1), 1))


async def test_changes_are_counted_on_even_where_revisions_start_again(outbox):
    await apply(outbox, ONE, {"a": Stored(b"1", 7), "b": Stored(b"1", 8)})
    await apply(outbox, TWO, {"a": Stored(b"2", 7)}, ["b"])
    assert await outbox.read(store.find, "acme", "a") == (True, (Stored(b"2", 7), 3))
    assert await outbox.read(store.find, "acme", "b") == (True, None)


async def test_the_copy_of_another_customer_is_emptied_by_the_first_change(outbox):
    await apply(outbox, ONE, {"a": Stored(b"acme's", 1)})
    assert await outbox.read(store.load, "globex") == Copy(None, {})
    assert await outbox.read(store.find, "globex", "a") == (False, None)
    await apply(outbox, TWO, {}, customer="globex")
    assert await outbox.read(store.find, "globex", "a") == (True, None)
    assert await outbox.read(store.find, "acme", "a") == (False, None)


async def test_people_can_look_at_the_copy(outbox):
    await apply(outbox, ONE, {"b": Stored(b"22", 2), "a": Stored(b"1", 1)})
    rows = await outbox.read(lambda c: c.execute("SELECT key, revision, size, value FROM v_desired").fetchall())
    assert rows == [("a", 1, 1, b"1"), ("b", 2, 2, b"22")]


async def test_machines_have_the_bucket_config_and_no_other(outbox):
    await apply(outbox, ONE, {"a": Stored(b"1", 1)})
    buckets = Buckets(Mirror(outbox, "acme"))
    assert await buckets.get("CONFIG", "a") == Stored(b"1", 1)
    await buckets.wait_changed("CONFIG", "a", None)
    with pytest.raises(Unavailable, match="OTHER"):
        await buckets.get("OTHER", "a")
