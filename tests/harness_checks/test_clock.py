"""The wall clock of a running process, stepped by decades while its timers run on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from tests.harness import clock
from tests.harness.clock import YEAR, WallClock, make_wall_clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(clock.missing() is not None, reason=str(clock.missing()))

# Tells what it believes whenever it is asked.
CLOCKS = """
import datetime, json, sqlite3, sys, time
database = sqlite3.connect(":memory:")
for _ in sys.stdin:
    sqlite = database.execute("SELECT CAST(strftime('%s', 'now') AS INTEGER)").fetchone()[0]
    print(json.dumps({
        "time": time.time(),
        "datetime": datetime.datetime.now().timestamp(),
        "gmtime": time.mktime(time.localtime()),
        "sqlite": sqlite,
        "monotonic": time.monotonic(),
        "boottime": time.clock_gettime(time.CLOCK_BOOTTIME),
    }), flush=True)
"""
WALL = ("time", "datetime", "gmtime", "sqlite")
STEADY = ("monotonic", "boottime")


class Witness:
    """A process that says what time it is."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process

    async def ask(self) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        await self._process.stdin.send_all(b"\n")
        line = b""
        while not line.endswith(b"\n"):  # a pipe gives what is there, which may be half an answer
            line += await self._process.stdout.receive_some()
        answer: dict[str, float] = json.loads(line)
        return answer


@asynccontextmanager
async def witness(wall_clock: WallClock) -> AsyncIterator[Witness]:
    async with trio.open_nursery() as nursery:
        start = partial(
            trio.run_process,
            [sys.executable, "-c", CLOCKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **wall_clock.environment},
        )
        process: trio.Process = await nursery.start(start)
        yield Witness(process)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def wall_clock(tmp_path: Path) -> WallClock:
    return await make_wall_clock(tmp_path)


def true_time(name: str) -> float:
    return {"monotonic": time.monotonic(), "boottime": time.clock_gettime(time.CLOCK_BOOTTIME)}.get(name, time.time())


def assert_shifted(told: dict[str, float], by: float) -> None:
    for name in WALL:
        assert told[name] == pytest.approx(true_time(name) + by, abs=10), name
    for name in STEADY:
        assert told[name] == pytest.approx(true_time(name), abs=10), name


@pytest.mark.parametrize("years", [50, -50])
async def test_running_process_sees_a_step_of_fifty_years(wall_clock: WallClock, years: int) -> None:
    async with witness(wall_clock) as process:
        assert_shifted(await process.ask(), 0)
        wall_clock.set(years * YEAR)
        assert_shifted(await process.ask(), years * YEAR)
        wall_clock.set(0)
        assert_shifted(await process.ask(), 0)


async def test_steps_of_parts_of_a_second_carry_over(wall_clock: WallClock) -> None:
    async with witness(wall_clock) as process:
        for shift in (0.75, -0.75, 1e-9):
            wall_clock.set(shift)
            before = time.time()
            told = (await process.ask())["time"]
            assert before + shift - 1e-3 <= told <= time.time() + shift + 1e-3


async def test_process_that_cannot_be_shifted_ends_at_once(wall_clock: WallClock, tmp_path: Path) -> None:
    environment = wall_clock.environment | {"SHIFT_CLOCK_FILE": str(tmp_path / "missing")}
    done = await trio.run_process(
        [sys.executable, "-c", "print('ran on')"],
        env={**os.environ, **environment},
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (97, b"")
    assert b"SHIFT_CLOCK_FILE" in done.stderr
