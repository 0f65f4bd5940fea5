from __future__ import annotations

import json

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mra.errors import BadInput
from mra.machines.data import MachineData
from tests.machines.doubles import Buckets, machine
from tests.machines.processes import wait_for


@pytest.fixture
def buckets():
    return Buckets()


@pytest.fixture
def pump(journal, tmp_path, buckets):
    def pump(more="interval: 30s", facts=dict, **properties):
        written = json.dumps({"bucket": "CONFIG", "key": "pump", **properties})
        more += ", success_transition: start, fail_transition: trip"
        line = f"{{name: desired, type: kv, {more}, properties: {written}}}"
        return machine(line, journal, tmp_path, desired=buckets, facts=facts)

    return pump


async def poll(watcher):
    await watcher.turn()
    return watcher.outcome


async def test_a_new_value_is_kept_and_is_a_change(pump, buckets, journal):
    machine = pump()
    (watcher,) = machine.watchers
    assert watcher.outcome == "error"
    assert await poll(watcher) == "unchanged"
    buckets.put("CONFIG", "pump", '{"level": 3}')
    assert await poll(watcher) == "changed"
    assert machine.data.get("CONFIG_pump") == {"level": 3}
    assert await poll(watcher) == "unchanged"
    buckets.put("CONFIG", "pump", '{"level": 4}')
    assert await poll(watcher) == "changed"
    assert journal.story == ["off -> on"]  # no state event ever, and `start` is not possible twice


async def test_a_deleted_key_deletes_the_value(pump, buckets):
    machine = pump()
    (watcher,) = machine.watchers
    buckets.put("CONFIG", "pump", "x")
    await poll(watcher)
    buckets.delete("CONFIG", "pump")
    assert await poll(watcher) == "changed"
    assert machine.data.copy() == {}
    assert await poll(watcher) == "unchanged"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (" plain text\n", " plain text\n"),
        ('  {"a": [1, 2.5, null]}\n', {"a": [1, 2.5, None]}),
        ("[1, 2]", [1, 2]),
        ("12", "12"),
        ('"quoted"', '"quoted"'),
        ("{", "{"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
async def test_objects_and_lists_are_parsed_and_all_else_is_text(pump, buckets, raw, value):
    machine = pump()
    buckets.put("CONFIG", "pump", raw)
    await poll(machine.watchers[0])
    assert machine.data.get("CONFIG_pump") == value


async def test_malformed_json_is_an_error_that_keeps_the_last_good_value(pump, buckets, journal):
    machine = pump()
    (watcher,) = machine.watchers
    buckets.put("CONFIG", "pump", '{"level": 3}')
    await poll(watcher)
    buckets.put("CONFIG", "pump", '{"level": }')
    assert await poll(watcher) == "error"
    assert machine.data.get("CONFIG_pump") == {"level": 3}
    assert "publish it again" in watcher.trouble
    assert journal.story == ["off -> on", "on -> fault"]
    buckets.put("CONFIG", "pump", '{"level": 3}')
    assert await poll(watcher) == "unchanged"


async def test_a_missing_bucket_is_an_error_without_an_event(pump, buckets, journal):
    (watcher,) = pump().watchers
    buckets.missing = True
    assert await poll(watcher) == "error"
    assert (journal.story, watcher.trouble) == ([], "there is no bucket CONFIG")


async def test_an_equal_value_after_a_restart_is_no_change_whatever_its_numbers(pump, buckets, tmp_path):
    buckets.put("CONFIG", "pump", '{"level": 3, "on": true}')
    await poll(pump().watchers[0])
    (tmp_path / "machine_data.json").write_text('{"CONFIG_pump":{"level":3.0,"on":true}}')
    assert await poll(pump().watchers[0]) == "unchanged"
    buckets.put("CONFIG", "pump", '{"level": 3, "on": 1}')
    assert await poll(pump().watchers[0]) == "changed"


@pytest.mark.parametrize(
    ("properties", "key"),
    [
        ({}, "CONFIG_pump"),
        ({"bucket_prefix": False}, "pump"),
        ({"store_key": "level"}, "CONFIG_level"),
        ({"bucket_prefix": "false", "store_key": '{{ lookup "facts.name" "x" }}'}, "seven"),
    ],
)
async def test_where_the_value_is_kept(pump, buckets, properties, key):
    machine = pump(facts=lambda: {"name": "seven"}, **properties)
    buckets.put("CONFIG", "pump", "x")
    await poll(machine.watchers[0])
    assert machine.data.copy() == {key: "x"}


async def test_the_key_is_expanded_at_each_poll(pump, buckets):
    facts = {"site": "north"}
    machine = pump(facts=lambda: facts, key='pump.{{ lookup "facts.site" "" }}')
    buckets.put("CONFIG", "pump.north", "n")
    buckets.put("CONFIG", "pump.south", "s")
    await poll(machine.watchers[0])
    facts["site"] = "south"
    await poll(machine.watchers[0])
    assert machine.data.copy() == {"CONFIG_pump.north": "n", "CONFIG_pump.south": "s"}


async def test_an_equal_value_can_count_as_a_change(pump, buckets):
    buckets.put("CONFIG", "pump", "x")
    (every,) = pump(on_successful_get=True).watchers
    assert [await poll(every) for _ in range(3)] == ["changed"] * 3
    (updates,) = pump(on_matching_update=True).watchers
    assert await poll(updates) == "unchanged"  # known from the data, and no revision was seen yet
    buckets.put("CONFIG", "pump", "x")
    assert [await poll(updates) for _ in range(2)] == ["changed", "unchanged"]


async def test_hierarchical_data_is_resolved_before_the_query(pump, buckets):
    document = {
        "hierarchy": {"order": ["site:{{ lookup('facts.site') }}"]},
        "data": {"pump": {"level": 3}},
        "site:north": {},
        "overrides": {"site:north": {"pump": {"level": 9}}},
    }
    buckets.put("CONFIG", "pump", json.dumps(document))
    machine = pump(hiera_config=True, query="pump.level", facts=lambda: {"site": "north"})
    assert await poll(machine.watchers[0]) == "changed"
    assert machine.data.get("CONFIG_pump") == 9


async def test_a_hierarchy_that_cannot_be_resolved_is_an_error(pump, buckets):
    buckets.put("CONFIG", "pump", '{"hierarchy": {"order": 3}}')
    (watcher,) = pump(hiera_config=True).watchers
    assert await poll(watcher) == "error"


@pytest.mark.parametrize(("query", "value"), [("a.b", [1]), ("a.#", '{"a": {"b": [1]}}'), ("x", '{"a": {"b": [1]}}')])
async def test_a_query_that_finds_nothing_keeps_the_whole_text(pump, buckets, query, value):
    machine = pump(query=query)
    buckets.put("CONFIG", "pump", '{"a": {"b": [1]}}')
    await poll(machine.watchers[0])
    assert machine.data.get("CONFIG_pump") == value


async def test_it_polls_at_once_and_not_again_within_an_interval(pump, buckets, monkeypatch, autojump_clock, nursery):
    machine = pump()
    nursery.start_soon(machine.run)
    await trio.sleep(10)
    await machine.fire("start")
    await trio.sleep(10)
    assert buckets.reads == 1
    await trio.sleep(50)
    assert buckets.reads == 3


@pytest.mark.parametrize("how", [{"mode": "watch"}, {"republish_trigger": "config.pump"}])
async def test_a_watched_value_arrives_at_once(pump, buckets, how, nursery):
    machine = pump(more="interval: 1h" if "mode" not in how else "announce_interval: 1h", **how)
    nursery.start_soon(machine.run)
    await wait_all_tasks_blocked()
    buckets.put("CONFIG", "pump", "x")
    await wait_for(lambda: machine.data.get("CONFIG_pump") == "x")
    buckets.delete("CONFIG", "pump")
    await wait_for(lambda: machine.data.copy() == {})


async def test_the_first_value_that_is_ever_known_arrives_at_once(pump, buckets, nursery):
    buckets.missing = True
    machine = pump(more="interval: 1h", mode="watch")
    nursery.start_soon(machine.run)
    await wait_for(lambda: machine.watchers[0].trouble)
    await wait_all_tasks_blocked()
    buckets.missing = False
    buckets.put("CONFIG", "pump", "x")
    await wait_for(lambda: machine.data.get("CONFIG_pump") == "x")


async def test_it_announces_its_state_and_nothing_else(pump, buckets, journal, autojump_clock, nursery):
    buckets.missing = True
    machine = pump(more="interval: 10s, announce_interval: 1m")
    nursery.start_soon(machine.run)
    await trio.sleep(61)
    assert journal.story == ["desired: error"]
    data = journal.envelopes[0]["data"]
    assert [data[key] for key in ("state", "bucket", "key", "mode")] == ["error", "CONFIG", "pump", "poll"]


async def test_a_value_that_cannot_be_written_is_an_error(pump, buckets, tmp_path, monkeypatch):
    machine = pump()
    buckets.put("CONFIG", "pump", "x")
    machine.data.path = tmp_path / "gone" / "machine_data.json"
    assert await poll(machine.watchers[0]) == "error"
    assert MachineData.load(tmp_path).copy() == {}
    machine.data.path = tmp_path / "machine_data.json"
    assert await poll(machine.watchers[0]) == "changed"
    assert MachineData.load(tmp_path).copy() == {"CONFIG_pump": "x"}


@pytest.mark.parametrize(
    ("more", "properties", "key"),
    [
        ("announce_interval: 1h", {}, "interval"),
        ("interval: 30s", {"mode": "push"}, "properties.mode"),
        ("interval: 30s", {"bucket": ""}, "properties.bucket"),
        ("interval: 30s", {"key": None}, "properties.key"),
    ],
)
def test_what_cannot_be_a_kv_watcher(pump, more, properties, key):
    with pytest.raises(BadInput, match=rf"watchers\[0\]\.{key}:"):
        pump(more, **properties)
