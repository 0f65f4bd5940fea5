"""The mirror against a bucket that lags, lies, vanishes and comes back; the copy is a real database."""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from mra.config import mirror as mirroring
from mra.config.bucket import Entry
from mra.config.index import encode
from mra.config.mirror import MOST_PENDING, Mirror, News
from mra.config.store import Stored
from mra.errors import BadInput, LinkLost, Unavailable
from mra.outbox.outbox import open_outbox
from mra.outbox.policy import OutboxSettings

SETTINGS = OutboxSettings(ballast=0, min_free=0)


class FakeBucket:
    """A bucket in memory: what is written is told live unless `silent`, and read unless `failing`."""

    def __init__(self, name="first", clock=1):
        self.name, self.clock, self.last = name, clock, 0
        self.entries, self.receivers, self.reads = {}, [], []
        self.silent, self.failing = False, None
        self.asked = trio.Event()  # set, and replaced, at every reading

    async def follow(self, receive):
        await trio.lowlevel.checkpoint()
        self.receivers.append(receive)

    async def read(self, key):
        await trio.lowlevel.checkpoint()
        self.reads.append(key)
        self.asked.set()
        self.asked = trio.Event()
        if self.failing:
            raise self.failing
        return self.entries.get(key)

    def write(self, key, value):
        self.last += 1
        self.clock += 1
        entry = Entry(key, self.last, value, self.clock, self.name if key == "index" else "")
        self.entries[key] = entry
        if not self.silent:
            self.tell(entry)
        return self.last

    def tell(self, entry):
        for receive in self.receivers:
            receive(entry)

    def put(self, key, value):
        revision = self.write(key, value)
        self.write("index", encode(self.listed()))
        return revision

    def listed(self):
        return {key: e.revision for key, e in self.entries.items() if key != "index" and e.value is not None}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Retries come soon; what is tested is that they come."""
    monkeypatch.setattr(mirroring, "RETRY_FIRST", 0.01)
    monkeypatch.setattr(mirroring, "RETRY_CAP", 0.01)


@pytest.fixture
async def outbox(tmp_path):
    async with open_outbox(tmp_path / "outbox.db", SETTINGS) as opened:
        yield opened


@asynccontextmanager
async def following(mirror, bucket):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mirror.keep_up, bucket)
        yield
        nursery.cancel_scope.cancel()


async def until(mirror, key, expected):
    """Wait until the mirror gives `expected` for `key`, woken by its own notice; fails when it never comes."""
    with trio.fail_after(10):
        while True:
            changed = mirror.changed()
            try:
                found = await mirror.get(key)
            except Unavailable:
                found = "unknown"
            if (found.value if isinstance(found, Stored) else found) == expected:
                return
            await changed.wait()


async def read_times(bucket, key, times):
    """Wait until the mirror has read `key` so many times."""
    with trio.fail_after(10):
        while bucket.reads.count(key) < times:
            await bucket.asked.wait()


async def test_before_the_first_index_nothing_is_called_absent(outbox):
    mirror = Mirror(outbox, "acme")
    with pytest.raises(Unavailable, match="ever received"):
        await mirror.get("machines")
    bucket = FakeBucket()
    bucket.write("index", encode({}))
    async with following(mirror, bucket):
        await until(mirror, "machines", None)


async def test_what_the_index_names_is_there_and_survives_a_restart_without_network(outbox, tmp_path):
    bucket = FakeBucket()
    revision = bucket.put("machines", b"one")
    mirror = Mirror(outbox, "acme")
    async with following(mirror, bucket):
        await until(mirror, "machines", b"one")
    assert mirror.status.state == "stale"
    async with open_outbox(tmp_path / "outbox.db", SETTINGS) as again:
        assert await Mirror(again, "acme").get("machines") == Stored(b"one", revision)


async def test_live_changes_and_removals_arrive(outbox):
    bucket = FakeBucket()
    bucket.put("a", b"1")
    mirror = Mirror(outbox, "acme")
    async with following(mirror, bucket):
        await until(mirror, "a", b"1")
        bucket.put("a", b"2")
        await until(mirror, "a", b"2")
        bucket.put("a", None)
        await until(mirror, "a", None)


async def test_changes_that_were_never_told_are_found_by_the_next_index(outbox):
    bucket = FakeBucket()
    bucket.put("a", b"1")
    bucket.put("gone", b"1")
    mirror = Mirror(outbox, "acme")
    async with following(mirror, bucket):
        await until(mirror, "gone", b"1")
        bucket.silent = True
        bucket.put("a", b"2")
        bucket.put("gone", None)
        bucket.silent = False
        bucket.put("b", b"3")
        await until(mirror, "a", b"2")
        await until(mirror, "gone", None)


async def test_a_lost_last_message_is_found_by_looking_again_now_and_then(outbox, monkeypatch):
    monkeypatch.setattr(mirroring, "POLL_SECONDS", 0.02)
    bucket = FakeBucket()
    bucket.put("a", b"1")
    mirror = Mirror(outbox, "acme")
    async with following(mirror, bucket):
        await until(mirror, "a", b"1")
        bucket.silent = True
        bucket.put("a", b"2")
        await until(mirror, "a", b"2")


async def test_a_bucket_made_anew_replaces_everything_even_under_the_same_revisions(outbox):
    old, new = FakeBucket("first"), FakeBucket("second")
    old.put("a", b"old")
    old.put("b", b"old")
    new.put("a", b"new")
    assert old.entries["a"].revision == new.entries["a"].revision
    mirror = Mirror(outbox, "acme")
    async with following(mirror, old):
        await until(mirror, "b", b"old")
    async with following(mirror, new):
        await until(mirror, "a", b"new")
        assert await mirror.get("b") is None


async def test_a_watcher_of_a_key_learns_of_a_new_value_under_its_old_revision(outbox):
    old, new = FakeBucket("first"), FakeBucket("second")
    revision = old.put("a", b"old")
    assert new.put("a", b"new") == revision
    mirror = Mirror(outbox, "acme")
    async with following(mirror, old):
        await until(mirror, "a", b"old")
    woken = trio.Event()

    async def watch():
        await mirror.wait_changed("a", revision)
        woken.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not woken.is_set()
        async with following(mirror, new):
            with trio.fail_after(10):
                await woken.wait()
    assert (await mirror.get("a")).value == b"new"


async def test_a_lagging_replica_changes_nothing_and_a_restored_bucket_counts_at_the_second_reading(outbox):
    bucket = FakeBucket()
    bucket.put("a", b"1")
    old = dict(bucket.entries)
    bucket.put("a", b"2")
    mirror = Mirror(outbox, "acme")
    async with following(mirror, bucket):
        await until(mirror, "a", b"2")
    bucket.entries, bucket.reads = old, []
    async with following(mirror, bucket):
        await read_times(bucket, "index", 1)
        await trio.testing.wait_all_tasks_blocked(0.05)
    assert (await mirror.get("a")).value == b"2"
    assert "older index" in mirror.status.last_error
    async with following(mirror, bucket):
        await until(mirror, "a", b"1")


@pytest.mark.parametrize("index", [None, b"", b"{broken", b'{"a": -1}', b'{"index": 1}', b"[" * 9000])
async def test_a_missing_or_garbled_index_removes_nothing(outbox, index):
    bucket = FakeBucket()
    bucket.put("a", b"1")
    mirror = Mirror(outbox, "acme")
    async with following(mirror, bucket):
        await until(mirror, "a", b"1")
    bucket.write("index", index)
    bucket.reads = []
    async with following(mirror, bucket):
        await read_times(bucket, "index", 2)
        assert (await mirror.get("a")).value == b"1"
        assert "index" in mirror.status.last_error
        bucket.put("a", b"2")
        await until(mirror, "a", b"2")


@pytest.mark.parametrize("failure", [LinkLost("silence"), Unavailable("no import"), BadInput("odd")])
async def test_a_bucket_that_fails_is_asked_again_and_the_copy_stays(outbox, failure):
    bucket = FakeBucket()
    bucket.put("a", b"1")
    bucket.failing = failure
    mirror = Mirror(outbox, "acme")
    async with following(mirror, bucket):
        await read_times(bucket, "index", 1)
        bucket.failing = None
        await until(mirror, "a", b"1")
        assert mirror.status.last_error is None


async def test_the_first_order_of_all_is_not_kept_waiting_by_earlier_failures(outbox, monkeypatch):
    """The customer has no index until something is ordered, so every reading before that fails."""
    monkeypatch.setattr(mirroring, "full_jitter", lambda first, cap: itertools.repeat(1e9))
    mirror, bucket = Mirror(outbox, "acme"), FakeBucket()
    async with following(mirror, bucket):
        await read_times(bucket, "index", 1)
        await trio.testing.wait_all_tasks_blocked(0.05)
        bucket.put("machines", b"one")
        await until(mirror, "machines", b"one")


async def test_an_index_that_names_more_than_is_shown_keeps_the_rest_going(outbox):
    bucket = FakeBucket()
    bucket.put("a", b"1")
    mirror = Mirror(outbox, "acme")
    async with following(mirror, bucket):
        await until(mirror, "a", b"1")
        bucket.silent = True
        bucket.write("b", b"2")
        bucket.silent = False
        bucket.write("index", encode({"a": 99, "b": bucket.entries["b"].revision}))
        await until(mirror, "b", b"2")
        await read_times(bucket, "index", 3)
        assert (await mirror.get("a")).value == b"1"
        assert "newer a" in mirror.status.last_error


async def test_a_first_index_counts_only_with_everything_it_names(outbox):
    bucket = FakeBucket()
    bucket.write("a", b"1")
    bucket.write("index", encode({"a": 99}))
    mirror = Mirror(outbox, "acme")
    async with following(mirror, bucket):
        await read_times(bucket, "index", 2)
        with pytest.raises(Unavailable):
            await mirror.get("a")
        bucket.put("a", b"2")
        await until(mirror, "a", b"2")


async def test_a_forged_live_message_does_not_outlive_the_next_index(outbox):
    bucket = FakeBucket()
    bucket.put("a", b"true")
    mirror = Mirror(outbox, "acme")
    async with following(mirror, bucket):
        await until(mirror, "a", b"true")
        bucket.tell(Entry("a", 2**63 - 1, b"forged"))
        await until(mirror, "a", b"forged")
        bucket.put("b", b"1")
        await until(mirror, "a", b"true")


async def test_another_customers_copy_counts_as_nothing_known(outbox):
    bucket = FakeBucket()
    bucket.put("a", b"acme's")
    mirror = Mirror(outbox, "acme")
    async with following(mirror, bucket):
        await until(mirror, "a", b"acme's")
    other = FakeBucket()
    other.write("index", encode({}))
    mirror = Mirror(outbox, "globex")
    with pytest.raises(Unavailable):
        await mirror.get("a")
    async with following(mirror, other):
        await until(mirror, "a", None)


def test_news_keeps_the_last_of_each_key_in_bounded_memory():
    news = News()
    for number in range(1, MOST_PENDING * 2):
        news.put(Entry(f"k{number}", number, b""))
    news.put(Entry("k1", 9999, b"last"))
    entries, lost = news.take()
    assert (len(entries), lost, entries[-1].value) == (MOST_PENDING, True, b"last")
    assert news.take() == ([], False)


names = st.sampled_from(["a", "b", "c.d"])
actions = st.sampled_from(["put", "rm", "quiet put", "quiet rm", "anew", "stale", "junk"])
steps = st.lists(st.tuples(actions, names, st.binary(max_size=3)), max_size=12)


@settings(max_examples=40, deadline=None)
@given(steps=steps)
def test_whatever_happened_the_copy_ends_as_the_bucket(steps, tmp_path_factory):
    async def main():
        async with open_outbox(tmp_path_factory.mktemp("copy") / "outbox.db", SETTINGS) as outbox:
            bucket = FakeBucket()
            mirror = Mirror(outbox, "acme")
            async with following(mirror, bucket):
                for number, (action, key, value) in enumerate(steps):
                    act(bucket, action, key, value, number)
                    await trio.lowlevel.checkpoint()
                bucket.silent = False
                bucket.put("end", b"end")
                await until(mirror, "end", b"end")
                for key in ("a", "b", "c.d"):
                    entry = bucket.entries.get(key)
                    await until(mirror, key, entry.value if entry else None)

    trio.run(main)


def act(bucket, action, key, value, number):
    bucket.silent = action.startswith("quiet")
    if action.endswith("put"):
        bucket.put(key, value)
    elif action.endswith("rm"):
        bucket.put(key, None)
    elif action == "anew":
        bucket.name, bucket.last, bucket.entries = f"bucket {number}", 0, {}
        bucket.put(key, value)
    elif action == "stale":
        bucket.tell(Entry(key, 1, b"stale"))
    else:
        bucket.tell(Entry("index", bucket.last + 1000, b"junk"))
