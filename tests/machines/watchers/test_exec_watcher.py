from __future__ import annotations

import json
import os
import signal

import pytest
import trio

from mra.errors import BadInput
from mra.machines import process
from mra.machines.process import Finished
from tests.machines.doubles import Slots, machine
from tests.machines.processes import children, is_alive, pids_in, wait_for, wait_gone
from tests.machines.schemas import assert_valid, needs_schemas

LINE = "{{name: probe, type: exec, {more}properties: {properties}}}"


@pytest.fixture
def script(tmp_path):
    def script(text):
        (tmp_path / "probe.sh").write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "probe.sh").chmod(0o700)

    return script


@pytest.fixture
def pump(journal, tmp_path):
    def pump(properties=None, more="success_transition: start, fail_transition: trip, ", **others):
        written = json.dumps({"command": "./probe.sh", "timeout": "20s", **(properties or {})})
        return machine(LINE.format(more=more, properties=written), journal, tmp_path, **others)

    return pump


@pytest.fixture
def temporary(tmp_path_factory, monkeypatch):
    """Where watchers put their temporary files; has to be empty in the end."""
    directory = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    yield directory
    assert list(directory.iterdir()) == []


async def test_exit_code_zero_is_success_and_anything_else_is_an_error(pump, script, journal, temporary):
    machine = pump()
    (watcher,) = machine.watchers
    script("exit 0")
    await watcher.turn()
    script("exit 3")
    await watcher.turn()
    assert journal.story == ["probe: success", "off -> on", "probe: error", "on -> fault"]
    assert watcher.trouble == "the command ended with exit code 3"
    data = journal.envelopes[0]["data"]
    assert data["command"] == "./probe.sh"
    assert data["previous_run_time"] > 0


async def test_the_command_finds_its_environment_data_and_facts(pump, script, tmp_path, temporary):
    script('echo "$MACHINE_WATCHER_NAME $MACHINE_NAME $LEVEL $PATH"; cat "$WATCHER_DATA"; echo; cat "$WATCHER_FACTS"')
    machine = pump(
        {"command": "./wrap.sh", "environment": ['LEVEL={{ lookup "facts.level" 0 }}', "NOTHING", "PATH2=a=b"]},
        facts=lambda: {"level": 7},
    )
    (tmp_path / "wrap.sh").write_text("#!/bin/sh\n./probe.sh > out; env > env\n")
    (tmp_path / "wrap.sh").chmod(0o700)
    await machine.data.put("seen", True)
    await machine.watchers[0].turn()
    first, data, facts = (tmp_path / "out").read_text().splitlines()
    assert first == f"probe pump 7 {os.environ['PATH']}:{tmp_path}"
    assert (json.loads(data), json.loads(facts)) == ({"seen": True}, {"level": 7})
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    given = {"MACHINE_WATCHER_NAME", "MACHINE_NAME", "PATH", "WATCHER_DATA", "WATCHER_FACTS", "LEVEL", "PATH2"}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == given


async def test_an_entry_of_the_environment_can_override_the_path(pump, script, tmp_path):
    script("echo $PATH > out")
    await pump({"environment": ["PATH=/nowhere"]}).watchers[0].turn()
    assert (tmp_path / "out").read_text() == "/nowhere\n"


async def test_the_command_is_expanded_and_split_but_sees_no_shell(pump, script, tmp_path, journal):
    script('printf "%s|" "$@" > out')
    command = './probe.sh {{ lookup "facts.level" 0 }} "two words" $HOME *'
    await pump({"command": command}, facts=lambda: {"level": 7}).watchers[0].turn()
    assert (tmp_path / "out").read_text() == "7|two words|$HOME|*|"
    assert journal.envelopes[0]["data"]["command"] == command


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ('{{ lookup "facts.none" "" }}', "is empty once its templates are expanded"),
        ("{{ nonsense }}", "nonsense"),
        ("'open", "never closed"),
        ("./absent.sh", "cannot be started"),
        ("no-such-program-anywhere", "in the agent's PATH"),
    ],
)
async def test_what_cannot_be_run_is_an_error(pump, journal, command, reason, temporary):
    (watcher,) = pump({"command": command}).watchers
    await watcher.turn()
    assert journal.story == ["probe: error"]
    assert reason in watcher.trouble


async def test_output_becomes_data_in_one_write(pump, script, journal):
    machine = pump({"parse_as_data": True})
    script("""echo '{"level": 7, "site": {"name": "north"}}'""")
    await machine.watchers[0].turn()
    script("""echo '{"level": 8}'""")
    await machine.watchers[0].turn()
    assert machine.data.copy() == {"level": 8, "site": {"name": "north"}}


@pytest.mark.parametrize(
    "output", ["nothing", "[1]", '{"a": NaN}', "", '{"a": 1} x', "[" * 3000, "head -c 2000000 /dev/zero"]
)
async def test_output_that_is_no_object_is_an_error_and_changes_no_data(pump, script, journal, output):
    machine = pump({"parse_as_data": True})
    script(output if output.startswith("head") else f"cat <<'EOF'\n{output}\nEOF")
    await machine.watchers[0].turn()
    assert journal.story == ["probe: error"]
    assert machine.data.copy() == {}


async def test_standard_error_is_part_of_the_output(pump, script):
    machine = pump({"parse_as_data": True})
    script("""echo warning >&2; echo '{"level": 7}'""")
    await machine.watchers[0].turn()
    assert "standard error included" in machine.watchers[0].trouble


async def test_announcements_of_success_can_be_suppressed_but_not_those_of_errors(pump, script, journal):
    (watcher,) = pump({"suppress_success_announce": True}).watchers
    script("exit 0")
    await watcher.turn()
    script("exit 1")
    await watcher.turn()
    assert journal.story == ["off -> on", "probe: error", "on -> fault"]


async def test_the_end_of_its_time_kills_it_with_all_it_started(pump, script, journal, tmp_path, temporary):
    script(f"trap '' TERM; (trap '' TERM; sleep 300) & echo $$ $! > {tmp_path}/pids; wait")
    (watcher,) = pump({"timeout": "500ms"}).watchers
    await watcher.turn()
    await wait_gone(*await pids_in(tmp_path / "pids", 2))
    assert journal.story == ["probe: error"]
    assert watcher.trouble == "the command was killed, as its time was up"


async def test_leaving_its_state_kills_it(pump, script, journal, tmp_path, nursery, temporary):
    script(f"sleep 300 & echo $$ $! > {tmp_path}/pids; wait")
    machine = pump(more='state_match: ["on"], fail_transition: trip, ')
    nursery.start_soon(machine.run)
    await wait_for(lambda: machine.started_wall)
    await machine.fire("start")
    pids = await pids_in(tmp_path / "pids", 2)
    await machine.fire("stop")
    await wait_gone(*pids)
    await wait_for(lambda: machine.watchers[0].outcome == "skipped")
    assert journal.story == ["off -> on", "on -> off"]


async def test_a_slot_is_given_back_and_reported_when_the_state_is_left(pump, script, journal, tmp_path, nursery):
    slots = Slots()
    script(f"echo $$ > {tmp_path}/pids; sleep 300")
    machine = pump({"governor": "NORTH"}, more='state_match: ["on"], ', governors=slots)
    nursery.start_soon(machine.run)
    await wait_for(lambda: machine.started_wall)
    await machine.fire("start")
    await pids_in(tmp_path / "pids", 1)
    await machine.fire("stop")
    await wait_for(lambda: machine.watchers[0].outcome == "skipped")
    assert slots.held == 0
    assert journal.story == ["off -> on", "NORTH enter", "on -> off", "NORTH exit"]


async def test_stopping_the_machine_leaves_no_process_and_no_file(pump, script, tmp_path, temporary):
    script(f"trap '' TERM; echo $$ > {tmp_path}/pids; while :; do sleep 1; done")
    machine = pump(more="interval: 500ms, ")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(machine.run)
        pids = await pids_in(tmp_path / "pids", 1)
        nursery.cancel_scope.cancel()
    assert not any(is_alive(pid) for pid in pids)
    assert children() == set()


async def test_a_disowned_command_survives_state_and_machine(pump, script, tmp_path):
    script(f"echo $$ > {tmp_path}/pids; exec sleep 300")
    machine = pump({"disown": True, "timeout": "1s"}, more='state_match: ["on"], ')
    async with trio.open_nursery() as nursery:
        nursery.start_soon(machine.run)
        await wait_for(lambda: machine.started_wall)
        await machine.fire("start")
        (pid,) = await pids_in(tmp_path / "pids", 1)
        await machine.fire("stop")
        nursery.cancel_scope.cancel()
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    await wait_for(lambda: children() == set())


async def test_a_disowned_command_is_waited_for_and_judged(pump, script, journal):
    script("exit 2")
    await pump({"disown": True}).watchers[0].turn()
    assert journal.story == ["probe: error"]


async def test_a_disowned_command_that_cannot_start_is_unknown_without_an_event(pump, journal):
    (watcher,) = pump({"disown": True}).watchers
    await watcher.turn()
    assert (watcher.outcome, journal.story) == ("unknown", [])
    assert "cannot be started" in watcher.trouble


async def test_a_governor_is_entered_before_the_run_and_reported(pump, script, journal):
    slots = Slots()
    script("exit 0")
    properties = {"governor": '{{ lookup "facts.site" "x" }}', "governor_timeout": "1m"}
    await pump(properties, governors=slots, facts=lambda: {"site": "NORTH"}).watchers[0].turn()
    assert slots.asked == [("NORTH", "Auto Agent  pump#probe @ edge-07", "1m0s")]
    assert slots.held == 0
    assert journal.story == ["NORTH enter", "NORTH exit", "probe: success", "off -> on"]
    assert journal.subjects[0] == "lifecycle.event.governor.pump"


async def test_a_governor_without_a_slot_is_an_error_and_nothing_runs(pump, script, journal, tmp_path):
    script("touch ran")
    (watcher,) = pump({"governor": "NORTH"}, governors=Slots(full=True)).watchers
    await watcher.turn()
    assert journal.story == ["NORTH timeouts", "probe: error"]
    assert not (tmp_path / "ran").exists()
    assert watcher.trouble == "governor NORTH is full"


@pytest.fixture
def runs(monkeypatch):
    """When commands were run, each for five seconds of Trio's clock."""
    moments = []

    async def run(words, **_):
        moments.append(trio.current_time())
        await trio.sleep(5)
        return Finished(0, b"", truncated=False, timed_out=False, seconds=5.0)

    monkeypatch.setattr(process, "run", run)

    async def call(function, *arguments, **_):
        return function(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", call)  # a mock clock does not see threads
    return moments


async def test_the_interval_counts_from_the_end_of_each_run(pump, runs, autojump_clock, nursery):
    nursery.start_soon(pump(more="interval: 10s, ").run)
    await trio.sleep(41)
    assert runs == [10, 25, 40]


async def test_without_an_interval_it_runs_on_changes_of_state_only(pump, runs, autojump_clock, nursery):
    machine = pump(more="")
    nursery.start_soon(machine.run)
    await trio.sleep(100)
    assert runs == []
    await machine.fire("start")
    await trio.sleep(100)
    assert runs == [100]


async def test_gathering_the_initial_state_runs_once_within_thirty_seconds(pump, runs, autojump_clock, nursery):
    nursery.start_soon(pump({"gather_initial_state": True}, more="interval: 10m, ").run)
    await trio.sleep(700)
    assert runs == [15, 620]


async def test_a_change_of_state_restarts_the_interval(pump, runs, autojump_clock, nursery):
    machine = pump(more="interval: 10s, ")
    nursery.start_soon(machine.run)
    await trio.sleep(4)
    await machine.fire("start")
    await trio.sleep(20)
    assert runs == [4, 19]


@pytest.mark.parametrize(
    ("properties", "key"),
    [
        ({"command": ""}, "command"),
        ({"disown": True, "parse_as_data": "true"}, "disown"),
        ({"timeout": "-1s"}, "timeout"),
        ({"timeout": "1d"}, "timeout"),
    ],
)
def test_what_cannot_be_an_exec_watcher(pump, properties, key):
    with pytest.raises(BadInput, match=f"properties.{key}:"):
        pump(properties)


def test_its_time_is_one_second_by_default_as_in_choria(journal, tmp_path):
    (watcher,) = machine("{name: p, type: exec, properties: {command: x}}", journal, tmp_path).watchers
    assert watcher.properties.timeout.seconds == 1


@needs_schemas
async def test_its_events_fit_the_published_schema(pump, script, journal):
    (watcher,) = pump(more="").watchers
    await watcher.context.publish(watcher.event())
    script("exit 0")
    await watcher.turn()
    script("exit 1")
    await watcher.turn()
    assert [event["data"]["previous_outcome"] for event in journal.envelopes] == ["unknown", "success", "error"]
    assert all(assert_valid(event) for event in journal.envelopes)
