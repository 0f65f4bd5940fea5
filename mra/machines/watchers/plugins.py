"""`plugins`: keeps the plugins of a signed specification deployed (section 3.12 of the reference)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from mra.errors import MraError, Unavailable
from mra.log import logger
from mra.machines import decode
from mra.machines.accepted import FileMemory, accept
from mra.machines.decode import Properties
from mra.machines.expressions import compile_expression
from mra.machines.expressions.environments import MATCH_NAMES, match_environment
from mra.machines.managers import Managers
from mra.machines.manifest import IntervalRule
from mra.machines.spec import Plugin, Specification, Untrusted, read
from mra.machines.watchers.base import Outcome
from mra.machines.watchers.polling import PollingWatcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mra.machines.context import Context
    from mra.machines.definition import WatcherDef
    from mra.machines.durations import Duration

log = logger("machines")
MEMORY_NAME: Final = "accepted.json"
_SHORTEST: Final = 10.0  # what an archive watcher takes as interval
_STOP_SECONDS: Final = 2.0  # for a manager to be stopped before its plugin goes


class PluginsProperties(Properties):
    """Where the specification is, who signs it, and what becomes of it."""

    data_item: str = decode.text(required=True)
    purge_unknown: bool = decode.flag()
    plugin_manage_interval: Duration = decode.duration("2m")
    public_key: str = decode.text()
    plugins_directory: str = decode.text()
    manager_machine_prefix: str = decode.text("mm")

    def faults(self) -> Iterable[tuple[str, str]]:
        """What the names and manifests of managers ask for."""
        prefix = self.manager_machine_prefix
        if not (prefix.isascii() and prefix.replace("-", "").isalnum()):
            yield "manager_machine_prefix", "it may hold letters, digits and dashes only"
        if self.plugin_manage_interval.seconds < _SHORTEST:
            yield "plugin_manage_interval", f"it is {_SHORTEST:.0f}s at least; write a longer one, like 2m"


class PluginsWatcher(PollingWatcher[PluginsProperties]):
    """Turns a specification into manager machines, one for each plugin that is meant for this node.

    What was accepted is remembered in the machine's directory, so that nothing older is accepted later (see
    `accepted`). A specification that is not signed as it should be is deleted from the machine's data, as in Choria,
    and why is reported until there is another. One that is refused for its age stays. Everything that is deployed stays
    in either case. Differences, on purpose: a new specification is acted upon at once, not at the next interval; a
    match that cannot be evaluated changes nothing for its plugin, where Choria purges it; error events have a `reason`.
    """

    kind = "plugins"
    schema: ClassVar[type[Properties]] = PluginsProperties
    interval_rule = IntervalRule(minimum="2s")

    def __init__(self, definition: WatcherDef, context: Context) -> None:
        super().__init__(definition, context)
        properties, store = self.properties, context.directory.parent
        self.key = context.services.signing_key or properties.public_key
        self.memory = FileMemory(context.directory / MEMORY_NAME)
        self.managers = Managers(
            store,
            Path(properties.plugins_directory) if properties.plugins_directory else store,
            properties.manager_machine_prefix,
            properties.plugin_manage_interval,
        )
        self.listed: tuple[str, ...] = ()  # names of all plugins in the specification
        self.distrust = ""  # why there is none any more, until there is another

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, name=f"{self.definition.name} follows {self.properties.data_item}")
            await super().run()

    def first_wait(self) -> float:
        return 0.0

    async def evaluate(self) -> Outcome:
        specification = await self._specification()
        self.listed = tuple(plugin.name for plugin in specification.plugins)
        denied = sorted(self.context.services.deny.intersection(self.listed))
        allowed = [plugin for plugin in specification.plugins if plugin.name not in denied]
        wanted, unclear = await trio.to_thread.run_sync(self._sort, allowed, dict(self.context.services.facts()))
        purged = await self._purge({plugin.name for plugin in wanted} | unclear)
        written = [plugin.name for plugin in wanted if await trio.to_thread.run_sync(self.managers.write, plugin)]
        if purged or written:
            self.context.services.look_soon()
        for name in written:
            log.warning("plugin managed", plugin=name, prefix=self.managers.prefix)
        reason = f"this agent does not allow the plugins {', '.join(denied)}" if denied else ""
        transition = self.definition.success_transition
        return (
            Outcome("updated", True, transition, reason) if purged or written else Outcome("unchanged", reason=reason)
        )

    def report(self) -> Mapping[str, Any]:
        report = {
            "plugins": list(self.listed),
            "previous_outcome": self.outcome,
            "previous_run_time": round(self.run_seconds * 1e9),
        }
        return {**report, "reason": self.trouble} if self.outcome == "error" else report

    async def _specification(self) -> Specification:
        """The specification to act upon, remembered as accepted. Raises `MraError`."""
        item = self.properties.data_item
        value = self.context.data.get(item)
        if value is None:
            if self.distrust:
                raise Untrusted(self.distrust)
            raise Unavailable(f"data item {item} is not there; publish a specification")
        self.distrust = ""
        try:
            specification = read(value, self.key, reserved={self.context.directory.name})
        except Untrusted as refusal:
            self.distrust = refusal.sentence
            await self.context.data.delete(item)
            raise
        self.managers.check_names(specification.plugins)
        last = await self.memory.load()
        accepted = accept(specification, last)
        if accepted != last:
            await self.memory.save(accepted)
        return specification

    def _sort(self, plugins: Sequence[Plugin], facts: Mapping[str, Any]) -> tuple[list[Plugin], set[str]]:
        """The plugins that are meant for this node, and the names of those where that cannot be told. Blocking."""
        wanted, unclear = [], set()
        for plugin in plugins:
            try:
                if self._matches(plugin, facts):
                    wanted.append(plugin)
            except MraError as fault:
                unclear.add(plugin.name)
                log.once_per(600, "plugin match failed", plugin=plugin.name, reason=fault.sentence)
        return wanted, unclear

    def _matches(self, plugin: Plugin, facts: Mapping[str, Any]) -> bool:
        if not plugin.match:
            return True
        environment = match_environment(identity=self.context.origin.identity, facts=facts)
        return compile_expression(plugin.match, MATCH_NAMES).evaluate_boolean(environment)

    async def _purge(self, wanted: set[str]) -> bool:
        if not self.properties.purge_unknown:
            return False
        if await trio.to_thread.run_sync(self.managers.retire, wanted):
            self.context.services.look_soon()
            await trio.sleep(_STOP_SECONDS)
        return await trio.to_thread.run_sync(self.managers.purge)

    async def _follow(self) -> None:
        """Ask for an evaluation whenever there is another specification; runs until cancelled."""
        data, item = self.context.data, self.properties.data_item
        known = data.get(item)
        while True:
            changed, found = data.changed(), data.get(item)
            if found is not None and found != known:
                self.state_changed(self.context.state())
            known = found
            await changed.wait()
