"""What machines report: CloudEvents on the lane `events`, in the payloads that Choria's consumers know. (pure)

    machine.transition                  a machine changed its state
    machine.watcher.<type>.state        what a watcher found, or an announcement of what it found last

`data.id` is the instance of the machine, new at every load; the event's own id stands in the envelope. `data.timestamp`
counts seconds (sections 4.1 to 4.3 of the reference). What machines have to say of governors is in `mra.governors`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mra.events import cloud_event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mra.machines.states import Moved
    from mra.outbox.record import Draft

MACHINE_SOURCE: Final = "io.choria.machine"


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose events these are."""

    identity: str
    machine: str
    version: str
    instance: str


def transition_event(origin: Origin, step: Moved, wall_ns: int | None = None) -> Draft:
    """A machine changed its state."""
    data = {
        "machine": origin.machine,
        "transition": step.event,
        "from_state": step.source,
        "to_state": step.destination,
    }
    return _machine_event(origin, "io.choria.machine.v1.transition", "machine.transition", data, wall_ns)


def watcher_event(origin: Origin, type_: str, name: str, state: Mapping[str, Any], wall_ns: int | None = None) -> Draft:
    """The state of a watcher; `state` holds the keys of its type."""
    data = {"type": type_, "machine": origin.machine, "name": name, **state}
    protocol = f"io.choria.machine.watcher.{type_}.v1.state"
    return _machine_event(origin, protocol, f"machine.watcher.{type_}.state", data, wall_ns)


def _machine_event(origin: Origin, protocol: str, subject: str, data: Mapping[str, Any], wall_ns: int | None) -> Draft:
    wall_ns = time.time_ns() if wall_ns is None else wall_ns
    common = {
        "protocol": protocol,
        "identity": origin.identity,
        "id": origin.instance,
        "version": origin.version,
        "timestamp": wall_ns // 10**9,
    }
    return cloud_event(
        type_=protocol,
        source=MACHINE_SOURCE,
        identity=origin.identity,
        data={**common, **data},
        wall_ns=wall_ns,
        subject=subject,
    )
