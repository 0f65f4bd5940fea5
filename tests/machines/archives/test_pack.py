from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import tarfile

import pytest

from mra.errors import BadInput
from mra.machines.archives.extract import extract
from mra.machines.archives.pack import pack
from mra.machines.archives.sums import tree_flaw
from tests.machines.archives.samples import MANIFEST


@pytest.fixture
def plugin(tmp_path):
    directory = tmp_path / "echo"
    (directory / "lib").mkdir(parents=True)
    (directory / "machine.yaml").write_bytes(MANIFEST)
    (directory / "run.sh").write_text("#!/bin/sh\n")
    (directory / "run.sh").chmod(0o777)
    (directory / "lib" / "words").write_text("x")
    return directory


def test_what_is_packed_unpacks_and_verifies(plugin, tmp_path):
    packed = pack(plugin)
    (tmp_path / "a.tgz").write_bytes(packed.archive)
    extract(tmp_path / "a.tgz", tmp_path / "out")
    assert packed.checksum == hashlib.sha256(packed.archive).hexdigest()
    assert tree_flaw(tmp_path / "out" / "echo", "SHA256SUMS", packed.verify_checksum) == ""
    assert os.access(tmp_path / "out" / "echo" / "run.sh", os.X_OK)


def test_the_archive_is_one_that_choria_takes(plugin):
    with tarfile.open(fileobj=io.BytesIO(pack(plugin).archive)) as archive:
        members = archive.getmembers()
        names = [member.name for member in members]
        assert all(member.isreg() or member.isdir() for member in members)
        assert archive.pax_headers == {}
    assert names[0] == "echo"
    assert all(os.path.dirname(name) in names[:at] for at, name in enumerate(names) if at)
    assert sorted(names) == sorted(
        ["echo", "echo/SHA256SUMS", "echo/lib", "echo/lib/words", "echo/machine.yaml", "echo/run.sh"]
    )


def test_the_real_tools_agree(plugin, tmp_path):
    (tmp_path / "a.tgz").write_bytes(pack(plugin).archive)
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "xzf", tmp_path / "a.tgz", "-C", tmp_path / "out"], check=True)
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], check=True, cwd=tmp_path / "out" / "echo"
    )


def test_the_same_files_give_the_same_bytes(plugin, tmp_path):
    first = pack(plugin)
    for path in plugin.rglob("*"):
        os.utime(path, (1, 1))
    plugin.rename(tmp_path / "moved")
    (tmp_path / "moved").rename(plugin)
    assert pack(plugin) == first
    assert gzip.decompress(first.archive)


def test_a_nodes_data_and_stale_sums_are_left_out(plugin):
    before = pack(plugin)
    (plugin / "machine_data.json").write_text("{}")
    (plugin / "SHA256SUMS").write_text("stale")
    assert pack(plugin) == before


@pytest.mark.parametrize("name", ["x", "a..b", " blank"])
def test_names_that_choria_refuses_are_refused_here(plugin, name):
    (plugin / name).write_text("")
    with pytest.raises(BadInput, match="rename it"):
        pack(plugin)


def test_links_and_pipes_are_refused(plugin):
    (plugin / "link").symlink_to("/etc")
    with pytest.raises(BadInput, match="neither a regular file"):
        pack(plugin)
    (plugin / "link").unlink()
    os.mkfifo(plugin / "link")
    with pytest.raises(BadInput, match="neither a regular file"):
        pack(plugin)


def test_a_directory_without_a_machine_is_no_plugin(tmp_path):
    with pytest.raises(BadInput, match=r"no machine\.yaml"):
        pack(tmp_path)
    with pytest.raises(BadInput, match="is no directory"):
        pack(tmp_path / "nowhere")
