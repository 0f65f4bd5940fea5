"""What arrives from outside may be anything: it never becomes a traceback, and never a machine that nobody signed.

Each test puts at least 200 generated variants through the whole path that a real one takes: manifests through a running
fleet, specifications through the watcher that obeys them, archives through a deployment beside the version that runs.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import os
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from mra.errors import MraError
from mra.machines.archives import download
from mra.machines.archives.deploy import Deployment, deploy, flaw
from mra.machines.archives.source import Source
from mra.machines.fleet import Fleet
from mra.machines.picture import Condition
from mra.machines.spec import sign
from mra.machines.trial import FleetTrials
from mra.machines.watchers import plugins
from mra.machines.watchers.registry import registry
from tests.machines.archives.samples import MANIFEST, file, header, plugin_tgz, snapshot, tgz
from tests.machines.doubles import Journal, machine, services
from tests.machines.test_spec import KEY, SEED, documents, entries, plugin

VARIANTS = settings(max_examples=210, deadline=None)


@pytest.fixture(autouse=True)
def _no_syncs(monkeypatch):
    """Power does not fail here, and a thousand variants sync often."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@contextmanager
def no_traceback():
    """Fails when anything is logged with a traceback, which is for bugs alone."""
    seen = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: seen.append(record) if record.exc_info else None
    logger = logging.getLogger("mra")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert not seen, [(record.getMessage(), record.exc_info[1]) for record in seen]


@contextmanager
def directory():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


damages = st.lists(
    st.tuples(st.integers(0, len(MANIFEST) - 1), st.integers(0, 30), st.binary(max_size=12) | st.sampled_from(
        [b"\n", b": ", b"- ", b"[", b"{", b"&a ", b"*a", b"!!python/object:os.system ", b"<<: ", b"\t", b"\xff"]
    )),
    min_size=1,
    max_size=4,
)  # fmt: skip


def test_a_hostile_manifest_leaves_what_runs_alone():
    VARIANTS(given(damages)(edited))()


def edited(changes):
    """Damage the manifest of a running machine in a fleet that looks at it again."""
    text = MANIFEST
    for at, length, filling in changes:
        text = text[:at] + filling + text[at + length :]

    async def edit(store):
        fleet = Fleet(store, services(Journal()), registry())
        async with trio.open_nursery() as nursery:
            await nursery.start(fleet.run)
            (before,) = fleet.pictures()
            (store / "echo" / "machine.yaml").write_bytes(text)
            await fleet.scan()
            (after,) = fleet.pictures()
            nursery.cancel_scope.cancel()
        assert after.condition in (Condition.RUNNING, Condition.WAITING)
        taken = after.digest == hashlib.sha256(text).hexdigest()
        assert taken or (after.instance, after.digest) == (before.instance, before.digest)
        assert taken != bool(after.problem)
        assert "\n" not in after.problem

    with directory() as store, no_traceback():
        (store / "echo").mkdir()
        (store / "echo" / "machine.yaml").write_bytes(MANIFEST)
        trio.run(edit, store)


def signed(content, text=None):
    """Whatever content, signed by the one whom the agent trusts; with `text`, another stands in its place."""
    packed = base64.b64encode(json.dumps(content).encode()).decode()
    signature = Ed25519PrivateKey.from_private_bytes(SEED).sign(packed.encode()).hex()
    return {"plugins": packed if text is None else text, "signature": signature}


def is_json(value):
    try:
        json.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError):
        return False
    return True


names = st.sampled_from(["../up", "/etc", "a/b", "", ".", "..", "tmp", "mm_x", "x\ny", "machines_manager", "ok"])
hostile_entries = st.lists(
    st.builds(lambda entry, name: {**entry, "name": name}, entries, names) | entries, min_size=1, max_size=3
)
forged = st.builds(
    lambda content, changed: signed([], base64.b64encode(json.dumps(content).encode()).decode() + changed),
    hostile_entries.filter(is_json),
    st.sampled_from(["", "=", " ", "A"]),
)


@pytest.fixture
def stop_at_once(monkeypatch):
    monkeypatch.setattr(plugins, "_STOP_SECONDS", 0)


@pytest.mark.usefixtures("stop_at_once")
def test_a_hostile_specification_changes_nothing():
    @VARIANTS
    @given(documents.filter(is_json) | forged)
    def take(document):
        with directory() as store, no_traceback():
            before, after, outcome, _ = trio.run(obey, store, document)
            assert outcome in ("error", "unchanged")
            assert after == before

    take()


@pytest.mark.usefixtures("stop_at_once")
def test_hostile_content_under_a_good_signature_reaches_no_place_but_a_managers_own():
    @VARIANTS
    @given(hostile_entries.filter(is_json))
    def take(content):
        with directory() as store, no_traceback():
            before, after, outcome, outside = trio.run(obey, store, signed(content))
            assert outside == ["machines"]
            if outcome == "error":
                assert after == before
            else:
                wanted = {"mm_" + entry["name"] for entry in content}
                made = {path.split("/")[0] for path in after if path.startswith("mm_")}
                assert made <= wanted

    take()


async def obey(root, document):
    """The store before and after a node took the document, how that came out, and what lies beside the store."""
    store = root / "machines"
    (store / "machines_manager").mkdir(parents=True)
    properties = "{data_item: machines, purge_unknown: true}"
    lines = f"{{name: manage, type: plugins, interval: 30s, properties: {properties}}}"
    pump = machine(lines, Journal(), store / "machines_manager", signing_key=KEY)
    await pump.data.put("machines", json.loads(sign([plugin("one")], SEED)))
    await pump.watchers[0].turn()
    before = managed(store)
    assert "mm_one/machine.yaml" in before
    await pump.data.put("machines", document)
    await pump.watchers[0].turn()
    return before, managed(store), pump.watchers[0].outcome, [path.name for path in root.iterdir()]


def managed(store):
    """What lies in the store, but for the data of the machine that manages it."""
    found = snapshot(store)
    return {name: content for name, content in found.items() if name.startswith("mm_")}


members = st.builds(
    lambda name, content, kind, mode, link: (header(name, content, kind=kind, mode=mode, link=link), content),
    st.sampled_from(
        [
            *("echo/machine.yaml", "echo/run.sh", "echo/SHA256SUMS", "echo/more", "echo", "echo/../../up", "/tmp/up"),
            *("../up", "echo/deep/er", "echo/\x00", "other/x", "echo/" + "n" * 300, "."),
        ]
    ),
    st.sampled_from([b"", MANIFEST, b"x" * 700, b"version: 9"]),
    st.sampled_from(
        [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, b"7"]
    ),
    st.sampled_from([0o644, 0o755, 0o4755, 0o000, 0o7777]),
    st.sampled_from(["../..", "/etc/passwd", "machine.yaml"]),
)


def test_a_hostile_archive_leaves_the_version_that_runs_alone(monkeypatch):
    archives = {}

    async def fetch(source, path, **_):
        await trio.lowlevel.checkpoint()
        path.write_bytes(archives[source.url])

    monkeypatch.setattr(download, "download", fetch)  # digests of archives are tested with it; here all are right

    @VARIANTS
    @given(
        st.lists(members, max_size=3),
        st.lists(members, max_size=3),
        st.booleans(),
        st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=2),
    )
    def receive(first, last, whole, damage):
        old, new = plugin_tgz(run__sh=b"one"), plugin_tgz(run__sh=b"two")
        raw = bytearray(spliced(first, new[0] if whole else None, last))
        for at, value in damage:
            if at < len(raw):
                raw[at] = value
        archives.update({"https://h/old": old[0], "https://h/new": bytes(raw)})
        with directory() as root, no_traceback():
            target = root / "machines"
            wanted = Deployment(Source("https://h/new"), "", target, "echo", "SHA256SUMS", new[2])
            trio.run(deploy, Deployment(Source("https://h/old"), "", target, "echo", "SHA256SUMS", old[2]))
            before = snapshot(target / "echo")
            assert trio.run(attempt, wanted) or snapshot(target / "echo") == before
            assert [path.name for path in root.iterdir()] == ["machines"]
            assert not any(path.is_symlink() for path in target.rglob("*"))
            assert list((target / "tmp").iterdir()) == []

    receive()


async def attempt(wanted):
    """Deploy as an archive watcher does; whether the new version is live, whole."""
    trials = FleetTrials(lambda: None, registry())
    try:
        await deploy(wanted, check=trials.check)
    except MraError as refusal:
        return "\n" in refusal.sentence
    return flaw(wanted) == ""


def spliced(first, packed, last):
    """A packed plugin with other members before and after its own."""
    own = []
    if packed is not None:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            own = [
                file(info.name, archive.extractfile(info).read()) if info.isreg() else header(info.name, mode=0o755)
                for info in archive
            ]
    return tgz(*first, *own, *last)
