"""A SaaS that can be killed, suspended, wiped and restored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.harness.saas import EVENTS, STREAMS, Login, NotReady, Saas
from tests.harness.wire import ApiError, NoResponders, Stored, WireError

SUBJECT = "machine_room.events.acme.metric.cpu"


async def put(saas: Saas, *bodies: bytes) -> None:
    async with saas.connect() as wire:
        for body in bodies:
            await wire.store(SUBJECT, body)


async def bodies(saas: Saas) -> list[bytes]:
    async with saas.connect() as wire:
        return [stored.body for stored in await wire.read_stream(EVENTS)]


async def test_acknowledged_messages_survive_a_kill(saas: Saas) -> None:
    await put(saas, b"one", b"two")
    first = saas.pid
    await saas.kill()
    with pytest.raises(OSError, match="failed"):
        async with saas.connect():
            pass
    await saas.start()
    assert saas.pid != first
    assert await bodies(saas) == [b"one", b"two"]


async def test_wiped_store_comes_back_empty(saas: Saas) -> None:
    await put(saas, b"one")
    await saas.stop()
    saas.wipe()
    await saas.start()
    await saas.create_streams()
    assert await bodies(saas) == []


async def test_restored_backup_lacks_what_came_later(saas: Saas, tmp_path: Path) -> None:
    await put(saas, b"one")
    await saas.stop()
    saas.backup(tmp_path / "backup")
    await saas.start()
    await put(saas, b"two")
    await saas.stop()
    saas.restore(tmp_path / "backup")
    await saas.start()
    assert await bodies(saas) == [b"one"]


async def test_store_of_a_running_server_is_not_touched(saas: Saas) -> None:
    with pytest.raises(AssertionError, match="stop the server first"):
        saas.wipe()


async def test_suspended_server_takes_messages_once_resumed(saas: Saas) -> None:
    async with saas.connect() as wire:
        await saas.suspend()
        state = (await trio.Path(f"/proc/{saas.pid}/stat").read_text()).split(") ")[1]
        assert state.startswith("T")
        await wire.publish(SUBJECT, b"into silence")
        with trio.move_on_after(0.05) as patience:
            await wire.flush()
        assert patience.cancelled_caught
    saas.resume()
    async with saas.connect() as wire:
        await wire.flush()
    assert await bodies(saas) == [b"into silence"]


async def test_suspended_server_can_be_killed(saas: Saas) -> None:
    await saas.suspend()
    await saas.kill()
    assert not saas.running


async def test_full_stream_refuses(saas: Saas) -> None:
    await saas.change_stream(EVENTS, max_bytes=2_000)
    with pytest.raises(ApiError) as refused:
        await put(saas, *[b"x" * 500] * 4)
    assert refused.value.code == 10077
    assert len(await bodies(saas)) == 3


async def test_missing_stream_answers_nothing(saas: Saas) -> None:
    await saas.delete_stream(EVENTS)
    with pytest.raises(NoResponders):
        await put(saas, b"one")


async def test_hole_in_the_middle(saas: Saas) -> None:
    await put(saas, b"one", b"two", b"three")
    await saas.delete_message(EVENTS, 2)
    assert await bodies(saas) == [b"one", b"three"]


async def test_sites_write_under_their_own_customer_only(saas: Saas) -> None:
    async with saas.connect(saas.site) as site:
        await site.store("machine_room.events.metric.cpu", b"one", {"Mra-Id": "1"})
        with pytest.raises(WireError, match=r"(?i)permissions violation"):
            await site.ask("$JS.API.STREAM.NAMES")
    async with saas.connect() as wire:
        assert await wire.read_stream(EVENTS) == [Stored(1, SUBJECT, {"Mra-Id": "1"}, b"one")]
        for other in STREAMS[1:]:
            assert await wire.read_stream(other) == []


async def test_wrong_password_is_refused(saas: Saas) -> None:
    with pytest.raises(WireError, match=r"(?i)authorization"):
        async with saas.connect(Login("acme", "wrong")):
            pass


async def test_server_that_cannot_start_shows_its_log(saas: Saas, tmp_path: Path) -> None:
    await saas.stop()
    saas.wipe()
    saas.store.write_text("a file in the way")
    with pytest.raises(NotReady, match="store"):
        await saas.start()


ORPHAN = """
import sys, time
from pathlib import Path
from tests.harness.processes import Child
child = Child(["sleep", "600"], Path(sys.argv[1]))
while Path(f"/proc/{child.pid}/comm").read_text() != "sleep\\n":  # until then it has not said that it wants to die
    time.sleep(0.01)
print(child.pid, flush=True)
time.sleep(600)
"""


async def test_children_die_with_the_tests_that_started_them(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ORPHAN, str(tmp_path / "log")]
    tests = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert tests.stdout is not None
    child = os.pidfd_open(int(await tests.stdout.receive_some()))
    tests.send_signal(signal.SIGKILL)
    await tests.wait()
    await tests.stdout.aclose()
    with trio.fail_after(10):
        await trio.lowlevel.wait_readable(child)
    os.close(child)
