from __future__ import annotations

import json
from pathlib import Path

import pytest

from mra.errors import BadInput
from mra.machines.durations import parse_go
from mra.machines.managers import Managers, render
from mra.machines.manifest import load_manifest
from mra.machines.spec import sign
from mra.machines.watchers import plugins
from tests.machines.archives.samples import snapshot
from tests.machines.doubles import KINDS, machine
from tests.machines.processes import wait_for
from tests.machines.test_spec import KEY, SEED, plugin

WATCHER = (
    "{name: manage, type: plugins, interval: 30s, success_transition: start, fail_transition: trip,"
    " properties: {data_item: machines, purge_unknown: true%s}}"
)


@pytest.fixture
def store(tmp_path):
    (tmp_path / "machines_manager").mkdir()
    return tmp_path


class Node:
    """A machine with a plugins watcher, in a store, with a specification in its data."""

    def __init__(self, store, journal, *, more="", signing_key=KEY, **others):
        self.store, self.journal = store, journal
        self.pump = machine(WATCHER % more, journal, store / "machines_manager", signing_key=signing_key, **others)
        self.watcher = self.pump.watchers[0]

    async def take(self, document):
        """Give it a specification and let it look once; the outcome."""
        await self.pump.data.put("machines", json.loads(document) if isinstance(document, bytes) else document)
        return await self.look()

    async def look(self):
        await self.watcher.turn()
        return self.watcher.outcome

    @property
    def managed(self):
        return sorted(path.name for path in self.store.glob("mm_*"))


@pytest.fixture(autouse=True)
def _managers_stop_at_once(monkeypatch):
    monkeypatch.setattr(plugins, "_STOP_SECONDS", 0)


@pytest.fixture
def node(store, journal):
    return Node(store, journal)


def test_a_manager_is_a_manifest_that_can_run():
    wanted = plugin("echo", username="u", password='p"\\ü', governor="G")
    manifest = load_manifest(render(wanted, "mm", parse_go("2m"), Path("/srv/x y")), "machine.yaml", KINDS)
    watcher = manifest.watchers[0]
    assert (manifest.name, manifest.version, manifest.initial_state) == ("mm_echo", "1.0.0", "MANAGE")
    assert (watcher.name, watcher.type, watcher.interval.seconds) == ("download", "archive", 120)
    assert watcher.state_match == ("MANAGE",)
    properties = watcher.properties
    assert (properties.source, properties.target, properties.creates) == (wanted.source, "/srv/x y", "echo")
    assert (properties.verify, properties.verify_checksum) == ("SHA256SUMS", wanted.verify_checksum)
    assert (properties.username, properties.password, properties.governor) == ("u", 'p"\\ü', "G")


def test_no_value_can_become_anything_but_a_value():
    wanted = plugin("echo", governor='x"\n      insecure: true', username="{a: b}", password="#")
    manifest = load_manifest(render(wanted, "mm", parse_go("2m"), Path("/srv")), "machine.yaml", KINDS)
    assert manifest.watchers[0].properties.insecure is False
    assert manifest.watchers[0].properties.username == "{a: b}"


async def test_a_signed_specification_makes_managers(node):
    assert await node.take(sign([plugin("one"), plugin("two")], SEED)) == "updated"
    assert node.managed == ["mm_one", "mm_two"]
    assert (node.store / "mm_one").stat().st_mode & 0o777 == 0o700
    assert (node.store / "mm_one" / "machine.yaml").stat().st_mode & 0o777 == 0o600
    assert node.journal.story == ["manage: updated", "off -> on"]
    assert node.journal.envelopes[0]["data"]["plugins"] == ["one", "two"]
    assert await node.look() == "unchanged"
    assert len(node.journal.story) == 2


async def test_a_new_version_changes_the_manager_and_keeps_its_data(node):
    await node.take(sign([plugin("one")], SEED))
    (node.store / "mm_one" / "machine_data.json").write_text("{}")
    assert await node.take(sign([plugin("one", checksum="c" * 64)], SEED)) == "updated"
    assert sorted(snapshot(node.store / "mm_one")) == ["machine.yaml", "machine_data.json"]
    assert b"c" * 64 in (node.store / "mm_one" / "machine.yaml").read_bytes()


async def test_what_is_not_listed_any_more_goes_with_its_plugin(node):
    await node.take(sign([plugin("one"), plugin("two")], SEED))
    for name in ("one", "two", "unmanaged"):
        (node.store / name).mkdir()
    assert await node.take(sign([plugin("two")], SEED)) == "updated"
    assert sorted(path.name for path in node.store.iterdir()) == [
        "machines_manager",
        "mm_two",
        "tmp",
        "two",
        "unmanaged",
    ]


async def test_a_kill_between_manager_and_plugin_leaves_no_plugin_behind(node):
    await node.take(sign([plugin("one")], SEED))
    (node.store / "one").mkdir()
    node.watcher.managers.retire({"other"})
    assert await node.take(sign([], SEED)) == "updated"
    assert not (node.store / "one").exists()
    assert list(node.store.glob(".mm*")) == []


async def test_without_purging_everything_stays(store, journal):
    node = Node(store, journal)
    node.watcher.properties = type(node.watcher.properties)(data_item="machines")
    await node.take(sign([plugin("one")], SEED))
    assert await node.take(sign([], SEED)) == "unchanged"
    assert node.managed == ["mm_one"]


async def test_plugins_may_land_elsewhere_and_are_purged_there(store, journal, autojump_clock, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    node = Node(store, journal, more=f", plugins_directory: {elsewhere}")
    await node.take(sign([plugin("one")], SEED))
    (elsewhere / "one").mkdir()
    await node.take(sign([], SEED))
    assert node.managed == []
    assert not (elsewhere / "one").exists()


@pytest.mark.parametrize("alter", [lambda d: d.update(signature="00" * 64), lambda d: d.pop("signature")])
async def test_a_tampered_specification_is_deleted_and_what_runs_goes_on(node, alter):
    await node.take(sign([plugin("one")], SEED))
    document = json.loads(sign([plugin("evil")], SEED))
    alter(document)
    assert await node.take(document) == "error"
    assert "machines" not in node.pump.data
    assert node.managed == ["mm_one"]
    assert "signature" in node.journal.envelopes[-2]["data"]["reason"]
    assert node.journal.story[-2:] == ["manage: error", "on -> fault"]
    assert await node.look() == "error"
    assert "signature" in node.watcher.trouble, "the reason stays until there is another specification"
    assert await node.take(sign([plugin("one")], SEED)) == "unchanged"
    await node.pump.data.delete("machines")
    assert await node.look() == "error"
    assert "not there" in node.watcher.trouble


async def test_an_older_specification_is_refused_and_what_runs_goes_on(node, store, journal):
    await node.take(sign([plugin("one")], SEED, serial=1))
    await node.take(sign([plugin("two")], SEED, serial=2))
    assert await node.take(sign([plugin("one")], SEED, serial=1)) == "error"
    assert node.managed == ["mm_two"]
    assert "serial 1, but 2" in node.watcher.trouble
    restarted = Node(store, journal)
    assert await restarted.look() == "error"
    assert await restarted.take(sign([plugin("one")], SEED, serial=3)) == "updated"
    assert restarted.managed == ["mm_one"]


async def test_a_specification_of_choria_that_was_replaced_does_not_come_back(node):
    await node.take(sign([plugin("one")], SEED))
    await node.take(sign([plugin("two")], SEED))
    assert await node.take(sign([plugin("one")], SEED)) == "error"
    assert node.managed == ["mm_two"]


async def test_an_unusable_key_is_an_error_that_keeps_the_specification(store, journal):
    node = Node(store, journal, signing_key="nonsense")
    assert await node.take(sign([], SEED)) == "error"
    assert "machines" in node.pump.data


async def test_the_agents_key_counts_before_that_of_the_manifest(store, journal):
    node = Node(store, journal, more=f", public_key: {'00' * 32}")
    assert await node.take(sign([plugin("one")], SEED)) == "updated"


async def test_without_any_key_nothing_has_to_be_signed(store, journal):
    node = Node(store, journal, signing_key="")
    document = json.loads(sign([plugin("one")], SEED))
    del document["signature"]
    assert await node.take(document) == "updated"


async def test_plugins_go_to_the_nodes_they_match(store, journal):
    node = Node(store, journal, facts=lambda: {"os": "linux"})
    listed = [
        plugin("here", match='identity("^edge-") && get_fact("os") == "linux"'),
        plugin("there", match='identity("^core-")'),
    ]
    await node.take(sign(listed, SEED))
    assert node.managed == ["mm_here"]
    assert node.journal.envelopes[0]["data"]["plugins"] == ["here", "there"]


async def test_a_match_that_cannot_be_told_changes_nothing(store, journal):
    node = Node(store, journal)
    await node.take(sign([plugin("one")], SEED))
    unclear = [plugin("one", match='get_fact("x") > 5'), plugin("two", match="nonsense(")]
    assert await node.take(sign(unclear, SEED)) == "unchanged"
    assert node.managed == ["mm_one"]


async def test_denied_plugins_are_not_deployed_and_it_says_so(store, journal):
    node = Node(store, journal, deny=frozenset({"evil"}))
    await node.take(sign([plugin("one"), plugin("evil")], SEED))
    assert node.managed == ["mm_one"]
    assert node.watcher.trouble == "this agent does not allow the plugins evil"


@pytest.mark.parametrize("name", ["mm_one", "machines_manager"])
async def test_no_plugin_takes_the_place_of_a_manager(node, name):
    assert await node.take(sign([plugin(name)], SEED)) == "error"
    assert node.managed == []


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ("{}", "it is required"),
        ("{data_item: d, manager_machine_prefix: a_b}", "letters, digits and dashes"),
        ("{data_item: d, manager_machine_prefix: ../x}", "letters, digits and dashes"),
        ("{data_item: d, plugin_manage_interval: 5s}", "10s at least"),
    ],
)
def test_what_cannot_be_a_plugins_watcher(journal, tmp_path, properties, reason):
    with pytest.raises(BadInput, match=reason):
        machine(f"{{name: p, type: plugins, properties: {properties}}}", journal, tmp_path)


def test_writing_a_manager_again_changes_nothing(tmp_path):
    managers = Managers(tmp_path, tmp_path, "mm", parse_go("2m"))
    assert managers.write(plugin("one")) is True
    assert managers.write(plugin("one")) is False
    (tmp_path / "mm_one" / "machine.yaml").write_text("tampered")
    assert managers.write(plugin("one")) is True


async def test_a_specification_is_acted_upon_as_soon_as_it_arrives(store, journal, nursery):
    looks = 0

    def look_soon():
        nonlocal looks
        looks += 1

    node = Node(store, journal, look_soon=look_soon)
    nursery.start_soon(node.watcher.run)
    # The fleet is asked to look for a manager that was written, and for one that was retired before that.
    for serial, name, asked in ((1, "one", 1), (2, "two", 3)):
        await node.pump.data.put("machines", json.loads(sign([plugin(name)], SEED, serial=serial)))
        await wait_for(lambda asked=asked: looks == asked)
        assert node.managed == [f"mm_{name}"]
