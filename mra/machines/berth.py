"""One place of the fleet: a directory, and the machine that runs for it, if any."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from mra.log import logger
from mra.machines.data import MachineData
from mra.machines.machine import Machine
from mra.machines.picture import Condition, MachinePicture

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mra.machines.context import Services
    from mra.machines.definition import Manifest
    from mra.machines.machine import Neighbours
    from mra.machines.watchers.base import Watcher
    from mra.supervise import Supervisor

log = logger("machines")


@dataclass
class Berth:
    """Takes manifests one after the other and keeps the machine of the last good one running."""

    directory: Path
    services: Services
    neighbours: Neighbours
    kinds: Mapping[str, type[Watcher[Any]]]
    supervisor: Supervisor  # of machines, by their directories
    compiled_in: bool = False
    seen: str = ""  # digest of the manifest that was looked at last
    machine: Machine | None = None
    problem: str = ""  # why there is no machine, or why it is not that of the newest manifest
    denied: bool = False
    _digest: str = ""  # of the manifest that runs
    _scope: trio.CancelScope | None = None  # around the running machine
    _stopped: trio.Event = field(default_factory=trio.Event)

    def is_running(self, digest: str) -> bool:
        """Whether the manifest of this digest runs already; if so, nothing newer is wrong any more."""
        if self.machine is None or digest != self._digest:
            return False
        self.problem = ""
        return True

    def refuse(self, problem: str) -> None:
        """The newest manifest cannot run: say so, and let what runs go on."""
        self.problem = problem
        log.error("manifest refused", directory=str(self.directory), reason=problem, keeps_running=bool(self.machine))

    async def deny(self, problem: str) -> None:
        """The machine may not run here: stop what runs."""
        await self.stop()
        if self.machine is not None:
            self.machine.end()
        self.machine, self.denied, self.problem = None, True, problem
        log.warning("machine denied", directory=str(self.directory), reason=problem)

    async def take(self, manifest: Manifest, digest: str) -> None:
        """Put a machine of this manifest in the place of the one before; start it with `start`."""
        await self.stop()
        data = await trio.to_thread.run_sync(MachineData.load, self.directory)
        try:
            machine = Machine(manifest, self.directory, data, self.services, self.neighbours, self.kinds)
        except Exception as failure:  # a fault in a watcher's constructor; whatever ran before goes on
            log.failure("watchers cannot be built", failure, machine=manifest.name)
            self.refuse(f"Its watchers cannot be built ({failure}): see the log.")
            return
        if self.machine is not None:
            self.machine.end()
        self.machine, self.problem, self.denied, self._digest = machine, "", False, digest
        log.warning(
            "machine loaded", name=manifest.name, version=manifest.version, directory=str(self.directory), digest=digest
        )

    def start(self, nursery: trio.Nursery) -> None:
        """Run the machine, if there is one and it does not run yet."""
        if self.machine is not None and self._scope is None:
            self._scope, self._stopped = trio.CancelScope(), trio.Event()
            nursery.start_soon(self._keep, self.machine, self._scope, name=f"machine {self.machine.manifest.name}")

    async def stop(self) -> None:
        """Stop the machine; returns once nothing of it is left. It stays loaded."""
        if self._scope is not None:
            self._scope.cancel()
            await self._stopped.wait()
            self._scope = None

    async def remove(self) -> None:
        """The directory is gone: stop the machine for good and let its watchers clean up."""
        await self.stop()
        if self.machine is not None:
            self.machine.end()
            await self.machine.removed()
            log.warning("machine removed", name=self.machine.manifest.name, directory=str(self.directory))
        self.supervisor.services.pop(str(self.directory), None)

    def picture(self) -> MachinePicture:
        """What the berth holds, as it is now."""
        if self.machine is not None:
            return MachinePicture.of(
                self.machine, self._digest, compiled_in=self.compiled_in, problem=self.problem or self._crash()
            )
        return MachinePicture(
            name=self.directory.name,
            version="",
            condition=self._condition(),
            state="",
            directory=str(self.directory),
            compiled_in=self.compiled_in,
            problem=self.problem,
        )

    def _condition(self) -> Condition:
        """Without a machine; one that is being read for the first time is neither refused nor denied yet."""
        if self.denied:
            return Condition.DENIED
        return Condition.REFUSED if self.problem else Condition.WAITING

    def _crash(self) -> str:
        service = self.supervisor.services.get(str(self.directory))
        return f"It crashed ({service.last_error}) and was started again." if service and service.last_error else ""

    async def _keep(self, machine: Machine, scope: trio.CancelScope) -> None:
        try:
            with scope:
                await self.supervisor.keep_running(str(self.directory), machine.run)
        finally:
            self._stopped.set()
