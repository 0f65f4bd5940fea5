from __future__ import annotations

import json
import os
import threading

import pytest
import trio

from lab.plugins.authority import Authority
from mra.errors import BadInput, Refused
from mra.machines.archives.swap import Place
from tests.machines.archives.samples import MANIFEST, plugin_tgz, snapshot
from tests.machines.archives.server import ArtifactServer
from tests.machines.doubles import Slots, machine
from tests.machines.processes import wait_for


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.new(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def artifacts(authority):
    with ArtifactServer(authority) as server:
        yield server


@pytest.fixture
def store(tmp_path):
    (tmp_path / "mm_echo").mkdir()
    return tmp_path


class Trials:
    """What a fleet would say."""

    def __init__(self, *, check="", prove=""):
        self.refusals = {"check": check, "prove": prove}
        self.proved = []

    def check(self, tree):
        if self.refusals["check"]:
            raise BadInput(self.refusals["check"])

    async def prove(self, directory):
        self.proved.append(directory)
        if self.refusals["prove"]:
            raise Refused(self.refusals["prove"])


def manager(artifacts, store, journal, *, packed=None, digests=("0" * 64, "0" * 64), more="", **others):
    """A machine that deploys `echo` beside itself at every change of its state."""
    if packed:
        artifacts.files["/echo.tgz"] = packed
    properties = {
        "source": artifacts.url(),
        "target": str(store),
        "creates": "echo",
        "checksum": digests[0],
        "verify": "SHA256SUMS",
        "verify_checksum": digests[1],
        "ca_file": str(artifacts.ca_file),
    }
    line = (
        f'{{name: download, type: archive, state_match: ["on"], success_transition: again,'
        f" fail_transition: trip, properties: {json.dumps(properties)[:-1]}{more}}}}}"
    )
    return machine(line, journal, store / "mm_echo", **others)


async def test_a_missing_plugin_is_downloaded_and_a_healthy_one_verified(artifacts, store, journal):
    packed, *digests = plugin_tgz()
    pump = manager(artifacts, store, journal, packed=packed, digests=digests)
    await pump.fire("start")
    assert pump.watchers[0].report()["previous_outcome"] == "unknown"
    await pump.watchers[0].turn()
    assert journal.story == ["off -> on", "download: downloaded"]
    assert (store / "echo" / "machine.yaml").read_bytes() == MANIFEST
    await pump.watchers[0].turn()
    assert journal.story[2:] == ["download: verified"]
    assert len(artifacts.requests) == 1
    data = journal.envelopes[1]["data"]
    assert data["source"] == artifacts.url()
    assert data["creates"] == "echo"
    assert data["previous_run_time"] > 0
    assert "reason" not in data


async def test_a_missing_file_is_an_error_that_says_so(artifacts, store, journal):
    pump = manager(artifacts, store, journal)
    await pump.fire("start")
    await pump.watchers[0].turn()
    assert journal.story == ["off -> on", "download: error", "on -> fault"]
    assert "HTTP status 404" in journal.envelopes[1]["data"]["reason"]
    assert not (store / "echo").exists()


async def test_a_version_that_does_not_run_is_taken_back_and_left_alone_for_an_hour(artifacts, store, journal):
    packed, *digests = plugin_tgz()
    first = manager(artifacts, store, journal, packed=packed, digests=digests)
    await first.fire("start")
    await first.watchers[0].turn()
    before = snapshot(store / "echo")
    packed, *digests = plugin_tgz(run__sh=b"two")
    trials, looks = Trials(prove="the pump does not start"), []
    second = manager(
        artifacts, store, journal, packed=packed, digests=digests, trials=trials,
        look_soon=lambda: looks.append((store / "echo" / "run.sh").exists()),
    )  # fmt: skip
    await second.fire("start")
    for _ in range(2):
        await second.watchers[0].turn()
        assert second.watchers[0].trouble == "the pump does not start"
        await second.fire("stop")
        await second.fire("start")
    assert trials.proved == [store / "echo"]
    assert looks == [False], "the fleet is asked to look once the version before is back"
    assert len(artifacts.requests) == 2
    assert snapshot(store / "echo") == before


async def test_a_manifest_that_cannot_run_never_goes_live(artifacts, store, journal):
    packed, *digests = plugin_tgz()
    trials = Trials(check="line 3: no such type")
    pump = manager(artifacts, store, journal, packed=packed, digests=digests, trials=trials)
    await pump.fire("start")
    await pump.watchers[0].turn()
    assert pump.watchers[0].trouble == "line 3: no such type"
    assert trials.proved == []
    assert not (store / "echo").exists()


async def test_a_governor_is_held_for_the_download_only(artifacts, store, journal):
    packed, *digests = plugin_tgz()
    slots = Slots()
    pump = manager(artifacts, store, journal, packed=packed, digests=digests, governors=slots, more=', governor: "OTA"')
    await pump.fire("start")
    await pump.watchers[0].turn()
    await pump.watchers[0].turn()
    assert [each[0] for each in slots.asked] == ["OTA"]
    assert journal.story == ["off -> on", "OTA enter", "OTA exit", "download: downloaded", "download: verified"]


async def test_templates_are_expanded_and_credentials_do_not_show(artifacts, store, journal):
    packed, *digests = plugin_tgz()
    pump = manager(artifacts, store, journal, packed=packed, digests=digests, facts=lambda: {"mirror": "user:s3cret@"})
    pump.watchers[0].properties = type(pump.watchers[0].properties)(
        **{
            **vars(pump.watchers[0].properties),
            "source": artifacts.url().replace("127", '{{ lookup "facts.mirror" "" }}127'),
        }
    )
    await pump.fire("start")
    await pump.watchers[0].turn()
    assert journal.story[-1] == "download: downloaded"
    assert "s3cret" not in json.dumps(journal.envelopes)


async def test_a_machine_that_is_being_removed_deploys_nothing(artifacts, store, journal):
    packed, *digests = plugin_tgz()
    pump = manager(artifacts, store, journal, packed=packed, digests=digests)
    await pump.fire("start")
    (store / "mm_echo").rename(store / ".mm_echo.gone")
    await pump.watchers[0].turn()
    assert artifacts.requests == []
    assert not (store / "echo").exists()


async def test_leaving_the_state_in_the_middle_of_a_download_leaves_nothing(artifacts, store, journal):
    packed, *digests = plugin_tgz(big=os.urandom(100_000))
    begun = threading.Event()

    def stall(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(packed)))
        handler.end_headers()
        handler.wfile.write(packed[:50_000])
        begun.set()
        artifacts.released.wait(30)
        return True

    artifacts.mischief = stall
    pump = manager(artifacts, store, journal, packed=packed, digests=digests)
    await pump.fire("start")
    async with trio.open_nursery() as looking:
        looking.start_soon(pump.watchers[0].turn)
        assert await trio.to_thread.run_sync(begun.wait, 10)
        pump.watchers[0].state_changed("off")
    assert pump.watchers[0].outcome == "skipped"
    assert os.listdir(store / "tmp") == []


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ("{}", "it is required"),
        ("{source: http://h/x, target: /t, creates: a, checksum: c, verify: S}", "required with verify"),
        ("{source: http://h/x, target: /t, creates: a, checksum: c, username: u}", "required with username"),
        ("{source: http://h/x, target: /t, creates: a/b, checksum: c}", "directly below"),
        ("{source: http://h/x, target: /t, creates: .., checksum: c}", "directly below"),
    ],
)
def test_what_cannot_be_an_archive(journal, tmp_path, properties, reason):
    with pytest.raises(BadInput, match=reason):
        machine(f"{{name: a, type: archive, properties: {properties}}}", journal, tmp_path)


def test_an_interval_is_ten_seconds_at_least(journal, tmp_path):
    line = (
        "{name: a, type: archive, interval: 9s, properties: {source: http://h/x, target: /t, creates: a, checksum: c}}"
    )
    with pytest.raises(BadInput, match="10s"):
        machine(line, journal, tmp_path)


async def test_a_kill_during_a_trial_is_put_right_when_the_watcher_starts(artifacts, store, journal, nursery):
    packed, *digests = plugin_tgz()
    pump = manager(artifacts, store, journal, packed=packed, digests=digests)
    await pump.fire("start")
    await pump.watchers[0].turn()
    before = snapshot(store / "echo")
    place = Place(store / "echo", store / "tmp" / "mra-echo")
    (place.new / "echo").mkdir(parents=True)
    place.swap()
    nursery.start_soon(pump.watchers[0].run)
    await wait_for(lambda: len(journal.story) == 3)
    assert journal.story[2:] == ["download: verified"]
    assert snapshot(store / "echo") == before
