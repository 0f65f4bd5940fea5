"""Changing desired state on a real server: the value and the index go together, whoever else writes."""

from __future__ import annotations

import json

import pytest
import trio

from mra.aio.session import Access, open_session
from mra.config.index import decode
from mra.errors import BadInput, Refused
from mra.saas import config
from tests.harness.saas import open_saas


@pytest.fixture
async def saas(tmp_path):
    async with open_saas(tmp_path / "saas") as running:
        yield running


@pytest.fixture
async def backend(saas):
    async with open_session(as_backend(saas)) as session:
        yield session


def as_backend(saas):
    return Access((saas.url,), "saas-tool", saas.backend.user, saas.backend.password)


async def test_a_value_and_the_index_that_names_it_are_stored_together(backend, saas):
    revision = await config.put(backend, "acme", "machines", b"one")
    assert (await config.get(backend, "acme", "machines"))[:3] == ("machines", revision, b"one")
    assert await config.ls(backend, "acme") == ({"machines": revision}, revision + 1)
    async with saas.connect() as wire:
        stored = await wire.read_stream("KV_CONFIG")
    assert [message.subject for message in stored] == ["$KV.CONFIG.acme.machines", "$KV.CONFIG.acme.index"]
    assert json.loads(stored[1].body) == {"machines": stored[0].sequence}


async def test_an_index_is_begun_once_and_never_over_another(backend):
    assert await config.begin(backend, "acme")
    assert (await config.ls(backend, "acme")).keys == {}
    assert not await config.begin(backend, "acme")
    await config.put(backend, "globex", "a", b"1")
    assert not await config.begin(backend, "globex")
    assert list((await config.ls(backend, "globex")).keys) == ["a"]


async def test_a_value_that_replaces_another_does_so_only_while_that_is_there(backend):
    first = await config.put(backend, "acme", "site.leader", b"1", replaces=0)
    second = await config.put(backend, "acme", "site.leader", b"2", replaces=first)
    for late in (0, first):
        with pytest.raises(Refused, match="Somebody else"):
            await config.put(backend, "acme", "site.leader", b"3", replaces=late)
    assert (await config.get(backend, "acme", "site.leader"))[:3] == ("site.leader", second, b"2")


async def test_customers_have_indexes_of_their_own(backend):
    await config.put(backend, "acme", "a", b"1")
    await config.put(backend, "globex", "b", b"2")
    assert list((await config.ls(backend, "acme")).keys) == ["a"]
    assert list((await config.ls(backend, "globex")).keys) == ["b"]
    assert await config.get(backend, "globex", "a") is None


async def test_a_removed_key_leaves_the_index_and_has_no_value(backend):
    await config.put(backend, "acme", "a", b"1")
    await config.put(backend, "acme", "b", b"2")
    assert await config.remove(backend, "acme", "a")
    assert await config.get(backend, "acme", "a") is None
    assert list((await config.ls(backend, "acme")).keys) == ["b"]
    assert not await config.remove(backend, "acme", "a")


async def test_writers_at_once_lose_no_entry_and_every_index_names_what_is_stored(saas):
    async def write(customer, writer):
        async with open_session(as_backend(saas)) as session:
            for number in range(4):
                await config.put(session, customer, f"{writer}.{number}", b"%d" % number)

    async with trio.open_nursery() as nursery:
        for customer in ("acme", "globex"):
            for writer in ("w1", "w2", "w3"):
                nursery.start_soon(write, customer, writer)
    async with saas.connect() as wire:
        stored = await wire.read_stream("KV_CONFIG")
    written = {}
    for message in stored:
        _, _, customer, key = message.subject.split(".", 3)
        if key != "index":
            written[customer, key] = message.sequence
    for customer in ("acme", "globex"):
        newest = [m for m in stored if m.subject == f"$KV.CONFIG.{customer}.index"][-1]
        assert decode(newest.body) == {key: sequence for (who, key), sequence in written.items() if who == customer}
        assert len(decode(newest.body)) == 12


async def test_an_index_that_a_lagging_replica_showed_is_not_built_upon(backend, monkeypatch):
    await config.put(backend, "acme", "a", b"1")
    stale = await config.ls(backend, "acme")
    await config.put(backend, "acme", "b", b"2")
    real, answers = config.ls, [stale]

    async def lagging(session, customer):
        return answers.pop() if answers else await real(session, customer)

    monkeypatch.setattr(config, "ls", lagging)
    await config.put(backend, "acme", "c", b"3")
    assert not answers
    assert list((await real(backend, "acme")).keys) == ["a", "b", "c"]


async def test_history_holds_the_last_five_writes(backend):
    revisions = [await config.put(backend, "acme", "a", b"%d" % number) for number in range(7)]
    found = await config.history(backend, "acme", "a")
    assert [(entry.revision, entry.value) for entry in found] == [(revisions[n], b"%d" % n) for n in range(2, 7)]


@pytest.mark.parametrize(("customer", "key"), [("a.b", "k"), ("*", "k"), ("acme", "index"), ("acme", "a.>")])
async def test_nothing_is_written_outside_a_customers_own_keys(backend, customer, key):
    with pytest.raises(BadInput):
        await config.put(backend, customer, key, b"x")
    with pytest.raises(BadInput):
        await config.remove(backend, customer, key)


async def test_a_value_larger_than_a_message_is_refused_before_it_is_sent(backend):
    with pytest.raises(BadInput, match="bytes"):
        await config.put(backend, "acme", "a", bytes(backend.max_payload))
    assert (await config.ls(backend, "acme")).keys == {}


async def test_a_garbled_index_is_named_and_not_overwritten(backend, saas):
    async with saas.connect() as wire:
        await wire.store("$KV.CONFIG.acme.index", b"{broken")
    with pytest.raises(BadInput, match="index"):
        await config.put(backend, "acme", "a", b"1")
