"""What systemd hears from the agent, through real datagram sockets."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import trio

from mra.systemd import notify, run_watchdog, watchdog_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trio.testing import MockClock


@pytest.fixture(params=["a file", "an abstract name"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A listener such as systemd's, named in the environment."""
    address = str(tmp_path / "notify") if request.param == "a file" else f"@mra-test-{secrets.token_hex(8)}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.bind("\0" + address[1:] if address.startswith("@") else address)
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield listener


def heard(listener: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(listener.recv(100))
        except BlockingIOError:
            return found


def test_a_state_arrives(systemd: socket.socket) -> None:
    assert notify("READY=1")
    assert notify("STOPPING=1")
    assert heard(systemd) == [b"READY=1", b"STOPPING=1"]


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@nobody-listens-here", "x" * 200])
def test_nobody_listening_is_no_error(address: str) -> None:
    assert not notify("READY=1", {"NOTIFY_SOCKET": address})
    assert not notify("READY=1", {})


def test_a_listener_that_reads_nothing_holds_nobody_up(systemd: socket.socket) -> None:
    said = 0
    while notify("WATCHDOG=1"):
        said += 1
        assert said < 10_000
    assert said > 0
    assert len(heard(systemd)) == said


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "9" * 400}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_the_watchdogs_interval_is_read_or_there_is_none(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environment) == seconds


async def test_the_watchdog_hears_three_times_in_its_interval_while_the_agent_lives(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    with trio.move_on_after(59):
        await run_watchdog(trio.lowlevel.checkpoint)
    assert heard(systemd) == [b"WATCHDOG=1"] * 6


async def test_a_wedged_agent_falls_silent(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    started = trio.current_time()

    async def prove_alive() -> None:
        if trio.current_time() - started >= 25:
            await trio.sleep_forever()

    with trio.move_on_after(1000):
        await run_watchdog(prove_alive)
    assert heard(systemd) == [b"WATCHDOG=1"] * 3


async def test_without_a_watchdog_nothing_is_said(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    with trio.move_on_after(1000):
        await run_watchdog(trio.lowlevel.checkpoint)
    assert heard(systemd) == []
