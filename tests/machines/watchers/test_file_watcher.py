from __future__ import annotations

import grp
import os
import pwd
import stat

import pytest

from mra.errors import BadInput
from mra.machines.watchers.file import parse_mode
from tests.machines.doubles import machine
from tests.machines.processes import wait_for

ME, MINE = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name


@pytest.fixture
def watch(journal, tmp_path):
    def watch(properties, **others):
        transitions = "success_transition: start, fail_transition: trip"
        line = f"{{name: f, type: file, interval: 1h, {transitions}, properties: {{{properties}}}}}"
        return machine(line, journal, tmp_path, **others).watchers[0]

    return watch


def managed(**others):
    properties = {
        "path": "limits.json",
        "contents": "'level: 3'",
        "owner": ME,
        "group": MINE,
        "mode": '"0640"',
        **others,
    }
    return ", ".join(f"{name}: {value}" for name, value in properties.items())


async def look(watcher):
    await watcher.turn()
    return watcher.outcome


def touch(path, seconds):
    path.touch()
    os.utime(path, (seconds, seconds))


async def test_a_later_time_is_a_change_and_an_earlier_one_is_not(watch, journal, tmp_path):
    watcher = watch("path: limits.json")
    touch(tmp_path / "limits.json", 1000)
    assert await look(watcher) == "changed"
    assert await look(watcher) == "unchanged"
    touch(tmp_path / "limits.json", 2000)
    assert await look(watcher) == "changed"
    touch(tmp_path / "limits.json", 1500)
    assert await look(watcher) == "unchanged"
    assert journal.story[:2] == ["f: changed", "off -> on"]
    assert journal.envelopes[0]["data"]["path"] == str(tmp_path / "limits.json")


async def test_a_missing_file_is_an_error_at_every_look_and_its_memory_is_lost(watch, journal, tmp_path):
    watcher = watch("path: limits.json")
    touch(tmp_path / "limits.json", 1000)
    await look(watcher)
    (tmp_path / "limits.json").unlink()
    assert await look(watcher) == "error"
    assert watcher.trouble == f"{tmp_path}/limits.json: no such file or directory"
    assert await look(watcher) == "error"
    assert journal.story[2:] == ["f: error", "on -> fault", "f: error"]
    touch(tmp_path / "limits.json", 500)
    assert await look(watcher) == "changed"


async def test_what_is_there_at_the_start_is_no_change_when_asked_for(watch, tmp_path, nursery):
    touch(tmp_path / "limits.json", 1000)
    watcher = watch("path: limits.json, gather_initial_state: true")
    nursery.start_soon(watcher.run)
    await wait_for(lambda: watcher._mtime_ns)
    assert await look(watcher) == "unchanged"


async def test_an_absolute_path_is_taken_as_it_is_and_never_as_a_template(watch, tmp_path):
    assert str(watch("path: /etc/hosts").path) == "/etc/hosts"
    assert watch("path: '{{ lookup \"facts.x\" 1 }}'").path.name.startswith("{{ lookup")


async def test_a_managed_file_is_written_as_wanted(watch, journal, tmp_path):
    watcher = watch(managed())
    assert await look(watcher) == "changed"
    file = tmp_path / "limits.json"
    assert file.read_text() == "level: 3"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert await look(watcher) == "unchanged"
    assert os.listdir(tmp_path) == ["limits.json"]


@pytest.mark.parametrize(
    "disturb",
    [
        lambda file: file.unlink(),
        lambda file: file.write_text("level: 4"),
        lambda file: file.chmod(0o600),
        lambda file: os.utime(file),
    ],
    ids=["gone", "other contents", "other mode", "touched"],
)
async def test_a_managed_file_is_put_right_again(watch, tmp_path, disturb):
    watcher = watch(managed())
    await look(watcher)
    os.utime(tmp_path / "limits.json", (1000, 1000))
    watcher._mtime_ns = 1000 * 10**9
    assert await look(watcher) == "unchanged"
    disturb(tmp_path / "limits.json")
    assert await look(watcher) == "changed"
    assert (tmp_path / "limits.json").read_text() == "level: 3"


async def test_the_first_look_writes_even_what_is_right_already(watch, tmp_path):
    await look(watch(managed()))
    assert await look(watch(managed())) == "changed"


async def test_contents_and_owners_follow_the_facts_of_the_moment(watch, tmp_path):
    facts = {"level": 7, "owner": ME}
    watcher = watch(
        managed(contents="'level: {{ lookup \"facts.level\" 0 }}'", owner='\'{{ lookup "facts.owner" "x" }}\''),
        facts=lambda: facts,
    )
    await look(watcher)
    assert (tmp_path / "limits.json").read_text() == "level: 7"
    facts["level"] = 8
    assert await look(watcher) == "changed"
    assert (tmp_path / "limits.json").read_text() == "level: 8"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"owner": "nobody-has-this-name"}, "there is no user"),
        ({"group": "nobody-has-this-name"}, "there is no group"),
        ({"path": "missing/limits.json"}, "no such file or directory"),
        ({"contents": "'{{ nonsense }}'"}, "nonsense"),
    ],
)
async def test_what_cannot_be_written_is_an_error_and_leaves_nothing(watch, tmp_path, change, reason):
    watcher = watch(managed(**change))
    assert await look(watcher) == "error"
    assert reason in watcher.trouble
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("properties", "key"),
    [
        ("contents: x", "path"),
        ("path: x, contents: x, group: g, mode: '0640'", "owner"),
        ("path: x, contents: x, owner: o, mode: '0640'", "group"),
        ("path: x, contents: x, owner: o, group: g", "mode"),
        (managed(mode="rw"), "mode"),
        (managed(mode='"640"'), "mode"),
        (managed(mode="'{{ lookup \"facts.mode\" 1 }}'"), "mode"),
    ],
)
def test_what_cannot_be_a_file_watcher(watch, key, properties):
    with pytest.raises(BadInput, match=f"properties.{key}:"):
        watch(properties)


@pytest.mark.parametrize(("text", "mode"), [("0640", 0o640), ("0", 0), ("416", 0o640), ("04755", 0o4755)])
def test_modes_as_choria_reads_them(text, mode):
    assert parse_mode(text) == mode


def test_an_unquoted_mode_means_the_same_as_a_quoted_one(watch):
    assert parse_mode(watch(managed(mode="0640")).properties.mode) == 0o640
