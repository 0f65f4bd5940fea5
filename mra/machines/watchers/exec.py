"""`exec`: runs a command and judges its exit code (sections 3.1 and 3.6 of the reference)."""

from __future__ import annotations

import json
import math
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import trio

from mra.errors import BadInput, Unavailable
from mra.machines import decode, process, words
from mra.machines.decode import Properties
from mra.machines.manifest import IntervalRule
from mra.machines.watchers.base import Outcome, Watcher
from mra.machines.watchers.command import environment as plain_environment
from mra.machines.watchers.polling import PollingWatcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from mra.machines.durations import Duration

_GATHER_SECONDS = 30.0  # the first run is somewhere within, so that a fleet that starts does not run all at once


class ExecProperties(Properties):
    """What to run and how."""

    command: str = decode.text(required=True)
    environment: tuple[str, ...] = decode.texts()
    timeout: Duration = decode.duration("1s")
    governor: str = decode.text()
    governor_timeout: Duration = decode.duration("5m")
    parse_as_data: bool = decode.flag()
    suppress_success_announce: bool = decode.flag()
    gather_initial_state: bool = decode.flag()
    disown: bool = decode.flag()

    def faults(self) -> Iterable[tuple[str, str]]:
        """What no single property shows."""
        if self.disown and self.parse_as_data:
            yield "disown", "the output of a disowned command goes nowhere; remove this or parse_as_data"
        if self.timeout.nanoseconds <= 0:
            yield "timeout", "a command needs some time; write a longer one, like 10s"


class ExecWatcher(PollingWatcher[ExecProperties]):
    """Runs its command after every interval, counted from the end of the run before, and on changes of state.

    Without an interval it never runs in the state the machine starts in. Timeout, leaving the state and the end of the
    machine kill the command with all its group; a disowned one is only no longer waited for at the end of the machine.
    """

    kind = "exec"
    schema: ClassVar[type[Properties]] = ExecProperties
    interval_rule = IntervalRule(minimum="500ms")
    rests_after_run = True

    def first_wait(self) -> float:
        if self.properties.gather_initial_state and math.isfinite(self.interval()):
            return self.context.services.dice.uniform(0, _GATHER_SECONDS)
        return self.interval()

    def state_changed(self, state: str) -> None:
        if self.properties.disown:
            Watcher.state_changed(self, state)  # the command is not bound to the state either
        else:
            super().state_changed(state)

    async def evaluate(self) -> Outcome:
        command = words.split(self.context.expand(self.properties.command))
        if not command:
            raise BadInput("the command is empty once its templates are expanded")
        additions = [self.context.expand(each) for each in self.properties.environment]
        governor = self.context.expand(self.properties.governor)
        async with (
            self.context.governed(governor, self.definition.name, self.properties.governor_timeout),
            self._environment(additions) as environment,
        ):
            if self.properties.disown:
                return await self._run_disowned(command, environment)
            finished = await process.run(
                command,
                directory=self.context.directory,
                environment=environment,
                patience=self.properties.timeout.seconds,
            )
        if finished.trouble:
            return self.failure(finished.trouble, run_seconds=finished.seconds)
        if self.properties.parse_as_data:
            await self.context.data.update(_parsed(finished))
        return self._succeeded(finished)

    def report(self) -> Mapping[str, Any]:
        return {
            "command": self.properties.command,
            "previous_outcome": self.outcome,
            "previous_run_time": round(self.run_seconds * 1e9),
        }

    def _succeeded(self, finished: process.Finished) -> Outcome:
        announce = not self.properties.suppress_success_announce
        return self.success("success", announce=announce, run_seconds=finished.seconds)

    async def _run_disowned(self, command: list[str], environment: Mapping[str, str]) -> Outcome:
        directory = self.context.directory
        try:
            finished = await process.run_detached(command, directory=directory, environment=environment)
        except Unavailable as fault:
            return Outcome("unknown", reason=fault.sentence)
        if finished.trouble:
            return self.failure(finished.trouble, run_seconds=finished.seconds)
        return self._succeeded(finished)

    @asynccontextmanager
    async def _environment(self, additions: Iterable[str]) -> AsyncIterator[dict[str, str]]:
        """The whole environment of one run; what it points to exists while inside."""
        context = self.context
        contents = {"facts.json": context.services.facts(), "data.json": context.data.copy()}
        directory = await trio.to_thread.run_sync(context.services.scratch.make, contents)
        try:
            yield {
                **plain_environment(context, self.definition.name),
                "WATCHER_DATA": str(directory / "data.json"),
                "WATCHER_FACTS": str(directory / "facts.json"),
                **dict(each.split("=", 1) for each in additions if "=" in each),
            }
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(shutil.rmtree, directory, True)


def _parsed(finished: process.Finished) -> dict[str, Any]:
    """The JSON object a command wrote. Raises `BadInput`."""
    if finished.truncated:
        raise BadInput(f"the command wrote more than {process.MOST_OUTPUT} bytes; data has to be shorter")
    try:
        values = json.loads(finished.output)
    except (ValueError, RecursionError) as fault:
        sentence = f"the command's output is no JSON ({fault}); it has to be one object, standard error included"
        raise BadInput(sentence) from fault
    if not isinstance(values, dict):
        raise BadInput("the command's output is JSON, but no object; write one with the values to keep")
    return values
