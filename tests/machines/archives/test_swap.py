from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from mra.machines.archives.swap import Place
from tests.machines.archives.samples import Crash, crashing_at, snapshot

STEPS = [(Path, "rename"), (Path, "unlink"), (os, "unlink"), (os, "rmdir"), (os, "fsync")]
OLD = {"machine.yaml": b"old"}
NEW = {"machine.yaml": b"new", "extra": b"more"}
DATA = {"machine_data.json": b'{"runs":5}'}


@pytest.fixture
def place(tmp_path):
    """An old tree that is live, with data, and a new one that is staged."""
    place = Place(tmp_path / "echo", tmp_path / "tmp" / "mra-echo")
    for directory, files in ((place.live, {**OLD, **DATA}), (place.new / "echo", NEW)):
        directory.mkdir(parents=True)
        for name, content in files.items():
            (directory / name).write_bytes(content)
    return place


def test_the_new_tree_takes_the_place_and_the_nodes_data_moves_along(place):
    place.swap()
    place.confirm()
    assert snapshot(place.live) == {**NEW, **DATA}
    assert not place.old.exists()


def test_a_first_deployment_has_nothing_to_replace(place):
    place.live.rename(place.live.with_name("elsewhere"))
    place.swap()
    place.confirm()
    assert snapshot(place.live) == NEW


def test_rolling_back_restores_the_old_tree_with_the_newest_data(place):
    place.swap()
    (place.live / "machine_data.json").write_bytes(b'{"runs":6}')
    place.roll_back()
    assert snapshot(place.live) == {**OLD, "machine_data.json": b'{"runs":6}'}


def test_rolling_back_a_first_deployment_leaves_nothing(place):
    place.live.rename(place.live.with_name("elsewhere"))
    place.swap()
    place.roll_back()
    assert not place.live.exists()


def test_data_written_between_the_copy_and_the_renames_is_not_lost(place, monkeypatch):
    real = Path.rename

    def rename(path, target):
        if path == place.live:
            (path / "machine_data.json").write_bytes(b'{"runs":"late"}')
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    place.swap()
    assert (place.live / "machine_data.json").read_bytes() == b'{"runs":"late"}'


def test_an_archive_that_lists_that_file_brings_its_own(place):
    (place.new / "echo" / "machine_data.json").write_bytes(b"{}")
    Place(place.live, place.work, keeps_data=False).swap()
    assert (place.live / "machine_data.json").read_bytes() == b"{}"


def test_a_link_in_the_place_is_replaced_and_never_followed(place, tmp_path):
    elsewhere = place.live.rename(tmp_path / "elsewhere")
    place.live.symlink_to(elsewhere)
    place.swap()
    place.confirm()
    assert snapshot(place.live) == {**NEW, **DATA}
    assert snapshot(elsewhere) == {**OLD, **DATA}


@pytest.mark.parametrize("ending", ["confirm", "roll_back"])
@pytest.mark.parametrize("step", range(1, 40))
def test_a_kill_at_any_step_leaves_the_old_or_the_new_tree_whole(place, monkeypatch, step, ending):
    with crashing_at(monkeypatch, STEPS, step) as calls:
        try:
            place.swap()
            getattr(place, ending)()
        except Crash:
            pass
        else:
            assert calls() < step, "the story has ended before this step"
    Place(place.live, place.work).recover()
    assert snapshot(place.live) in ({**OLD, **DATA}, {**NEW, **DATA})
    assert [path.name for path in place.work.iterdir()] == []


@pytest.mark.parametrize("first", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("second", range(1, 12))
def test_a_kill_during_recovery_is_recovered_from_too(place, monkeypatch, first, second):
    with crashing_at(monkeypatch, STEPS, first), suppress(Crash):
        place.swap()
    with crashing_at(monkeypatch, STEPS, second), suppress(Crash):
        place.recover()
    place.recover()
    assert snapshot(place.live) in ({**OLD, **DATA}, {**NEW, **DATA})
