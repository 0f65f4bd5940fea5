"""All machines of one agent: follows the machines directory, lets machines see each other, and answers for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import trio

from mra.errors import BadInput, MraError
from mra.log import logger
from mra.machines.archives.deploy import recover
from mra.machines.berth import Berth
from mra.machines.definition import Subscription
from mra.machines.manifest import Reading, first_error, read_manifest
from mra.machines.scan import MANIFEST, Found, scan
from mra.machines.states import Step, Undeclared
from mra.supervise import Supervisor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mra.machines.compiled import CompiledMachine
    from mra.machines.context import Services
    from mra.machines.machine import Machine
    from mra.machines.picture import MachinePicture
    from mra.machines.watchers.base import Watcher

log = logger("machines")
SCAN_SECONDS: Final = 10.0


class Fleet:
    """The machines of an agent.

    A manifest that changed takes the place of the one that runs only if it can run itself; otherwise the old one goes
    on, and its picture says why. (Choria stops the old one first.) A crash in a watcher or a machine stays there.
    """

    def __init__(
        self,
        store: Path,
        services: Services,
        kinds: Mapping[str, type[Watcher[Any]]],
        compiled_in: Sequence[CompiledMachine] = (),
        *,
        scan_seconds: float = SCAN_SECONDS,
    ) -> None:
        self.store = store
        self._scan_seconds = scan_seconds
        self._services = services
        self._kinds = kinds
        self._compiled_in = compiled_in
        self._berths: dict[Path, Berth] = {}
        self._supervisor = Supervisor()
        self._nursery: trio.Nursery | None = None
        self._scanning = trio.Lock()
        self._prompt = trio.Event()  # to look before the time has come

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run all machines and follow the store until cancelled; `started` once all that is there has been loaded."""
        self._berths.clear()
        await self._recover()
        try:
            async with trio.open_nursery() as self._nursery:
                for compiled in self._compiled_in:
                    await self._load(compiled)
                await self.scan()
                task_status.started()
                while True:
                    with trio.move_on_after(self._scan_seconds):
                        await self._prompt.wait()
                    self._prompt = trio.Event()
                    await self.scan()
        finally:
            self._nursery = None

    async def _recover(self) -> None:
        """Put right what a kill left of deployments, before a tree that was on trial is taken for a good one."""
        try:
            await trio.to_thread.run_sync(recover, self.store)
        except (MraError, OSError) as fault:
            log.error("interrupted deployments cannot be put right", store=str(self.store), reason=str(fault))

    def look_soon(self) -> None:
        """Have the fleet's own task look at the store now; returns at once, so that a machine may ask for it too."""
        self._prompt.set()

    async def scan(self) -> None:
        """Bring the fleet in line with the store now. A store that cannot be listed changes nothing."""
        async with self._scanning:
            try:
                found = await trio.to_thread.run_sync(_list_store, self.store)
            except OSError as fault:
                log.once_per(600, "machines cannot be listed", store=str(self.store), reason=str(fault))
            else:
                await self._follow(found)
            if self._nursery is not None:
                for berth in self._berths.values():
                    berth.start(self._nursery)

    def pictures(self) -> tuple[MachinePicture, ...]:
        """All machines as they are now, also those that may not or cannot run, by name."""
        return tuple(sorted((each.picture() for each in self._berths.values()), key=lambda each: each.name))

    def find(self, name: str) -> Machine:
        """A loaded machine by its name, directory or instance; raises `BadInput` when there is none."""
        for machine in self._machines():
            if name in (machine.manifest.name, str(machine.directory), machine.origin.instance):
                return machine
        raise BadInput(f"There is no machine {name[:60]!r}: use one that `mra machines ls` shows.")

    async def fire(self, name: str, event: str) -> Step:
        """Fire a transition of a machine for an operator.

        Raises:
            BadInput: there is no such machine, or its state does not allow the transition.
        """
        machine = self.find(name)
        step = await machine.fire(event) if machine.can(event) else None
        if step is None or isinstance(step, Undeclared):
            possible = ", ".join(machine.available) or "none"
            raise BadInput(
                f"Machine {machine.manifest.name} in state {machine.state} has no transition {event[:60]!r}:"
                f" possible now: {possible}."
            )
        return step

    def state_of(self, name: str) -> str | None:
        """The state of a machine, None when there is none of that name; of several, the first counts."""
        return next((machine.state for machine in self._machines() if machine.manifest.name == name), None)

    def tell(self, name: str, event: str) -> None:
        """Fire whatever subscribed to this transition of this machine, each in a task of its own."""
        subscription = Subscription(name, event)
        for machine in self._machines():
            for transition in machine.manifest.subscriptions.get(subscription, ()):
                if self._nursery is not None:
                    self._nursery.start_soon(_fire, machine, transition, name=f"{machine.manifest.name} follows {name}")

    def _machines(self) -> list[Machine]:
        return [berth.machine for berth in self._berths.values() if berth.machine is not None]

    def _berth(self, directory: Path, *, compiled_in: bool = False) -> Berth:
        if directory not in self._berths:
            self._berths[directory] = Berth(
                directory, self._services, self, self._kinds, self._supervisor, compiled_in=compiled_in
            )
        return self._berths[directory]

    async def _follow(self, found: Sequence[Found]) -> None:
        """Drop what vanished, look at what is new or changed."""
        present = {each.directory for each in found}
        for berth in list(self._berths.values()):
            if not berth.compiled_in and berth.directory not in present:
                del self._berths[berth.directory]
                await berth.remove()
        for each in found:
            berth = self._berth(each.directory)
            if berth.compiled_in or berth.seen == each.digest:
                continue
            berth.seen = each.digest
            try:
                await self._look(berth, each)
            except Exception as failure:  # whatever it is, it is this machine's
                log.failure("machine cannot be loaded", failure, directory=str(each.directory))
                berth.refuse(f"It cannot be loaded ({failure}): see the log.")

    async def _look(self, berth: Berth, found: Found) -> None:
        """Act on a manifest that is new or has changed."""
        if found.fault:
            berth.refuse(found.fault)
        elif not berth.is_running(found.digest):
            source = str(found.directory / MANIFEST)
            reading = await trio.to_thread.run_sync(read_manifest, found.text, source, self._kinds)
            await self._settle(berth, reading, source, found.digest)

    async def _load(self, compiled: CompiledMachine) -> None:
        berth = self._berth(self.store / compiled.name, compiled_in=True)
        try:
            wanted = compiled.activate()
            reading = compiled.read(self._kinds)
            await trio.to_thread.run_sync(_make_directory, berth.directory)
        except Exception as failure:  # what an embedder supplies costs that machine only
            log.failure("compiled-in machine failed", failure, machine=compiled.name)
            berth.refuse(f"The {compiled.source} failed ({failure}): see the log.")
            return
        if wanted:
            await self._settle(berth, reading, compiled.source, "")
        else:
            await berth.deny("Its activation check said no.")

    async def _settle(self, berth: Berth, reading: Reading, source: str, digest: str) -> None:
        """Let a manifest that was read run, unless it may not or cannot."""
        deny, name = self._services.deny, berth.directory.name
        if reading.manifest is not None and reading.manifest.name in deny:
            name = reading.manifest.name
        if name in deny:
            await berth.deny(f"This agent does not allow {name}.")
        elif reading.manifest is None:
            berth.refuse(first_error(reading.problems, source))
        else:
            await berth.take(reading.manifest, digest)


async def _fire(machine: Machine, transition: str) -> None:
    try:
        await machine.fire(transition)
    except Exception as failure:  # one machine's fault is not the fleet's
        log.failure("subscription failed", failure, machine=machine.manifest.name, transition=transition)


def _list_store(store: Path) -> list[Found]:
    _make_directory(store)
    return scan(store)


def _make_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
