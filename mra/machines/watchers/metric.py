"""Runs a command at intervals and reports the numbers that it prints (section 3.10 of the reference).

A command that fails, is missing or takes longer than a second produces nothing but a line in the log; only output that
begins as JSON and is none counts as a failure. `success_transition` is never fired. Where Choria lets two storing
watchers of one machine overwrite each other's sample, each keeps its own here.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from mra.errors import BadInput, MraError, Unavailable
from mra.machines import words
from mra.machines.decode import Properties, duration, flag, text, text_map
from mra.machines.manifest import IntervalRule
from mra.machines.samples import EMPTY, RUNTIME, Metrics, read_metrics
from mra.machines.textfile import Textfile
from mra.machines.watchers.base import Outcome
from mra.machines.watchers.command import run_command
from mra.machines.watchers.polling import PollingWatcher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mra.machines.context import Context
    from mra.machines.definition import WatcherDef
    from mra.machines.durations import Duration
    from mra.machines.process import Finished

FILE_NAME: Final = "choria_machine_metrics_watcher_status.prom"
DATA_KEY: Final = "metric"
COMMAND_SECONDS: Final = 1.0
DIAL_SECONDS: Final = 2.0
SHORTEST_INTERVAL: Final = 1.0
_STALE_AFTER: Final = 5  # intervals without a new sample


class MetricProperties(Properties):
    """`interval` is a property here; the common key of that name is not read."""

    command: str = text(required=True)
    interval: Duration = duration("1s")
    labels: Mapping[str, str] = text_map()
    skip_prometheus: bool = flag()
    store: bool = flag()
    http: bool = flag()  # read and ignored, as in Choria
    graphite_host: str = text()
    graphite_port: str = text()
    graphite_prefix: str = text()


class MetricWatcher(PollingWatcher[MetricProperties]):
    """Keeps the last sample, across changes of state."""

    kind: ClassVar[str] = "metric"
    schema: ClassVar[type[Properties]] = MetricProperties
    interval_rule: ClassVar[IntervalRule] = IntervalRule(used=False)

    def __init__(self, definition: WatcherDef, context: Context) -> None:
        super().__init__(definition, context)
        directory = None if self.properties.skip_prometheus else context.services.text_file_directory
        self._file = Textfile.shared(directory, FILE_NAME)
        self._owner = (context.origin.machine, definition.name)
        self._sample = EMPTY

    def interval(self) -> float:
        return max(SHORTEST_INTERVAL, self.properties.interval.seconds)

    def first_wait(self) -> float:
        return self.context.services.dice.uniform(0, self.interval())

    async def run(self) -> None:
        await self._file.kept_during(super().run)

    async def evaluate(self) -> Outcome:
        """Take one sample; what cannot be sampled is told to the operator and to nobody else."""
        try:
            finished = await self._command()
        except MraError as refusal:
            return Outcome("error", reason=refusal.sentence)
        output, runtime = finished.output.decode(errors="replace"), finished.seconds
        try:
            sample = read_metrics(output, self.properties.labels, int(time.time()), runtime)
        except BadInput as refusal:
            return self.failure(refusal.sentence, run_seconds=runtime)
        try:
            await self._deliver(sample, runtime)
        except (MraError, OSError) as fault:
            return Outcome("error", reason=str(fault), run_seconds=runtime)
        self._sample = sample
        return Outcome("success", announce=True, run_seconds=runtime)

    def report(self) -> Mapping[str, Any]:
        """The last sample, with the run time of the last command."""
        values = {**self._sample.values, RUNTIME: self.run_seconds}
        return {"metrics": replace(self._sample, values=values).as_json()}

    async def removed(self) -> None:
        self._file.drop(self._owner)
        await self._file.write()

    async def _command(self) -> Finished:
        """Raises MraError when there is no output to read."""
        command = words.split(self.context.expand(self.properties.command))
        finished = await run_command(self.context, self.definition.name, command, COMMAND_SECONDS)
        if finished.trouble:
            raise Unavailable(f"The command of {self.definition.name} gave no sample: {finished.trouble}.")
        return finished

    async def _deliver(self, sample: Metrics, runtime: float) -> None:
        """To Prometheus, Graphite and machine data, as far as each is wanted. Raises MraError or OSError."""
        lifetime = _STALE_AFTER * self.interval()
        self._file.put(self._owner, sample.families(self.definition.name), lifetime=lifetime)
        await self._send_to_graphite(sample, runtime)
        if self.properties.store:
            stored = self.context.data.get(DATA_KEY)
            others = stored if isinstance(stored, dict) else {}
            await self.context.data.put(DATA_KEY, {**others, self.definition.name: sample.as_json()})

    async def _send_to_graphite(self, sample: Metrics, runtime: float) -> None:
        if not (self.properties.graphite_host and self.properties.graphite_port and sample.values.keys() - {RUNTIME}):
            return
        expand = self.context.expand
        host, port = expand(self.properties.graphite_host), expand(self.properties.graphite_port)
        prefix = expand(self.properties.graphite_prefix) or f"choria.{self.definition.name.replace(' ', '-')}"
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise BadInput(f"graphite_port is {port[:20]!r}: write a number from 1 to 65535.")
        with trio.move_on_after(DIAL_SECONDS) as limit:
            async with await trio.open_tcp_stream(host, int(port)) as stream:
                await stream.send_all(sample.graphite(prefix, runtime).encode())
        if limit.cancelled_caught:
            raise Unavailable(f"Graphite at {host}:{port} did not answer within {DIAL_SECONDS:g} s.")
