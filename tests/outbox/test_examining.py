"""Damage that our own connections do not meet, because they remember the pages, is found when somebody complains."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from mra.errors import StoreBroken
from mra.outbox import doubt, salvage, sqlite, verification
from mra.outbox.outbox import Outbox, open_outbox
from mra.outbox.record import Draft, Lane
from tests.outbox.desk import SETTINGS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    """Twenty rows, all of them in the file itself and remembered by both connections."""
    async with open_outbox(tmp_path / "outbox.db", SETTINGS) as outbox:
        await outbox.append_many([Draft(Lane.EVENTS, "some.subject", bytes(1000)) for _ in range(20)])
        with closing(sqlite.connect(outbox.path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert await outbox.read(rows) == 20
        yield outbox


def rows(connection: sqlite.Connection) -> int:
    return len(connection.execute("SELECT body FROM row_events").fetchall())


def damage(path: Path) -> None:
    """Noise over the last page of rows, past SQLite."""
    content = bytearray(path.read_bytes())
    [*_, last] = [
        at for at in range(4096, len(content), 4096) if content[at] == 13 and b"some.subject" in content[at : at + 4096]
    ]
    content[last : last + 4096] = b"\xee" * 4096
    with path.open("r+b") as file:
        file.write(content)


def kept(outbox: Outbox) -> list[Path]:
    return list(outbox.path.parent.glob("outbox.db.damaged-*"))


async def test_a_sound_file_is_left_alone(outbox: Outbox) -> None:
    doubt.raise_doubt(outbox.path)
    await outbox.examine()
    assert kept(outbox) == []
    assert await outbox.read(rows) == 20


async def test_without_a_complaint_nobody_looks(outbox: Outbox) -> None:
    damage(outbox.path)
    await outbox.examine()
    assert kept(outbox) == []


async def test_damage_on_the_disk_is_found_and_mended(outbox: Outbox) -> None:
    damage(outbox.path)
    with pytest.raises(sqlite.Damaged):
        verification.check_pages(outbox.path)
    doubt.raise_doubt(outbox.path)
    await outbox.examine()
    assert kept(outbox)
    assert 0 < await outbox.read(rows) < 20
    verification.check_pages(outbox.path)
    assert (await outbox.append(Draft(Lane.EVENTS, "some.subject", b"later"))).seq == 21


async def test_one_complaint_is_one_look(outbox: Outbox) -> None:
    doubt.raise_doubt(outbox.path)
    await outbox.examine()
    damage(outbox.path)
    await outbox.examine()
    assert kept(outbox) == []


async def test_a_complaint_outlasts_the_daemon_that_did_not_get_to_it(outbox: Outbox, tmp_path: Path) -> None:
    damage(outbox.path)
    doubt.raise_doubt(outbox.path)
    shutil.copytree(tmp_path, killed := tmp_path / "killed", ignore=shutil.ignore_patterns("killed"))
    async with open_outbox(killed / "outbox.db", SETTINGS) as later:
        await later.examine()
        assert kept(later)
        verification.check_pages(later.path)
        assert doubt.since(later.path) is None


async def test_a_complaint_that_comes_during_the_look_is_looked_at_too(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk changes the file behind what was just looked at."""

    def check(path: Path) -> None:
        looked.append(path)
        if len(looked) == 1:
            os.utime(path.with_name("outbox.db.doubted"), ns=(1, 1))  # another moment, on any file system

    looked: list[Path] = []
    monkeypatch.setattr(verification, "check_pages", check)
    doubt.raise_doubt(outbox.path)
    for _ in range(3):
        await outbox.examine()
    assert len(looked) == 2


async def test_a_file_that_cannot_be_mended_yet_stays_in_doubt(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise StoreBroken(f"{path} cannot be salvaged: free disk space.")

    damage(outbox.path)
    doubt.raise_doubt(outbox.path)
    with monkeypatch.context() as patched:
        patched.setattr(salvage, "salvage", full)
        await outbox.examine()
    assert doubt.since(outbox.path) is not None
    await outbox.examine()
    assert kept(outbox)
    assert doubt.since(outbox.path) is None
