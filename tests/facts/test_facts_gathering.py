"""The host is asked in threads; what it will not tell is absent, with a reason, and costs nothing else."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import psutil
import pytest
import trio

from mra.facts import sources
from mra.facts.gather import SOURCES, Gatherer
from mra.facts.procfs import processors, swap_devices
from mra.facts.settings import GROUPS


async def test_this_host_has_all_groups() -> None:
    facts, problems = await Gatherer(30.0).gather()
    assert set(facts) == {"host", "network", "partition", "cpu", "memory"}
    assert facts["host"]["info"]["hostname"]
    assert facts["memory"]["virtual"]["total"] > 0
    assert set(facts["memory"]) == {"virtual", "swap"}
    assert "lo" in [interface["name"] for interface in facts["network"]["interfaces"]]
    assert set(problems) <= {"host.info.hostId", "host.info.platform", "host.load", "cpu", "memory.swap.devices"}


async def test_a_group_that_is_skipped_is_not_asked() -> None:
    asked = []

    def source(name: str):
        def answer(_: dict[str, str]) -> dict[str, object]:
            asked.append(name)
            return {name: 1}

        return answer

    gatherer = Gatherer(30.0, {name: source(name) for name in GROUPS})
    facts, _ = await gatherer.gather(frozenset({"cpu", "memory"}))
    assert sorted(asked) == ["host", "network", "partition"]  # memory takes swap with it
    assert set(facts) == set(asked)


def test_every_group_has_a_source() -> None:
    assert tuple(SOURCES) == GROUPS


async def test_a_source_that_fails_costs_its_own_group_only() -> None:
    def broken(_: dict[str, str]) -> dict[str, object]:
        raise PermissionError(13, "not for you")

    facts, problems = await Gatherer(30.0, {"host": broken, "cpu": lambda _: {"info": []}}).gather()
    assert facts == {"cpu": {"info": []}}
    assert problems == {"host": "PermissionError: [Errno 13] not for you"}


async def test_a_source_that_hangs_costs_one_thread_however_often_it_is_asked(mock_clock) -> None:
    asked, release = threading.Semaphore(0), threading.Event()

    def dead_disk(_: dict[str, str]) -> dict[str, object]:
        asked.release()
        release.wait(60)
        return {"partitions": []}

    gatherer = Gatherer(10.0, {"partition": dead_disk})
    answers = []

    async def gather() -> None:
        answers.append(await gatherer.gather())

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gather)
            await trio.to_thread.run_sync(asked.acquire)
            mock_clock.jump(11)
        assert answers.pop() == ({}, {"partition": "the host gave no answer within 10 s"})
        await gather()
        assert answers.pop() == ({}, {"partition": "still waiting for the host's answer to an earlier question"})
        assert not asked.acquire(blocking=False), "the dead disk was asked twice"
    finally:
        release.set()


async def test_a_mount_that_cannot_be_read_leaves_the_others(monkeypatch) -> None:
    parts = [
        SimpleNamespace(device="/dev/a", mountpoint=point, fstype="ext4", opts="rw") for point in ("/", "/gone\udcff")
    ]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: parts)
    problems: dict[str, str] = {}
    found = sources.partition(problems)
    assert [entry["path"] for entry in found["usage"]] == ["/"]
    assert len(found["partitions"]) == 2
    assert [why.split(":")[0] for why in problems.values()] == ["FileNotFoundError"]


@pytest.mark.parametrize("part", ["getloadavg", "boot_time", "pids"])
async def test_a_part_of_the_host_that_cannot_be_read_leaves_the_others(monkeypatch, part: str) -> None:
    def refuse() -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, part, refuse)
    problems: dict[str, str] = {}
    assert sources.host(problems)["info"]["hostname"]
    assert any("AccessDenied" in why for why in problems.values())


def test_processors_of_x86_are_told_once_each_with_flags_in_the_first() -> None:
    block = (
        "processor\t: {n}\nvendor_id\t: V\nmodel name\t: M @ 2: GHz\ncpu MHz\t\t: 2600.5\n"
        "cache size\t: 512 KB\ncpu cores\t: 2\nflags\t\t: fpu sse\n\n"
    )
    first, second = processors(block.format(n=0) + block.format(n=1))
    assert first == {
        "cpu": 0, "vendorId": "V", "modelName": "M @ 2: GHz", "mhz": 2600.5, "cacheSize": 512, "cores": 2,
        "flags": ["fpu", "sse"],
    }  # fmt: skip
    assert second["cpu"] == 1
    assert "flags" not in second


@pytest.mark.parametrize(
    "text", ["", "nonsense", "processor: x\n\n", "Hardware\t: Board\nRevision\t: 1\n", "\n\n\n:\n"]
)
def test_a_strange_cpuinfo_names_no_processor(text: str) -> None:
    assert processors(text) == []


def test_swap_devices_are_in_bytes() -> None:
    text = "Filename Type Size Used Priority\n/dev/sda2 partition 1024 512 -2\n/my\\040swap file 8 0 -3\nbroken\n"
    assert swap_devices(text) == [
        {"name": "/dev/sda2", "usedBytes": 524288, "freeBytes": 524288},
        {"name": "/my\\040swap", "usedBytes": 0, "freeBytes": 8192},
    ]


def test_the_default_address_is_looked_up_without_a_route(monkeypatch) -> None:
    class NoRoute:
        def __init__(self, *_: object) -> None:
            raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(sources.socket, "socket", NoRoute)
    problems: dict[str, str] = {}
    found = sources.network(problems)
    assert "default_ipv4" not in found
    assert problems == {}
