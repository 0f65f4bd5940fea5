from __future__ import annotations

import os
import random
import shutil
import stat

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mra.errors import BadInput
from mra.machines import fleet as fleet_module
from mra.machines.compiled import CompiledMachine
from mra.machines.fleet import SCAN_SECONDS, Fleet
from mra.machines.picture import Condition
from tests.machines.doubles import KINDS, ScriptWatcher, services
from tests.machines.processes import wait_for

MANIFEST = """\
name: {name}
version: 1.0.0
initial_state: "off"
transitions:
  - {{name: start, from: ["off"], destination: "on"{subscribe}}}
  - {{name: stop, from: ["on"], destination: "off"}}
watchers:
  - {{name: w, type: script, interval: 1h}}
"""


FRAGMENTS = "{}[]:-,'\"\n\t &*!|>#%@\x00é0ax"


def manifest(name, subscribe=""):
    return MANIFEST.format(name=name, subscribe=subscribe)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "machines"


@pytest.fixture
def put(store):
    def put(directory, text):
        (store / directory).mkdir(parents=True, exist_ok=True)
        (store / directory / "machine.yaml").write_text(text)

    return put


@pytest.fixture
async def run(store, journal, nursery):
    """Starts a fleet whose clock stands still; tests look at the store with `fleet.scan()`."""

    async def run(*compiled_in, **others):
        fleet = Fleet(store, services(journal, **others), KINDS, compiled_in)
        await nursery.start(fleet.run)
        await wait_all_tasks_blocked()
        return fleet

    return run


def conditions(fleet):
    return {picture.name: str(picture.condition) for picture in fleet.pictures()}


async def test_every_real_directory_is_a_machine_and_nothing_else(run, put, store):
    for name in ("pump", "tmp", ".hidden", "new-temp"):
        put(name, manifest("m" + name.strip(".")))
    (store / "file").write_text("x")
    (store / "link").symlink_to(store / "pump")
    fleet = await run()
    assert conditions(fleet) == {"mpump": "running"}


async def test_the_store_is_made_when_it_is_absent(run, store):
    await run()
    assert stat.S_IMODE(os.stat(store).st_mode) == 0o700


async def test_a_new_machine_is_found_at_the_next_scan(run, put):
    fleet = await run()
    put("pump", manifest("pump"))
    await fleet.scan()
    await wait_all_tasks_blocked()
    assert conditions(fleet) == {"pump": "running"}


@pytest.mark.parametrize(("settings", "seconds"), [({}, SCAN_SECONDS), ({"scan_seconds": 90.0}, 90.0)])
async def test_scans_come_every_ten_seconds_or_as_often_as_is_set(store, journal, put, mock_clock, settings, seconds):
    async with trio.open_nursery() as nursery:
        fleet = Fleet(store, services(journal), KINDS, **settings)
        await nursery.start(fleet.run)
        put("pump", manifest("pump"))
        mock_clock.jump(seconds - 1)
        await wait_all_tasks_blocked()
        assert not fleet.pictures()
        mock_clock.jump(1)
        mock_clock.rate = 1  # the scan itself runs in a thread
        await wait_for(fleet.pictures)
        nursery.cancel_scope.cancel()


async def test_news_that_somebody_knows_of_is_looked_at_before_its_time(run, put):
    fleet = await run()
    put("pump", manifest("pump"))
    fleet.look_soon()
    await wait_for(fleet.pictures)  # within less than the ten seconds, on the real clock
    assert conditions(fleet).keys() == {"pump"}


async def test_a_changed_manifest_takes_the_place_of_the_old_one(run, put):
    fleet = await run()
    put("pump", manifest("pump"))
    await fleet.scan()
    await fleet.fire("pump", "start")
    old = fleet.find("pump")
    put("pump", manifest("pump").replace("1.0.0", "1.1.0"))
    await fleet.scan()
    await wait_all_tasks_blocked()
    (picture,) = fleet.pictures()
    assert (picture.version, picture.state, picture.condition) == ("1.1.0", "off", Condition.RUNNING)
    assert picture.instance != old.origin.instance
    assert not old.watchers[0].cleaned  # a reload is no removal


async def test_an_unchanged_manifest_keeps_the_machine(run, put):
    fleet = await run()
    put("pump", manifest("pump"))
    await fleet.scan()
    await fleet.fire("pump", "start")
    put("pump", manifest("pump"))
    await fleet.scan()
    assert fleet.find("pump").state == "on"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file: file.write_text(manifest("pump").replace("type: script", "type: scirpt")), "scirpt"),
        (lambda file: file.write_text("{"), "machine.yaml:"),
        (lambda file: file.write_bytes(b"\xff"), "not readable"),
        (lambda file: file.unlink(), "no such file"),
        (lambda file: (file.unlink(), os.mkfifo(file)), "no regular file"),
        (lambda file: file.write_text("#" * 300_000), "256 KiB"),
    ],
    ids=["unknown type", "no yaml", "no text", "gone", "pipe", "huge"],
)
async def test_a_broken_edit_keeps_the_running_machine_and_says_why(run, put, store, damage, reason):
    put("pump", manifest("pump"))
    fleet = await run()
    await fleet.fire("pump", "start")
    damage(store / "pump" / "machine.yaml")
    await fleet.scan()
    await fleet.scan()
    (picture,) = fleet.pictures()
    assert (picture.condition, picture.state) == (Condition.RUNNING, "on")
    assert reason in picture.problem


async def test_mending_a_broken_edit_by_undoing_it_ends_the_problem_without_a_restart(run, put):
    put("pump", manifest("pump"))
    fleet = await run()
    await fleet.fire("pump", "start")
    put("pump", "{")
    await fleet.scan()
    put("pump", manifest("pump"))
    await fleet.scan()
    (picture,) = fleet.pictures()
    assert (picture.problem, picture.state) == ("", "on")


async def test_a_machine_that_never_ran_is_shown_with_the_reason(run, put):
    put("pump", manifest("pump").replace("version: 1.0.0\n", ""))
    fleet = await run()
    (picture,) = fleet.pictures()
    assert (picture.name, picture.condition) == ("pump", Condition.REFUSED)
    assert "version: it is required" in picture.problem


async def test_a_removed_directory_ends_the_machine_and_lets_watchers_clean_up(run, put, store):
    put("pump", manifest("pump"))
    fleet = await run()
    old = fleet.find("pump")
    shutil.rmtree(store / "pump")
    await fleet.scan()
    assert fleet.pictures() == ()
    assert old.watchers[0].cleaned
    await old.fire("start")
    assert old.state == "off"


@pytest.mark.parametrize("change", ["edit", "removal"])
async def test_nothing_of_the_old_machine_is_left_when_a_scan_has_replaced_or_removed_it(run, put, store, change):
    put("pump", manifest("pump").replace("type: script", "type: eager"))
    fleet = await run()
    (watcher,) = fleet.find("pump").watchers
    watcher.script.append(trio.Event())
    await fleet.fire("pump", "start")
    await wait_for(lambda: len(watcher.looked) == 2)
    if change == "removal":
        shutil.rmtree(store / "pump")
    else:
        put("pump", manifest("pump"))
    await fleet.scan()
    assert watcher.abandoned == 1


async def test_a_store_that_cannot_be_listed_changes_nothing(run, put, store):
    put("pump", manifest("pump"))
    fleet = await run()
    store.rename(store.with_name("elsewhere"))
    store.write_text("in the way")
    await fleet.scan()
    assert conditions(fleet) == {"pump": "running"}


async def test_a_transition_moves_those_who_subscribed_to_it(run, put, journal):
    put("a", manifest("tank"))
    put("b", manifest("pump", ", subscribe: [{machine_name: tank, event: start}]"))
    put("c", manifest("valve", ", subscribe: [{machine_name: pump, event: start}]"))
    fleet = await run()
    await fleet.fire("tank", "start")
    await wait_all_tasks_blocked()
    assert [fleet.state_of(name) for name in ("tank", "pump", "valve")] == ["on", "on", "on"]
    assert [event["data"]["machine"] for event in journal.envelopes] == ["tank", "pump", "valve"]


async def test_a_machine_may_subscribe_to_itself(run, put):
    text = manifest("pump") + "  - {name: x, type: script}\n"
    text = text.replace('destination: "off"}', 'destination: "off", subscribe: [{machine_name: pump, event: start}]}')
    put("pump", text)
    fleet = await run()
    await fleet.fire("pump", "start")
    await wait_all_tasks_blocked()
    await wait_for(lambda: fleet.state_of("pump") == "off")


async def test_an_operator_is_told_what_is_possible(run, put):
    put("pump", manifest("pump"))
    fleet = await run()
    with pytest.raises(BadInput, match="Machine pump in state off has no transition 'stop': possible now: start"):
        await fleet.fire("pump", "stop")
    with pytest.raises(BadInput, match="no machine 'valve'"):
        await fleet.fire("valve", "stop")
    assert fleet.find(str(fleet.store / "pump")) is fleet.find(fleet.pictures()[0].instance)


async def test_denied_machines_do_not_run_and_are_listed(run, put):
    put("pump", manifest("pump"))
    put("directory", manifest("other"))
    put("broken", "{")
    fleet = await run(
        CompiledMachine("inner", manifest("inner")), deny=frozenset({"pump", "directory", "inner", "broken"})
    )
    assert conditions(fleet) == dict.fromkeys(["broken", "directory", "inner", "pump"], "denied")
    with pytest.raises(BadInput):
        fleet.find("pump")


async def test_an_edit_to_a_denied_name_stops_the_machine(run, put):
    put("pump", manifest("pump"))
    fleet = await run(deny=frozenset({"valve"}))
    put("pump", manifest("valve"))
    await fleet.scan()
    assert conditions(fleet) == {"pump": "denied"}
    assert fleet.state_of("pump") is None


async def test_a_compiled_in_machine_runs_first_and_hides_its_directory(run, put, store):
    put("inner", manifest("impostor"))
    fleet = await run(CompiledMachine("inner", manifest("inner")))
    await fleet.scan()
    (picture,) = fleet.pictures()
    assert (picture.name, picture.compiled_in, picture.directory) == ("inner", True, str(store / "inner"))
    shutil.rmtree(store / "inner")
    await fleet.scan()
    assert conditions(fleet) == {"inner": "running"}


async def test_compiled_in_machines_can_be_maps_and_can_be_vetoed(run):
    text = {
        "name": "made",
        "version": "1.0.0",
        "initial_state": "up",
        "transitions": [{"name": "go", "from": ["up"], "destination": "up"}],
        "watchers": [{"name": "w", "type": "script", "properties": {"note": 1}}],
    }
    fleet = await run(CompiledMachine("made", text), CompiledMachine("vetoed", text, lambda: False))
    assert conditions(fleet) == {"made": "running", "vetoed": "denied"}


async def test_a_fault_of_an_embedder_costs_that_machine_only(run, put):
    def fail():
        raise ZeroDivisionError("a bug")

    put("pump", manifest("pump"))
    fleet = await run(CompiledMachine("bad", manifest("bad"), fail), CompiledMachine("worse", "{"))
    assert conditions(fleet) == {"bad": "refused", "pump": "running", "worse": "refused"}
    assert "a bug" in fleet.pictures()[0].problem


async def test_data_survives_a_reload(run, put):
    put("pump", manifest("pump"))
    fleet = await run()
    await fleet.find("pump").data.put("level", 3)
    put("pump", manifest("pump") + "# edited\n")
    await fleet.scan()
    assert fleet.find("pump").data.copy() == {"level": 3}


async def test_a_crashing_watcher_is_visible_and_leaves_other_machines_alone(run, put):
    put("pump", manifest("pump").replace("interval: 1h", "interval: 1s"))
    put("valve", manifest("valve"))
    fleet = await run()
    fleet.find("pump").watchers[0].script.append(ZeroDivisionError("a bug"))
    await wait_for(lambda: fleet.pictures()[0].watchers[0].restarts)
    assert fleet.pictures()[0].watchers[0].crash == "a bug"
    assert conditions(fleet) == {"pump": "running", "valve": "running"}


async def test_two_machines_of_one_name_both_run_and_the_first_answers(run, put):
    put("a", manifest("pump"))
    put("b", manifest("pump"))
    fleet = await run()
    assert len(fleet.pictures()) == 2
    await fleet.fire("pump", "start")
    assert fleet.state_of("pump") == "on"
    assert {picture.state for picture in fleet.pictures()} == {"on", "off"}


async def test_any_number_of_damaged_manifests_costs_only_themselves(run, put):
    dice = random.Random(7)
    text = manifest("bad", ", subscribe: [{machine_name: good, event: start}]")
    for number in range(250):
        damaged = list(text)
        for _ in range(dice.randint(1, 8)):
            at = dice.randrange(len(damaged))
            damaged[at : at + dice.randint(0, 3)] = dice.choices(FRAGMENTS, k=dice.randint(0, 3))
        put(f"bad{number}", "".join(damaged))
    put("good", manifest("good"))
    fleet = await run()
    await fleet.fire("good", "start")
    assert fleet.state_of("good") == "on"
    pictures = fleet.pictures()
    assert len(pictures) == 251
    assert all(picture.problem for picture in pictures if picture.condition is Condition.REFUSED)


async def test_a_machine_that_is_being_read_waits_and_is_not_called_refused(run, put, store, monkeypatch):
    seen = []
    read = fleet_module.read_manifest

    def slowly(*args):
        seen.append(conditions(fleet))
        return read(*args)

    fleet = await run()
    monkeypatch.setattr(fleet_module, "read_manifest", slowly)
    put("pump", manifest("pump"))
    await fleet.scan()
    assert seen == [{"pump": "waiting"}]
    put("broken", "name: broken")
    await fleet.scan()
    assert conditions(fleet)["broken"] == "refused"


async def test_watchers_that_cannot_be_built_keep_the_running_machine(run, put, monkeypatch):
    put("pump", manifest("pump"))
    fleet = await run()
    await fleet.fire("pump", "start")

    def fail(self, definition, context):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(ScriptWatcher, "__init__", fail)
    put("pump", manifest("pump") + "# edited\n")
    await fleet.scan()
    await wait_all_tasks_blocked()
    (picture,) = fleet.pictures()
    assert (picture.condition, picture.state) == (Condition.RUNNING, "on")
    assert picture.problem == "Its watchers cannot be built (a bug): see the log."


async def test_a_fleet_that_has_stopped_can_still_be_asked(store, journal, put):
    put("pump", manifest("pump", ", subscribe: [{machine_name: pump, event: stop}]"))
    async with trio.open_nursery() as nursery:
        fleet = Fleet(store, services(journal), KINDS)
        await nursery.start(fleet.run)
        nursery.cancel_scope.cancel()
    await fleet.fire("pump", "start")
    await fleet.fire("pump", "stop")
    assert fleet.state_of("pump") == "off"
