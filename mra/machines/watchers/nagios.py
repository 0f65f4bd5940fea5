"""Runs a Nagios plugin, or a check of its own, and moves the machine by what it finds (section 3.11 of the reference).

The transition that follows is named after the status: OK, WARNING, CRITICAL or UNKNOWN. Between checks the status is
what the machine's state is named; in the state FORCE_CHECK one check runs, whatever `state_match` and interval say.

Builtins: `heartbeat`; `choria_status`, which judges the agent itself; and names that begin with `goss`, which run the
`goss` program on `gossfile` (Choria has it built in) and are UNKNOWN where it is not installed.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from mra.errors import MraError
from mra.machines import words
from mra.machines.builtin_checks import StatusLimits, agent_status, goss_result, heartbeat
from mra.machines.checks import FORCE, CheckLog, Result, Status, status_of_exit
from mra.machines.decode import Properties, duration, text, text_map
from mra.machines.manifest import IntervalRule
from mra.machines.prometheus import Family, Sample
from mra.machines.templates import TemplateError, check_nagios, expand_nagios
from mra.machines.textfile import Textfile
from mra.machines.watchers.base import Outcome
from mra.machines.watchers.command import run_command
from mra.machines.watchers.polling import PollingWatcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mra.machines.context import Context
    from mra.machines.definition import WatcherDef
    from mra.machines.durations import Duration
    from mra.machines.process import Finished

FILE_NAME: Final = "choria_machine_nagios_watcher_status.prom"
GOSS: Final = "goss"
GOSS_SECONDS: Final = 30.0  # it runs many checks in one, and Choria sets it no limit
_LONGEST_VARIABLES: Final = 100 * 1024  # bytes that fit into one argument of a program
_SLACK: Final = 1.0  # a check this much early is still one interval after the one before
_STARTED: Final = time.time()


class NagiosProperties(Properties):
    """Either `plugin` or `builtin`."""

    plugin: str = text()
    builtin: str = text()
    gossfile: str = text()
    timeout: Duration = duration("1s")
    annotations: Mapping[str, str] = text_map()
    last_message: Duration = duration()
    pubcert_expire: Duration = duration()
    token_expire: Duration = duration()

    def faults(self) -> Iterator[tuple[str, str]]:
        if bool(self.plugin) == bool(self.builtin):
            yield "plugin", "a nagios watcher has either a plugin or a builtin; give exactly one of them"
        if self.builtin.startswith(GOSS) and not self.gossfile:
            yield "gossfile", "the builtin goss needs it; name the file with the tests"
        if self.builtin == "choria_status" and not self.last_message:
            yield "last_message", "the builtin choria_status needs it; write how old the last message may be, like 1h"
        if self.timeout.nanoseconds < 0:
            yield "timeout", "no check ends before it begins; write a positive duration"
        try:
            check_nagios(self.plugin)
        except TemplateError as refusal:
            yield "plugin", refusal.sentence


class NagiosWatcher(PollingWatcher[NagiosProperties]):
    """Keeps the log of its checks, across changes of state."""

    kind: ClassVar[str] = "nagios"
    schema: ClassVar[type[Properties]] = NagiosProperties
    interval_rule: ClassVar[IntervalRule] = IntervalRule(minimum="500ms")
    first_outcome: ClassVar[str] = Status.NOTCHECKED.name

    def __init__(self, definition: WatcherDef, context: Context) -> None:
        super().__init__(definition, context)
        self._log = CheckLog(context.origin.machine)
        self._file = Textfile.shared(context.services.text_file_directory, FILE_NAME, _preamble)
        self._owner = (context.origin.machine, definition.name)
        self._forced = False
        self._checked_at: float | None = None  # Trio time

    def first_wait(self) -> float:
        """A random part of an interval, and then one."""
        interval = self.definition.interval.seconds
        return self.interval() + self.context.services.dice.uniform(0, interval)

    def heeds_change(self) -> bool:
        return self._forced

    def is_active(self) -> bool:
        return self._forced or super().is_active()

    def state_changed(self, state: str) -> None:
        if state == FORCE:
            self._forced = True
        else:
            self._log.enter(state)
            self._show()
        super().state_changed(state)

    async def run(self) -> None:
        self._show()
        await self._file.kept_during(super().run)

    async def evaluate(self) -> Outcome | None:
        """Check once, unless the last check has just begun; what no check can be made of is UNKNOWN."""
        now = trio.current_time()
        forced, self._forced = self._forced, False
        recent = self._checked_at is not None and now - self._checked_at < self.definition.interval.seconds - _SLACK
        if recent and not forced:
            return None
        self._checked_at, wall = now, time.time_ns()
        plugin = self._log.plugin
        try:
            plugin = self._plugin()
            result = await self._check(plugin)
        except (MraError, OSError) as fault:
            result = Result(Status.UNKNOWN, reason=str(fault))
        self._log.record(result, plugin, wall, trio.current_time() - now)
        if not result.status.is_result:
            # Choria's own meaning of exit codes 4 and 5; no plugin should use them.
            return Outcome(self.outcome, reason=f"exit code {int(result.status)} is no status; use 0 to 3")
        self._show()
        return Outcome(result.status.name, announce=True, transition=result.status.name, reason=result.reason)

    def report(self) -> Mapping[str, Any]:
        """The last check, and those before it."""
        return self._log.as_event(self.properties.annotations)

    async def removed(self) -> None:
        self._file.drop(self._owner)
        await self._file.write()

    def _show(self) -> None:
        self._file.put(self._owner, self._log.families(time.time_ns()))

    def _plugin(self) -> str:
        """The command after expansion, or the builtin's name. Raises TemplateError."""
        if self.properties.builtin:
            return self.properties.builtin
        overrides = self.context.services.overrides()
        return expand_nagios(self.properties.plugin, machine=self.context.origin.machine, overrides=overrides)

    async def _check(self, plugin: str) -> Result:
        if not self.properties.builtin:
            finished = await self._run(words.split(plugin), self.properties.timeout.seconds or 1.0)
            reason = finished.trouble if finished.code < 0 else ""
            return Result(status_of_exit(finished.code), finished.output.decode(errors="replace"), reason)
        if plugin == "heartbeat":
            return heartbeat(time.time())
        if plugin == "choria_status":
            return agent_status(self.context.services.status(), self._limits(), time.time())
        if plugin.startswith(GOSS):
            return await self._goss()
        return Result(
            Status.UNKNOWN, reason=f"there is no builtin {plugin[:40]!r}; use heartbeat, choria_status or goss"
        )

    def _limits(self) -> StatusLimits:
        own = self.properties
        return StatusLimits(own.last_message.seconds, own.pubcert_expire.seconds, own.token_expire.seconds)

    async def _goss(self) -> Result:
        command = [GOSS, "--gossfile", self.properties.gossfile]
        if overrides := self.context.services.overrides():
            variables = json.dumps(overrides)
            if len(variables.encode()) > _LONGEST_VARIABLES:
                return Result(Status.UNKNOWN, "UNKNOWN: the overrides are too long for goss; shorten them")
            command += ["--vars-inline", variables]
        command += ["validate", "--format", "json", "--max-concurrent", "1", "--no-color"]
        try:
            finished = await self._run(command, max(GOSS_SECONDS, self.properties.timeout.seconds))
        except MraError as refusal:
            return Result(Status.UNKNOWN, f"UNKNOWN: goss cannot be run: {refusal.sentence}", refusal.sentence)
        if finished.timed_out:
            return Result(Status.UNKNOWN, f"UNKNOWN: goss did not end: {finished.trouble}", finished.trouble)
        return goss_result(finished.output.decode(errors="replace"))

    async def _run(self, command: list[str], patience: float) -> Finished:
        return await run_command(self.context, self.definition.name, command, patience)


def _preamble() -> tuple[Family, ...]:
    about = "Time the Choria Machine subsystem started in unix seconds"
    return (Family("choria_machine_nagios_start_time", "gauge", about, (Sample(int(_STARTED)),)),)
