"""A command's numbers become events, series for Prometheus and Graphite, and machine data."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mra.machines.context import Context, Services
from mra.machines.data import MachineData
from mra.machines.events import Origin
from mra.machines.manifest import read_manifest
from mra.machines.watchers import metric
from mra.machines.watchers.base import Outcome
from mra.machines.watchers.metric import MetricWatcher

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mra.outbox.record import Draft

MANIFEST = """\
name: pump
version: 1.0.0
initial_state: RUN
transitions:
  - {name: broken, from: [RUN], destination: REPAIR}
  - {name: fine, from: [REPAIR], destination: RUN}
watchers:
  - name: Flow Rate
    type: metric
    state_match: [RUN]
    success_transition: fine
    fail_transition: broken
    properties:
      command: ./measure
"""
CHORIA = """echo '{"labels": {"line": "b"}, "metrics": {"lpm": 41.5}}'"""


class Pump:
    """The machine around the watcher."""

    def __init__(self, directory: Path, properties: str = "", **services: Any) -> None:
        self.directory = directory
        self.state = "RUN"
        self.fired: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.data = MachineData(directory / "machine_data.json")
        reading = read_manifest(MANIFEST + properties, "machine.yaml", {"metric": MetricWatcher})
        assert reading.manifest is not None, reading.problems
        seams = Services("edge-07", self.record, facts=lambda: {"graphite": "127.0.0.1"})
        context = Context(
            Origin("edge-07", "pump", "1.0.0", "0" * 32),
            directory,
            self.data,
            replace(seams, **services),
            lambda: self.state,
            self.fire,
            lambda _name: None,
        )
        self.watcher = MetricWatcher(reading.manifest.watchers[0], context)

    async def record(self, _row: object, drafts: Sequence[Draft]) -> None:
        self.events += [json.loads(draft.body)["data"] for draft in drafts]

    async def fire(self, transition: str, *, at_once: bool = False) -> None:
        self.fired.append(transition)

    def command(self, text: str) -> None:
        script = self.directory / "measure"
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)

    async def measure(self) -> dict[str, Any] | None:
        """One turn of the watcher; the metrics of its event, if there was one."""
        before = len(self.events)
        await self.watcher.turn()
        return self.events[-1]["metrics"] if len(self.events) > before else None


async def test_a_sample_is_reported_and_fires_nothing(tmp_path: Path) -> None:
    pump = Pump(tmp_path, "      labels: {site: north}\n")
    pump.command(CHORIA)
    sample = await pump.measure()
    assert sample is not None
    assert sample["labels"] == {"format": "choria", "line": "b", "site": "north"}
    assert sample["metrics"].keys() == {"choria_runtime_seconds", "lpm"}
    assert sample["metrics"]["lpm"] == 41.5
    assert pump.fired == []
    assert (pump.events[0]["type"], pump.events[0]["name"]) == ("metric", "Flow Rate")


async def test_perfdata_is_a_sample_too(tmp_path: Path) -> None:
    pump = Pump(tmp_path)
    pump.command('echo "OK|lpm=41.5"')
    sample = await pump.measure()
    assert sample is not None
    assert (sample["labels"], sample["metrics"]["lpm"]) == ({"format": "nagios"}, 41.5)


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("exit 3", "exit code 3"),
        ("kill -9 $$", "signal 9"),
        ("echo started; exec sleep 60", "was killed"),
        (None, "cannot be started"),
    ],
)
async def test_a_command_that_fails_is_told_to_the_operator_only(tmp_path, monkeypatch, command, word: str) -> None:
    monkeypatch.setattr(metric, "COMMAND_SECONDS", 0.3)
    pump = Pump(tmp_path)
    if command:
        pump.command(command)
    assert await pump.measure() is None
    assert pump.fired == []
    assert word in pump.watcher.trouble
    pump.command(CHORIA)
    assert await pump.measure()
    assert pump.watcher.trouble == ""


async def test_output_that_begins_as_json_and_is_none_fires_the_fail_transition(tmp_path: Path) -> None:
    pump = Pump(tmp_path)
    pump.command(CHORIA)
    good = await pump.measure()
    pump.command("echo '{nonsense}'")
    announced = await pump.measure()
    assert good is not None
    assert announced is not None
    assert announced["metrics"]["lpm"] == 41.5, "what is announced is the last good sample"
    assert announced["time"] == good["time"]
    assert pump.fired == ["broken"]
    assert "no JSON document" in pump.watcher.trouble


def test_before_the_first_sample_an_announcement_is_empty(tmp_path: Path) -> None:
    assert Pump(tmp_path).watcher.report() == {
        "metrics": {"labels": {}, "metrics": {"choria_runtime_seconds": 0}, "time": 0}
    }


async def test_samples_are_stored_beside_those_of_other_watchers(tmp_path: Path) -> None:
    pump = Pump(tmp_path, "      store: true\n")
    await pump.data.put("metric", {"Other": {"metrics": {"m": 1}}})
    pump.command(CHORIA)
    await pump.measure()
    stored = json.loads((tmp_path / "machine_data.json").read_text())["metric"]
    assert stored.keys() == {"Other", "Flow Rate"}
    assert stored["Flow Rate"]["metrics"]["lpm"] == 41.5


async def test_a_sample_that_cannot_be_stored_is_not_reported(tmp_path: Path) -> None:
    pump = Pump(tmp_path, "      store: true\n")
    pump.command(CHORIA)
    pump.data.path = tmp_path / "missing" / "machine_data.json"
    assert await pump.measure() is None
    assert "could not be written" in pump.watcher.trouble
    assert pump.fired == []


async def test_the_command_is_expanded_with_facts_and_data(tmp_path: Path) -> None:
    pump = Pump(tmp_path)
    pump.watcher.properties = replace(
        pump.watcher.properties,
        command="""./measure {{ lookup "data.line" "none" }} {{ lookup "facts.graphite" "" }}""",
    )
    pump.command('echo "OK|$1_$2=1"')
    await pump.data.put("line", "b")
    sample = await pump.measure()
    assert sample is not None
    assert "b_127.0.0.1" in sample["metrics"]


async def test_a_template_that_cannot_be_expanded_is_told_to_the_operator_only(tmp_path: Path) -> None:
    pump = Pump(tmp_path)
    pump.watcher.properties = replace(pump.watcher.properties, command="./measure {{ nonsense }}")
    assert await pump.measure() is None
    assert "nonsense" in pump.watcher.trouble


async def test_prometheus_sees_the_sample_until_the_machine_is_removed(tmp_path: Path) -> None:
    shown = tmp_path / "textfiles"
    shown.mkdir()
    pump = Pump(tmp_path, text_file_directory=shown)
    pump.command(CHORIA)
    await pump.measure()
    await pump.watcher._file.write()
    file = shown / "choria_machine_metrics_watcher_status.prom"
    assert 'choria_machine_metric_watcher_flow_rate_lpm{format="choria",line="b"} 41.5\n' in file.read_text()
    await pump.watcher.removed()
    assert file.read_text() == ""


async def test_a_watcher_that_runs_keeps_the_file_up_to_date(tmp_path: Path) -> None:
    shown = tmp_path / "textfiles"
    shown.mkdir()
    pump = Pump(tmp_path, text_file_directory=shown)
    pump.command(CHORIA)
    written = trio.Event()
    write = pump.watcher._file.write

    async def write_and_tell() -> None:
        await write()
        if b"lpm" in (shown / "choria_machine_metrics_watcher_status.prom").read_bytes():
            written.set()

    pump.watcher._file.write = write_and_tell
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.watcher.run)
        await written.wait()
        nursery.cancel_scope.cancel()


async def test_a_watcher_may_keep_away_from_prometheus(tmp_path: Path) -> None:
    pump = Pump(tmp_path, "      skip_prometheus: true\n", text_file_directory=tmp_path)
    pump.command(CHORIA)
    await pump.measure()
    await pump.watcher._file.write()
    assert not (tmp_path / metric.FILE_NAME).exists()


async def test_graphite_gets_the_numbers(tmp_path: Path) -> None:
    received = bytearray()
    ended = trio.Event()

    async def graphite(stream: trio.SocketStream) -> None:
        async for piece in stream:
            received.extend(piece)
        ended.set()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, graphite, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        where = f'      graphite_host: \'{{{{ lookup "facts.graphite" "" }}}}\'\n      graphite_port: {port}\n'
        pump = Pump(tmp_path, where)
        pump.command(CHORIA)
        sample = await pump.measure()
        await ended.wait()
        nursery.cancel_scope.cancel()
    assert sample is not None
    first, second = received.decode().splitlines()
    assert first == f"choria.Flow-Rate.lpm 41.500000 {sample['time']}"
    assert second.startswith("choria.Flow-Rate.runtime 0.")


@pytest.mark.parametrize("port", ["1", "none", "70000", "'{{ nonsense }}'"])
async def test_when_graphite_cannot_be_reached_the_sample_is_not_reported(tmp_path: Path, port: str) -> None:
    pump = Pump(tmp_path, f"      graphite_host: 127.0.0.1\n      graphite_port: {port}\n      store: true\n")
    pump.command(CHORIA)
    assert await pump.measure() is None
    assert pump.watcher.trouble
    assert pump.fired == []
    assert "metric" not in pump.data


async def test_a_graphite_that_does_not_answer_holds_nothing_up_for_long(tmp_path, monkeypatch) -> None:
    async def never(*_: object) -> trio.SocketStream:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(metric, "DIAL_SECONDS", 0.05)
    monkeypatch.setattr(trio, "open_tcp_stream", never)
    pump = Pump(tmp_path, "      graphite_host: 127.0.0.1\n      graphite_port: 2003\n")
    pump.command(CHORIA)
    assert await pump.measure() is None
    assert "did not answer" in pump.watcher.trouble


async def test_a_command_whose_state_is_left_is_killed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(metric, "COMMAND_SECONDS", 60)
    pump = Pump(tmp_path)
    os.mkfifo(tmp_path / "started")
    pump.command("echo $$ > started; sleep 60 & wait")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.watcher.turn)
        async with await trio.open_file(tmp_path / "started") as started:
            pid = int(await started.read())
        pump.state = "REPAIR"
        pump.watcher.state_changed("REPAIR")
    assert pump.events == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("properties", "every"), [("", 1), ("      interval: 30s\n", 30), ("      interval: 10ms\n", 1)]
)
async def test_samples_come_at_the_interval_of_the_properties(
    tmp_path, autojump_clock, monkeypatch, properties, every
) -> None:
    pump = Pump(tmp_path, properties)
    times: list[float] = []
    started = trio.current_time()

    async def note() -> Outcome:
        await trio.lowlevel.checkpoint()
        times.append(trio.current_time() - started)
        return Outcome("success")

    monkeypatch.setattr(pump.watcher, "evaluate", note)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.watcher.run)
        await trio.sleep(every * 4.5)
        assert 0 <= times[0] <= every
        assert [round((at - times[0]) / every, 6) for at in times[:4]] == [0, 1, 2, 3]
        taken = len(times)
        pump.watcher.state_changed("RUN")
        await wait_all_tasks_blocked()
        assert len(times) == taken + 1, "a change of state takes a sample at once"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("output", [b"\xff\xfe|a=\xff1 b=2", b"{\xff", b"\0", b"{" * 100_000, b"x" * 2_000_000])
async def test_no_output_of_a_command_stops_the_watcher(tmp_path: Path, output: bytes) -> None:
    pump = Pump(tmp_path)
    (tmp_path / "output").write_bytes(output)
    pump.command("cat output")
    await pump.measure()
    pump.command(CHORIA)
    assert await pump.measure()
