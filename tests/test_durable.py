"""Files that are replaced as a whole, or not at all."""

from __future__ import annotations

import os
import stat
from functools import partial
from typing import TYPE_CHECKING

import pytest

from mra.durable import replace_file

if TYPE_CHECKING:
    from pathlib import Path

WAYS = {
    "several writers": replace_file,
    "sole writer": partial(replace_file, sole_writer=True),
    "not synced": partial(replace_file, synced=False, sole_writer=True),
}


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def replace(request):
    return request.param


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_file_has_its_mode_whatever_the_umask_and_readers_keep_what_they_opened(tmp_path, replace, mode):
    file: Path = tmp_path / "facts.json"
    before = os.umask(0o077)
    try:
        replace(file, b"one", mode=mode)
        with file.open() as reader:
            replace(file, b"two", mode=mode)
            assert reader.read() == "one"
    finally:
        os.umask(before)
    assert file.read_bytes() == b"two"
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert os.listdir(tmp_path) == ["facts.json"]


@pytest.mark.parametrize("broken", ["fchmod", "fsync"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, replace, broken):
    file = tmp_path / "facts.json"
    replace(file, b"one")
    asked = []

    def full(*_):
        asked.append(broken)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, full)
    if broken == "fsync" and replace is WAYS["not synced"]:
        replace(file, b"one")
        assert not asked
    else:
        with pytest.raises(OSError, match="No space"):
            replace(file, b"two")
    assert file.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["facts.json"]


def test_a_sole_writer_replaces_what_a_kill_left_and_follows_no_link_there(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".facts.json.new").symlink_to(victim)
    replace_file(tmp_path / "facts.json", b"one", sole_writer=True)
    assert victim.read_text() == "precious"
    (tmp_path / ".facts.json.new").write_text("half")
    replace_file(tmp_path / "facts.json", b"two", sole_writer=True)
    assert sorted(os.listdir(tmp_path)) == ["facts.json", "victim"]
