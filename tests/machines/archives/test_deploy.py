from __future__ import annotations

import hashlib
import os
import sys
import threading

import pytest
import trio

from mra.errors import BadInput, Busy, Refused, Unavailable
from mra.machines.archives.deploy import Deployment, Unfit, deploy, discard, flaw, recover, remove_deployed
from mra.machines.archives.download import Patience
from mra.machines.archives.source import Source
from mra.machines.archives.swap import Place
from tests.machines.archives.samples import file, header, plugin_tgz, snapshot, tgz

ONCE = Patience(pauses=())


class Site:
    """A plugins directory, and the server it is filled from."""

    def __init__(self, artifacts, target):
        self.artifacts, self.target = artifacts, target

    def publish(self, **files):
        """Put a version on the server; what has to be deployed for it."""
        packed, checksum, sums = plugin_tgz(**files)
        return self.put(packed, checksum, sums)

    def put(self, packed, checksum=None, sums="", **others):
        self.artifacts.files["/echo.tgz"] = packed
        checksum = checksum or hashlib.sha256(packed).hexdigest()
        verify = "SHA256SUMS" if sums else ""
        return Deployment(self.artifacts.source(), checksum, self.target, "echo", verify, sums, **others)

    @property
    def live(self):
        return snapshot(self.target / "echo")

    @property
    def leftovers(self):
        return os.listdir(self.target / "tmp") if (self.target / "tmp").exists() else []


@pytest.fixture
def site(artifacts, tmp_path):
    return Site(artifacts, tmp_path / "machines")


async def refuse(tree):
    raise Refused("the pump does not start")


async def test_a_plugin_is_deployed_and_then_found_as_it_shall_be(site):
    wanted = site.publish(run__sh=b"one")
    assert "does not exist" in flaw(wanted)
    await deploy(wanted)
    assert site.live["run.sh"] == b"one"
    assert flaw(wanted) == ""
    assert site.leftovers == []


async def test_a_new_version_replaces_the_old_one_and_keeps_the_nodes_data(site):
    await deploy(site.publish(run__sh=b"one"))
    (site.target / "echo" / "machine_data.json").write_text('{"runs":5}')
    newer = site.publish(run__sh=b"two")
    assert "checksum" in flaw(newer)
    await deploy(newer)
    assert site.live["run.sh"] == b"two"
    assert site.live["machine_data.json"] == b'{"runs":5}'
    assert flaw(newer) == ""


async def test_a_damaged_tree_is_repaired(site):
    wanted = site.publish()
    await deploy(wanted)
    (site.target / "echo" / "machine.yaml").write_text("tampered")
    assert "machine.yaml does not have the checksum" in flaw(wanted)
    await deploy(wanted)
    assert flaw(wanted) == ""


async def test_without_a_sums_file_any_directory_of_the_name_will_do(site):
    wanted = site.put(tgz(header("echo"), file("echo/a")))
    await deploy(wanted)
    (site.target / "echo" / "a").write_text("changed")
    assert flaw(wanted) == ""


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (b"<html>not found</html>", "no intact gzip"),
        (tgz(header("other"), file("other/a")), "holds no directory echo"),
        (tgz(file("echo")), "holds no directory echo"),
        (tgz(header("echo"), file("echo/a")), "not as signed"),
        (tgz(header("echo"), file("echo/SHA256SUMS", b"0" * 64 + b"  machine.yaml\n")), "not as signed"),
    ],
)
async def test_an_archive_that_is_not_as_signed_leaves_the_old_tree_alone(site, packed, reason):
    await deploy(site.publish())
    before = site.live
    with pytest.raises(Unfit, match=reason):
        await deploy(site.put(packed, sums="1" * 64))
    assert site.live == before
    assert site.leftovers == []


async def test_a_tree_that_fails_its_check_never_goes_live(site):
    await deploy(site.publish(run__sh=b"one"))
    before = site.live

    def check(tree):
        assert (tree / "run.sh").read_bytes() == b"two"
        raise BadInput("line 3 of machine.yaml is wrong")

    with pytest.raises(Unfit, match="line 3"):
        await deploy(site.publish(run__sh=b"two"), check=check)
    assert site.live == before
    assert site.leftovers == []


async def test_a_tree_that_fails_its_trial_is_taken_back(site):
    await deploy(site.publish(run__sh=b"one"))
    before = site.live
    tried = []

    async def trial(tree):
        tried.append((tree / "run.sh").read_bytes())
        await refuse(tree)

    with pytest.raises(Unfit, match="the pump does not start"):
        await deploy(site.publish(run__sh=b"two"), trial=trial)
    assert tried == [b"two"]
    assert site.live == before
    assert site.leftovers == []


async def test_a_first_version_that_fails_its_trial_leaves_nothing(site):
    with pytest.raises(Unfit):
        await deploy(site.publish(), trial=refuse)
    assert not (site.target / "echo").exists()


async def test_cancelled_in_its_trial_the_old_version_is_back(site):
    await deploy(site.publish(run__sh=b"one"))
    before = site.live
    in_trial = trio.Event()

    async def trial(tree):
        in_trial.set()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:

        async def run():
            await deploy(site.publish(run__sh=b"two"), trial=trial)

        nursery.start_soon(run)
        await in_trial.wait()
        assert site.live["run.sh"] == b"two"
        nursery.cancel_scope.cancel()
    assert site.live == before
    assert site.leftovers == []


async def test_an_interrupted_download_is_kept_until_it_is_discarded(site):
    wanted = site.publish(big=os.urandom(200_000))
    cuts = [1]

    def cut(handler):
        return bool(cuts) and (
            handler.answer(200, site.artifacts.files["/echo.tgz"], send=100_000, ETag='"v1"') or True
        )

    site.artifacts.mischief = cut
    with pytest.raises(Unavailable):
        await deploy(wanted, patience=ONCE)
    assert site.leftovers == ["mra-echo"]
    cuts.clear()
    await deploy(wanted)
    assert site.artifacts.ranges == [None, "bytes=100000-"]
    cuts.append(1)
    (site.target / "echo" / "machine.yaml").unlink()
    with pytest.raises(Unavailable):
        await deploy(wanted, patience=ONCE)
    discard(wanted)
    assert site.leftovers == []


async def test_two_deployments_of_one_thing_do_not_meet(site):
    wanted = site.publish()
    in_trial, ended = trio.Event(), trio.Event()

    async def trial(tree):
        in_trial.set()
        await ended.wait()

    async with trio.open_nursery() as nursery:

        async def run():
            await deploy(wanted, trial=trial)

        nursery.start_soon(run)
        await in_trial.wait()
        with pytest.raises(Busy, match="another deployment"):
            await deploy(wanted)
        with pytest.raises(Busy):
            remove_deployed(site.target, "echo")
        discard(wanted)
        ended.set()
    assert flaw(wanted) == ""


async def test_what_a_kill_during_the_trial_left_is_put_back_at_the_next_start(site):
    await deploy(site.publish(run__sh=b"one"))
    before = site.live
    place = Place(site.target / "echo", site.target / "tmp" / "mra-echo")
    (place.new / "echo").mkdir(parents=True)
    place.swap()
    recover(site.target)
    assert site.live == before
    recover(site.target / "nowhere")


async def test_a_check_that_takes_long_gives_way_to_cancellation_at_the_next_member(site, monkeypatch):
    """The thread that unpacks asks whether anyone still wants it."""
    module = sys.modules[deploy.__module__]
    begun = threading.Event()
    real = module.extract

    def slow(archive, into, *, limits, checkpoint):
        begun.set()
        while True:
            checkpoint()

    monkeypatch.setattr(module, "extract", slow)
    wanted = site.publish()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deploy, wanted)
        assert await trio.to_thread.run_sync(begun.wait, 10)
        nursery.cancel_scope.cancel()
    monkeypatch.setattr(module, "extract", real)
    assert site.leftovers == []
    await deploy(wanted)


async def test_a_target_that_cannot_be_written_is_said_plainly(site):
    site.target.write_text("a file")
    with pytest.raises(Unavailable, match="fix the target directory"):
        await deploy(site.publish())


@pytest.mark.parametrize("name", ["", "a/b", "..", "/etc", "tmp", ".", "a/"])
def test_creates_names_one_directory(tmp_path, name):
    with pytest.raises(BadInput):
        Deployment(Source("https://h/x"), "0" * 64, tmp_path, name)


async def test_removing_takes_the_tree_and_what_was_begun(site):
    await deploy(site.publish())
    (site.target / "tmp" / "mra-echo").mkdir()
    remove_deployed(site.target, "echo")
    assert not (site.target / "echo").exists()
    assert site.leftovers == []
