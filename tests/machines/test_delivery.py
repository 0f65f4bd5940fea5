"""Over the air as a whole: a fleet, a signed specification, a real HTTPS server."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from lab.plugins.authority import Authority
from mra.machines import trial
from mra.machines.archives.pack import pack
from mra.machines.delivery import MACHINES_MANAGER
from mra.machines.fleet import Fleet
from mra.machines.picture import Condition
from mra.machines.spec import Plugin, sign
from mra.machines.trial import FleetTrials
from mra.machines.watchers import archive, plugins
from tests.machines.archives.samples import MANIFEST
from tests.machines.archives.server import ArtifactServer
from tests.machines.doubles import KINDS, Buckets, services
from tests.machines.test_spec import EXAMPLE, KEY, SEED, needs_example


class Site:
    """A fleet with a manager of plugins, the bucket it follows, and the server that holds the archives."""

    def __init__(self, store, journal, artifacts, *, key=KEY, **others):
        self.store, self.journal, self.artifacts = store, journal, artifacts
        self.buckets = Buckets()
        trials = FleetTrials(lambda: self.fleet, KINDS)
        agent = replace(services(journal, desired=self.buckets, signing_key=key, **others), trials=trials)
        agent = replace(agent, look_soon=lambda: self.fleet.look_soon())
        self.fleet = Fleet(store, agent, KINDS, [MACHINES_MANAGER])

    def publish(self, directory, serial):
        """Put a version on the server, and its specification into the bucket."""
        packed = pack(directory)
        self.artifacts.files["/echo.tgz"] = packed.archive
        wanted = Plugin("echo", self.artifacts.url(), packed.checksum, packed.verify_checksum)
        self.buckets.put("CONFIG", "machines", sign([wanted], SEED, serial))

    def picture(self, name):
        return next((each for each in self.fleet.pictures() if each.name == name), None)

    @property
    def reasons(self):
        """Why archives were not deployed, as reported by events."""
        return [
            each["data"]["reason"]
            for each in self.journal.envelopes
            if each["type"] == "io.choria.machine.watcher.archive.v1.state" and "reason" in each["data"]
        ]

    def runs(self, version):
        """Whether this version runs, and has passed its trial."""
        picture, manager = self.picture("echo"), self.picture("mm_echo")
        watchers = manager.watchers if manager else ()  # none while its manifest is read
        proved = any(watcher.outcome in {"downloaded", "error"} for watcher in watchers)
        return proved and picture is not None and picture.version == version and not picture.problem

    async def until(self, condition):
        """Wait for something; every step follows the one before at once, so no interval has to pass."""
        with trio.fail_after(20):
            while not condition():  # noqa: ASYNC110 - much of it happens in files
                await trio.sleep(0.02)


@pytest.fixture
def authority(tmp_path_factory):
    return Authority.new(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def artifacts(authority, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    with ArtifactServer(authority) as server:
        yield server


@pytest.fixture
def plugin(tmp_path):
    """The directory of a plugin, to be changed by the test."""
    directory = tmp_path / "work" / "echo"
    directory.mkdir(parents=True)
    (directory / "machine.yaml").write_bytes(MANIFEST)
    return directory


@pytest.fixture
async def site(tmp_path, journal, artifacts, monkeypatch, nursery):
    monkeypatch.setattr(trial, "PROBATION_SECONDS", 0.05)
    monkeypatch.setattr(trial, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(plugins, "_STOP_SECONDS", 0.01)
    site = Site(tmp_path / "machines", journal, artifacts)
    await nursery.start(site.fleet.run)
    return site


async def test_a_published_plugin_is_deployed_updated_and_removed(site, plugin):
    site.publish(plugin, serial=1)
    await site.until(lambda: site.runs("0.0.1"))

    (plugin / "machine.yaml").write_bytes(MANIFEST.replace(b"0.0.1", b"0.0.2"))
    await site.fleet.find("echo").data.put("runs", 5)
    site.publish(plugin, serial=2)
    await site.until(lambda: site.runs("0.0.2"))
    assert site.fleet.find("echo").data.get("runs") == 5

    site.buckets.put("CONFIG", "machines", sign([], SEED, 3))
    await site.until(lambda: site.picture("echo") is None and site.picture("mm_echo") is None)
    assert not (site.store / "echo").exists()


async def test_a_version_that_cannot_run_keeps_the_old_one_and_is_reported(site, plugin):
    site.publish(plugin, serial=1)
    await site.until(lambda: site.runs("0.0.1"))

    (plugin / "machine.yaml").write_bytes(MANIFEST.replace(b"type: timer", b"type: nonsense"))
    site.publish(plugin, serial=2)
    await site.until(lambda: site.reasons)
    assert "nonsense" in site.reasons[0]
    assert site.runs("0.0.1")
    assert b"timer" in (site.store / "echo" / "machine.yaml").read_bytes()


async def test_a_machine_that_the_fleet_refuses_is_taken_back(
    tmp_path, journal, artifacts, monkeypatch, nursery, plugin
):
    monkeypatch.setattr(trial, "_LOOK_SECONDS", 0.01)
    site = Site(tmp_path / "machines", journal, artifacts, deny=frozenset({"secretly_evil"}))
    await nursery.start(site.fleet.run)
    (plugin / "machine.yaml").write_bytes(MANIFEST.replace(b"name: echo", b"name: secretly_evil"))
    site.publish(plugin, serial=1)
    await site.until(lambda: site.reasons)
    assert site.reasons == ["This agent does not allow secretly_evil."]
    assert not (site.store / "echo").exists()


@needs_example
async def test_the_published_example_is_deployed_unchanged_and_runs(
    tmp_path, journal, artifacts, monkeypatch, nursery, authority
):
    monkeypatch.setattr(trial, "PROBATION_SECONDS", 0.05)
    monkeypatch.setattr(trial, "_LOOK_SECONDS", 0.01)
    artifacts.files["/echo-0.0.1.tgz"] = (EXAMPLE / "echo-0.0.1.tgz").read_bytes()
    site = Site(tmp_path / "machines", journal, artifacts, key=(EXAMPLE / "signer.pub").read_text().strip())
    published = "http://plugins.backend.saas.local/"
    real = archive.ArchiveWatcher._deployment

    def resolved(watcher):
        """What name resolution does in the example's network: the host is the test's server."""
        found = real(watcher)
        assert found.source.url.startswith(published)
        source = replace(found.source, url=artifacts.url("/" + found.source.url.removeprefix(published)))
        return replace(found, source=source)

    monkeypatch.setattr(archive.ArchiveWatcher, "_deployment", resolved)
    await nursery.start(site.fleet.run)
    site.buckets.put("CONFIG", "machines", (EXAMPLE / "plugins.json").read_bytes())
    await site.until(lambda: site.runs("0.0.1"))
    assert site.picture("echo").condition is Condition.RUNNING
