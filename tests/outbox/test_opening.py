"""What is opened is ours, private and current; anything else is refused without a changed byte."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import trio

from mra.clock import now
from mra.errors import BadInput, MraError, StoreBroken
from mra.outbox import inspection, schema, sqlite, verification
from mra.outbox.opening import prepare
from mra.outbox.record import Draft, Lane
from mra.outbox.store import Request, accept
from tests.harness import disks
from tests.harness.disks import open_memory_disk
from tests.outbox.desk import SETTINGS, Desk

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ODD_NAMES = ["a b", "what?mode=rw", "half#way", "100%25", "it's", 'quo"te', "semi;colon", "ümlaut", "*"]


def files(directory: Path) -> Mapping[str, bytes]:
    """Everything in a directory but SQLite's shared memory."""
    return {file.name: file.read_bytes() for file in directory.iterdir() if not file.name.endswith("-shm")}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def run_python(code: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Another process; it raises here what it raised there as its exit code."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


# -- a new one -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_directory_database_log_and_shared_memory_belong_to_the_agent_alone(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with Desk.open(path) as desk:
            desk.accept(Lane.EVENTS, b"secret")
            assert mode(path.parent) == 0o700
            assert {file.name: mode(file) for file in path.parent.iterdir()} == {
                "outbox.db": 0o600, "outbox.db-wal": 0o600, "outbox.db-shm": 0o600,
            }  # fmt: skip
    finally:
        os.umask(before)


def test_durability_settings_are_set_and_hold(path: Path) -> None:
    with closing(prepare(path, SETTINGS)) as connection:
        pragmas = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "auto_vacuum", "application_id", "user_version", "page_size")
        }
    assert pragmas == {
        "journal_mode": "wal", "synchronous": 2, "auto_vacuum": 2, "application_id": 0x6D726131,
        "user_version": schema.newest(), "page_size": 4096,
    }  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_path_will_do_for_writing_and_looking(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "outbox.db"
    with Desk.open(path) as desk:
        desk.accept(Lane.EVENTS, b"row")
        with closing(sqlite.connect_readonly(path)) as looking:
            assert inspection.lane_reports(looking, now())[1]["waiting"] == 1
    assert [child.name for child in tmp_path.iterdir()] == [name]


def test_an_outbox_that_is_up_to_date_is_opened_without_a_write(path: Path) -> None:
    with Desk.open(path) as desk:
        desk.accept(Lane.EVENTS, b"row")
    before = files(path.parent)
    prepare(path, SETTINGS).close()
    assert files(path.parent) == before


START = """
import sys, pathlib
from mra.clock import now
from mra.outbox.opening import prepare
from mra.outbox.policy import OutboxSettings
from mra.outbox.record import Draft, Lane
from mra.outbox.store import Request, accept
path, settings = pathlib.Path(sys.argv[1]), OutboxSettings(min_free=0, ballast=0)
connection = prepare(path, settings)
for number in range(int(sys.argv[2])):
    [outcome] = accept(connection, path, [Request([Draft(Lane.EVENTS, "a.b", sys.argv[3].encode())])], settings, now())
    assert isinstance(outcome, list), outcome
connection.close()
"""


def test_processes_that_start_together_on_nothing_share_one_outbox(path: Path) -> None:
    children = [
        subprocess.Popen([sys.executable, "-c", START, str(path), "20", str(child)], stderr=subprocess.PIPE)
        for child in range(6)
    ]
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert (child.returncode, errors) == (0, b"")
    with Desk.open(path) as desk:
        assert desk.kept(Lane.EVENTS) == list(range(1, 121))
        assert desk.problems() == []


# -- what is not ours ------------------------------------------------------------------------------------------------


def foreign(path: Path, *, leave_log: bool) -> None:
    """Another program's database; `leave_log` as its crash leaves it."""
    path.parent.mkdir()
    code = (
        "import sys, os, pysqlite3 as s\n"
        "c = s.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA journal_mode = wal')\n"
        "c.execute('CREATE TABLE theirs (a)')\n"
        "c.execute('INSERT INTO theirs VALUES (1)')\n"
        "os._exit(0) if sys.argv[2] == 'True' else c.close()\n"
    )
    assert run_python(code, path, leave_log).returncode == 0
    assert path.with_name(path.name + "-wal").exists() == leave_log


@pytest.mark.parametrize("leave_log", [False, True])
def test_another_programs_database_is_refused_unchanged(path: Path, leave_log: bool) -> None:
    foreign(path, leave_log=leave_log)
    before = files(path.parent)
    with pytest.raises(BadInput, match="is not an outbox of mra"):
        prepare(path, SETTINGS)
    assert files(path.parent) == before
    with pytest.raises(BadInput, match="is not an outbox of mra"):
        sqlite.connect_readonly(path)
    assert files(path.parent)[path.name] == before[path.name]


@pytest.mark.parametrize("leave_log", [False, True])
def test_a_newer_database_is_refused_unchanged(path: Path, leave_log: bool) -> None:
    newer = (
        "import sys, os, pathlib\n"
        "from mra.outbox.opening import prepare\n"
        "from mra.outbox.policy import OutboxSettings\n"
        "c = prepare(pathlib.Path(sys.argv[1]), OutboxSettings(min_free=0, ballast=0))\n"
        "c.execute('PRAGMA user_version = 99')\n"
        "os._exit(0) if sys.argv[2] == 'True' else c.close()\n"
    )
    assert run_python(newer, path, leave_log).returncode == 0
    before = files(path.parent)
    with pytest.raises(StoreBroken, match=r"schema 99.*install a newer mra"):
        prepare(path, SETTINGS)
    assert files(path.parent) == before


def test_a_text_is_called_damaged_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("Dear diary\n" * 1000)
    before = files(path.parent)
    with pytest.raises(sqlite.Damaged):
        prepare(path, SETTINGS)
    with pytest.raises(sqlite.Damaged):
        sqlite.connect_readonly(path)
    assert files(path.parent) == before


# -- paths that cannot be --------------------------------------------------------------------------------------------


def one_sentence(error: MraError) -> bool:
    text = error.sentence
    return text.endswith(".") and "\n" not in text and "Errno" not in text


@pytest.mark.parametrize("place", ["file/outbox.db", "file/deep/outbox.db", "x" * 300 + "/outbox.db", "dir"])
def test_a_state_directory_that_cannot_be_is_named_in_one_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("not a directory")
    (tmp_path / "dir").mkdir()
    with pytest.raises(BadInput) as caught:
        prepare(tmp_path / place, SETTINGS)
    assert one_sentence(caught.value)
    assert str(tmp_path) in caught.value.sentence


def test_looking_at_nothing_says_so_and_creates_nothing(path: Path) -> None:
    with pytest.raises(BadInput, match="There is no outbox"):
        sqlite.connect_readonly(path)
    assert not path.parent.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_told_so_in_one_sentence(path: Path) -> None:
    with Desk.open(path):
        code = (
            "import sys, pathlib, os\n"
            "from mra.errors import MraError\n"
            "from mra.outbox import sqlite\n"
            "from mra.outbox.opening import prepare\n"
            "from mra.outbox.policy import OutboxSettings\n"
            "os.setuid(65534)\n"
            "path = pathlib.Path(sys.argv[1])\n"
            "for attempt in (sqlite.connect_readonly, lambda path: prepare(path, OutboxSettings())):\n"
            "    try:\n"
            "        attempt(path)\n"
            "    except MraError as error:\n"
            "        print(type(error).__name__, error)\n"
        )
        for above in list(path.parents)[1:3]:
            above.chmod(0o755)
        done = run_python(code, path)
    assert done.stderr == ""
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["BadInput", "BadInput"]
    assert "run this as the agent's user" in done.stdout


@pytest.mark.skipif(disks.missing() is not None, reason=str(disks.missing()))
@pytest.mark.parametrize("crashed", [False, True])
async def test_on_a_read_only_file_system_people_can_still_look(tmp_path: Path, crashed: bool) -> None:
    async with open_memory_disk(tmp_path / "disk", 8) as disk:
        path = disk.path / "state" / "outbox.db"
        done = run_python(
            START.replace("connection.close()", "import os; os._exit(0)" if crashed else ""), path, 3, "x"
        )
        assert done.returncode == 0
        await trio.run_process(["mount", "-o", "remount,ro", disk.path])
        with closing(sqlite.connect_readonly(path)) as looking:
            assert inspection.lane_reports(looking, now())[1]["waiting"] == 3
        with pytest.raises(MraError) as caught:
            prepare(path, SETTINGS)
        assert one_sentence(caught.value)
        with pytest.raises(BadInput) as refused:
            prepare(disk.path / "new" / "outbox.db", SETTINGS)
        assert one_sentence(refused.value)


# -- several processes -----------------------------------------------------------------------------------------------


def test_a_newcomer_writes_beside_a_busy_writer_and_both_keep_their_order(path: Path) -> None:
    with Desk.open(path) as desk:
        newcomer = subprocess.Popen([sys.executable, "-c", START, str(path), "200", "new"], stderr=subprocess.PIPE)
        mine = []
        while newcomer.poll() is None:
            mine += [receipt.seq for receipt in desk.accept(Lane.EVENTS, b"old")]
        assert (newcomer.returncode, newcomer.communicate()[1]) == (0, b"")
        bodies = desk.waiting(Lane.EVENTS)
        assert bodies.count(b"new") == 200
        assert bodies.count(b"old") == len(mine)
        assert mine == sorted(mine)
        assert desk.kept(Lane.EVENTS) == list(range(1, len(mine) + 201))


def test_a_process_that_opens_while_a_crashed_one_left_its_log_finds_every_commit(path: Path) -> None:
    crash = START.replace("connection.close()", "import os; os._exit(9)")
    assert run_python(crash, path, 7, "x").returncode == 9
    with Desk.open(path) as desk:
        assert len(desk.waiting(Lane.EVENTS)) == 7


def test_a_limit_below_what_is_there_refuses_new_rows_and_harms_nothing(path: Path) -> None:
    """An operator lowers outbox.max_bytes."""
    with Desk.open(path) as desk:
        for _ in range(10):
            desk.accept(Lane.SUBMISSIONS, *(bytes(4000) for _ in range(100)))
    from dataclasses import replace

    small = replace(SETTINGS, max_bytes=1 << 20)
    with closing(prepare(path, small)) as connection:
        [outcome] = accept(connection, path, [Request([Draft(Lane.SUBMISSIONS, "a.b", b"x")])], small, now())
        assert isinstance(outcome, MraError)
        assert verification.verify(connection) == []
