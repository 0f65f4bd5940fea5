"""A deployment that is ended by SIGKILL, at every step in turn, and the agent that starts after it."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
from pathlib import Path

import pytest
import trio

from mra.machines.archives import download
from mra.machines.archives.deploy import Deployment, deploy, flaw
from mra.machines.fleet import Fleet
from mra.machines.watchers.registry import registry
from tests.machines.archives.samples import MANIFEST, plugin_tgz, snapshot
from tests.machines.doubles import Journal, services

STEPS = [
    *((Path, name) for name in ("rename", "unlink")),
    *((os, name) for name in ("mkdir", "unlink", "rmdir", "rename", "replace", "fsync")),
]
DATA = b'{"runs":5}'
VERSIONS = {b"version: 0.0.1": b"one", b"version: 0.0.2": b"two"}


@pytest.fixture
def publish(artifacts, tmp_path):
    """Puts a version on the server; gives what has to be deployed for it."""

    def publish(version):
        text = next(text for text, name in VERSIONS.items() if name == version)
        filling = random.Random(1).randbytes(100_000)
        packed, checksum, sums = plugin_tgz(
            manifest=MANIFEST.replace(b"version: 0.0.1", text), run__sh=version, filling=filling
        )
        artifacts.files["/echo.tgz"] = packed
        return Deployment(artifacts.source(), checksum, tmp_path / "machines", "echo", "SHA256SUMS", sums)

    return publish


def killed(wanted, step):
    """Deploy in a process of its own that ends at this step; False when it came to its end before."""
    child = os.fork()
    if child == 0:
        try:
            trio.run(deploy_until, wanted, step)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, "the deployment failed by itself"
        return False
    assert os.WTERMSIG(status) == signal.SIGKILL
    return True


async def deploy_until(wanted, step):
    steps = itertools.count(1)

    def count():
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    for owner, name in STEPS:
        setattr(owner, name, counted(getattr(owner, name), count))

    async def trial(_):
        await trio.lowlevel.checkpoint()
        count()

    await deploy(wanted, trial=trial)


def counted(function, count):
    def call(*args, **kwargs):
        count()
        return function(*args, **kwargs)

    return call


async def loaded(store):
    """The versions of the machines that an agent finds when it starts."""
    fleet = Fleet(store, services(Journal()), registry())
    async with trio.open_nursery() as nursery:
        await nursery.start(fleet.run)
        versions = [(picture.name, picture.version) for picture in fleet.pictures()]
        nursery.cancel_scope.cancel()
    return versions


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_after_a_kill_at_any_step_the_agent_starts_with_the_old_or_the_new_version_whole(publish, tmp_path):
    assert download  # loaded before the processes are made, which then begin quickly
    live, work = tmp_path / "machines" / "echo", tmp_path / "machines" / "tmp"
    trio.run(deploy, publish(b"one"))
    (live / "machine_data.json").write_bytes(DATA)
    before = live.rename(tmp_path / "before")
    found = set()
    for step in itertools.count(1):
        shutil.rmtree(live, ignore_errors=True)
        shutil.copytree(before, live)
        wanted = publish(b"two")
        if not killed(wanted, step):
            break
        ((name, version),) = trio.run(loaded, tmp_path / "machines")
        tree = snapshot(live)
        assert (name, tree["run.sh"]) == ("echo", VERSIONS[f"version: {version}".encode()]), step
        assert tree["machine_data.json"] == DATA, step
        assert set(tree) == {"SHA256SUMS", "filling", "machine.yaml", "machine_data.json", "run.sh"}
        left = {path.name for path in work.rglob("*")} - {"mra-echo"}
        assert left <= {"archive.tgz", "archive.tgz.origin", ".archive.tgz.origin.new"}, step  # for the next attempt
        found.add(version)
        trio.run(deploy, wanted)
        assert flaw(wanted) == ""
        assert os.listdir(work) == []
    assert found == {"0.0.1", "0.0.2"}
    assert step > 20, "not every step was met"
