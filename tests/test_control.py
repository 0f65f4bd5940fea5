"""The control socket: whoever speaks, and however badly, the daemon goes on answering everyone else."""

from __future__ import annotations

import json
import os
import socket
import stat
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mra import control
from mra.control import NoDaemon, ask_daemon, poke_daemon, run_control
from mra.errors import BadInput, Fenced, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path


async def status() -> object:
    return {"running": True}


async def broken() -> object:
    raise ZeroDivisionError


async def refusing() -> object:
    raise Fenced("Not for you.")


async def silent() -> object:
    await trio.sleep_forever()
    return None


async def unspeakable() -> object:
    return {1, 2}


async def echo(**given: str) -> object:
    return given


ANSWERS = {
    "status": status, "broken": broken, "refusing": refusing, "silent": silent, "unspeakable": unspeakable,
    "echo": echo, "wake": status,
}  # fmt: skip


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(run_control, path, ANSWERS))
        yield
        nursery.cancel_scope.cancel()


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Path]:
    async with serving(tmp_path / "mra.sock"):
        yield tmp_path / "mra.sock"


async def ask(path: Path, what: str, given: Mapping[str, str] | None = None, patience: float = 5.0) -> Any:
    return await trio.to_thread.run_sync(partial(ask_daemon, path, what, given, patience=patience))


async def say(path: Path, line: bytes) -> bytes:
    """What comes back for raw bytes; empty when the daemon hangs up."""
    stream = await trio.open_unix_socket(str(path))
    async with stream:
        try:
            await stream.send_all(line)
            await stream.send_eof()
            return b"".join([piece async for piece in stream])
        except trio.BrokenResourceError:
            return b""


async def test_a_question_gets_its_answer(daemon: Path) -> None:
    assert await ask(daemon, "status") == {"running": True}
    assert await ask(daemon, "echo", {"name": "pump"}) == {"name": "pump"}


async def test_the_socket_is_the_agents_alone(daemon: Path) -> None:
    assert stat.S_IMODE((await trio.Path(daemon).stat()).st_mode) == 0o600


async def test_an_answer_that_fails_is_a_sentence_and_disturbs_nobody(daemon: Path) -> None:
    with pytest.raises(Unavailable, match="ZeroDivisionError"):
        await ask(daemon, "broken")
    with pytest.raises(Unavailable, match="The daemon answered"):
        await ask(daemon, "unspeakable")
    with pytest.raises(Unavailable, match="ask one of broken, echo"):
        await ask(daemon, "nothing")
    with pytest.raises(Unavailable):
        await ask(daemon, "status", {"surplus": "x"})
    with pytest.raises(BadInput, match="Not for you"):
        await ask(daemon, "refusing")
    assert await ask(daemon, "status") == {"running": True}


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"{}\n", b"null\n", b"[]\n", b'"ask"\n', b"{\n", b'{"ask": []}\n', b'{"ask": {}}\n', b'{"ask": null}\n',
        b'{"ask": "echo", "with": 5}\n', b'{"ask": "echo", "with": {"1": 2}}\n', b"\xff\xfe\n", b"\0\n",
        b"[" * 60_000 + b"\n", b'{"a":' * 10_000 + b"\n", b"9" * 60_000 + b"\n", b"x" * 100_000,
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)  # fmt: skip
async def test_nonsense_is_answered_or_hung_up_on_and_disturbs_nobody(daemon: Path, line: bytes) -> None:
    reply = await say(daemon, line)
    assert not reply or set(json.loads(reply)) & {"error", "answer"}
    assert await ask(daemon, "status") == {"running": True}


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(line=st.binary(max_size=200))
def test_no_bytes_end_the_service(tmp_path: Path, line: bytes) -> None:
    async def story() -> None:
        path = tmp_path / "mra.sock"
        async with serving(path):
            await say(path, line.replace(b"\n", b" ") + b"\n")
            assert await say(path, b'{"ask": "status"}\n') == b'{"answer": {"running": true}}\n'

    trio.run(story)


async def test_clients_that_say_nothing_or_listen_to_nothing_keep_nobody_waiting(daemon: Path) -> None:
    streams = [await trio.open_unix_socket(str(daemon)) for _ in range(20)]
    await streams[0].send_all(b'{"ask": "silent"}\n')
    await streams[1].send_all(b'{"ask": ')
    assert await ask(daemon, "status") == {"running": True}
    for stream in streams:
        await stream.aclose()


async def test_a_client_that_goes_away_while_it_is_answered_disturbs_nobody(daemon: Path) -> None:
    stream = await trio.open_unix_socket(str(daemon))
    await stream.send_all(b'{"ask": "echo", "with": {"text": "' + b"x" * 60_000 + b'"}}\n')
    await stream.aclose()
    assert await ask(daemon, "status") == {"running": True}


async def test_a_client_that_never_finishes_is_hung_up_on(
    daemon: Path, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    stream = await trio.open_unix_socket(str(daemon))
    await stream.send_all(b'{"ask": ')
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(control._PATIENCE + 1)
    assert await stream.receive_some() == b""
    await stream.aclose()


async def test_the_socket_goes_with_the_service_and_one_left_by_a_crash_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "mra.sock"
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    async with serving(path):
        assert await ask(path, "status") == {"running": True}
    assert not path.exists()


async def test_nobody_answering_is_told_apart_from_a_daemon_that_cannot_say(tmp_path: Path, daemon: Path) -> None:
    with pytest.raises(NoDaemon, match="start it with"):
        await ask(tmp_path / "nothing.sock", "status")
    with pytest.raises(NoDaemon):
        await ask(daemon, "silent", patience=0.05)
    with pytest.raises(NoDaemon):
        await ask(tmp_path / ("x" * 200), "status")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "stale.sock"))
    with pytest.raises(NoDaemon):
        await ask(tmp_path / "stale.sock", "status")


def test_a_poke_never_raises(tmp_path: Path) -> None:
    assert not poke_daemon(tmp_path / "nothing.sock")
    assert not poke_daemon(tmp_path / ("x" * 200))


@pytest.mark.parametrize("place", ["x" * 120, "directory", "file/mra.sock", "nowhere/mra.sock"])
async def test_a_place_where_no_socket_can_be_is_named_in_one_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("")
    before = os.umask(0o022)
    os.umask(before)
    with pytest.raises(BadInput, match=r"agent\.state") as caught:
        await run_control(tmp_path / place, ANSWERS)
    assert "Errno" not in caught.value.sentence
    assert os.umask(before) == before
