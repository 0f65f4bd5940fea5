"""One daemon per state directory, and a lock that does not outlive its holder."""

from __future__ import annotations

import os
import signal
import stat
from typing import TYPE_CHECKING

import pytest

from mra.errors import BadInput, Busy
from mra.lock import daemon_lock, holder_of

if TYPE_CHECKING:
    from pathlib import Path


def test_a_second_daemon_is_refused_and_told_who_runs(tmp_path: Path) -> None:
    path = tmp_path / "daemon.lock"
    with daemon_lock(path), pytest.raises(Busy, match=rf"process {os.getpid()}\) runs on"), daemon_lock(path):
        pass


def test_the_lock_is_free_again_after_the_block(tmp_path: Path) -> None:
    for _ in range(2):
        with daemon_lock(tmp_path / "daemon.lock"):
            assert holder_of(tmp_path / "daemon.lock") == os.getpid()
        assert holder_of(tmp_path / "daemon.lock") is None


def test_looking_does_not_disturb_a_daemon_that_starts(tmp_path: Path) -> None:
    for _ in range(50):
        assert holder_of(tmp_path / "daemon.lock") is None
        with daemon_lock(tmp_path / "daemon.lock"):
            pass


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "daemon.lock"
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with daemon_lock(path):
            os.write(tell, b"!")
            signal.pause()
        os._exit(0)
    os.read(ready, 1)
    assert holder_of(path) == child
    with pytest.raises(Busy, match=str(child)), daemon_lock(path):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert holder_of(path) is None
    with daemon_lock(path):
        pass
    os.close(ready)
    os.close(tell)


def test_the_lock_and_its_directory_are_the_agents_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "daemon.lock"
    with daemon_lock(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\xff\xfe", b"9" * 100])
def test_a_lock_file_with_any_content_will_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "daemon.lock"
    path.write_bytes(content)
    with daemon_lock(path):
        assert path.read_bytes() == b"%d\n" % os.getpid()


@pytest.mark.parametrize("place", ["file/daemon.lock", "directory", "x" * 300 + "/daemon.lock"])
def test_a_place_where_no_lock_can_be_is_named_in_one_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "directory").mkdir()
    with pytest.raises(BadInput, match=r"agent\.state") as caught, daemon_lock(tmp_path / place):
        pass
    assert "Errno" not in caught.value.sentence
    assert holder_of(tmp_path / place) is None
