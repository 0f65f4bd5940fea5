"""What machines report: CloudEvents on the lane `events`, in the payloads that Choria's consumers know. (pure)

    machine.transition                  a machine changed its state
    machine.watcher.<type>.state        what a watcher found, or an announcement of what it found last
    lifecycle.event.governor.<machine>  a slot of a governor was taken, given back or not obtained

`data.id` is the instance of the machine, new at every load; the event's own id stands in the envelope. `data.timestamp`
counts seconds (sections 4.1 to 4.4 of the reference). Where Choria publishes governor events bare, on a subject tree of
wrapped ones, they are wrapped here like all others; its consumers accept both.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from mra.events import cloud_event
from mra.outbox.record import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mra.machines.states import Moved
    from mra.outbox.record import Draft

MACHINE_SOURCE: Final = "io.choria.machine"
LIFECYCLE_SOURCE: Final = "io.choria.lifecycle"
_NO_SUBJECT: Final = re.compile(r"[^A-Za-z0-9_-]+", re.ASCII)


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


def governor_event(
    origin: Origin,
    governor: str,
    sequence: int,
    event: Literal["enter", "exit", "timeouts", "eviction"],
    wall_ns: int | None = None,
) -> Draft:
    """What became of a slot; `sequence` is 0 when there was none."""
    wall_ns = time.time_ns() if wall_ns is None else wall_ns
    protocol = "io.choria.lifecycle.v1.governor"
    data = {
        "protocol": protocol,
        "id": new_id(),
        "identity": origin.identity,
        "component": origin.machine,
        "timestamp": wall_ns // 10**9,
        "governor": governor,
        "sequence": sequence,
        "event_type": event,
    }
    return cloud_event(
        type_=protocol,
        source=LIFECYCLE_SOURCE,
        identity=origin.identity,
        data=data,
        wall_ns=wall_ns,
        subject=f"lifecycle.event.governor.{_NO_SUBJECT.sub('_', origin.machine)}",
    )


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
