"""Pictures of machines for people: what runs, in which state, and what is wrong. (frozen, ready for JSON)"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mra.machines.machine import Machine
    from mra.machines.watchers.base import Watcher
    from mra.supervise import ServiceStatus


class Condition(StrEnum):
    """Whether a machine does its work."""

    WAITING = "waiting"  # to be read, or for its splay to pass
    RUNNING = "running"
    REFUSED = "refused"  # its manifest cannot run; `problem` says why
    DENIED = "denied"  # by the agent's own settings


@dataclass(frozen=True, slots=True)
class WatcherPicture:
    """One watcher. `trouble` is why its last outcome is what it is, `crash` why it was started again.

    `detail` is what there is to say of it when nothing is wrong.
    """

    name: str
    type: str
    active: bool
    outcome: str
    trouble: str
    run_seconds: float
    restarts: int
    crash: str
    detail: str = ""

    @classmethod
    def of(cls, watcher: Watcher[Any], service: ServiceStatus | None) -> WatcherPicture:
        """The watcher as it is now."""
        definition = watcher.definition
        restarts, crash = (service.restarts, service.last_error or "") if service else (0, "")
        return cls(
            definition.name,
            definition.type,
            watcher.is_active(),
            watcher.outcome,
            watcher.trouble,
            watcher.run_seconds,
            restarts,
            crash,
            watcher.detail,
        )


@dataclass(frozen=True, slots=True)
class MachinePicture:
    """One machine. A running one with a `problem` has a newer manifest that cannot take its place."""

    name: str
    version: str
    condition: Condition
    state: str
    directory: str
    instance: str = ""
    digest: str = ""  # SHA-256 of the manifest that runs
    compiled_in: bool = False
    since_wall: int = 0  # ns since 1970, when the state was entered
    started_wall: int | None = None  # when the watchers were started
    available: tuple[str, ...] = ()  # transitions that are possible now
    watchers: tuple[WatcherPicture, ...] = ()
    problem: str = ""

    @classmethod
    def of(cls, machine: Machine, digest: str, *, compiled_in: bool, problem: str) -> MachinePicture:
        """The machine as it is now."""
        services = machine.supervisor.services
        return cls(
            name=machine.manifest.name,
            version=machine.manifest.version,
            condition=Condition.WAITING if machine.started_wall is None else Condition.RUNNING,
            state=machine.state,
            directory=str(machine.directory),
            instance=machine.origin.instance,
            digest=digest,
            compiled_in=compiled_in,
            since_wall=machine.since_wall,
            started_wall=machine.started_wall,
            available=machine.available,
            watchers=tuple(WatcherPicture.of(each, services.get(each.definition.name)) for each in machine.watchers),
            problem=problem,
        )
