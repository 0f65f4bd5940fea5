"""The state machine: which state follows from a state and an event (section 2.1 of the reference). (pure)

`StateMachine.after(event)` answers with one of three steps; the caller acts on it. A step to the state the machine is
in already is `Stayed`: nobody outside learns of it. An event that is not declared for the state is `Undeclared`:
something that happened at the wrong time, worth a warning, but no error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mra.machines.definition import Manifest


@dataclass(frozen=True, slots=True)
class Moved:
    """The event leads to another state; `machine` is in it."""

    machine: StateMachine
    event: str
    source: str
    destination: str


@dataclass(frozen=True, slots=True)
class Stayed:
    """The event leads to the state the machine is in."""

    event: str
    state: str


@dataclass(frozen=True, slots=True)
class Undeclared:
    """Nothing is declared for this event in this state."""

    event: str
    state: str


Step: TypeAlias = Moved | Stayed | Undeclared


@dataclass(frozen=True, slots=True)
class StateMachine:
    """A state, and what may follow: `table` leads from (event, state) to a state."""

    state: str
    table: Mapping[tuple[str, str], str]

    @classmethod
    def of(cls, manifest: Manifest) -> StateMachine:
        """The machine of a manifest in its initial state; of a repeated pair of event and state the last one counts."""
        table = {
            (transition.name, source): transition.destination
            for transition in manifest.transitions
            for source in transition.sources
        }
        return cls(manifest.initial_state, MappingProxyType(table))

    def after(self, event: str) -> Step:
        """What the event does to this machine."""
        destination = self.table.get((event, self.state))
        if destination is None:
            return Undeclared(event, self.state)
        if destination == self.state:
            return Stayed(event, self.state)
        return Moved(replace(self, state=destination), event, self.state, destination)

    def can(self, event: str) -> bool:
        """Whether the event is declared for the present state."""
        return (event, self.state) in self.table

    @property
    def available(self) -> tuple[str, ...]:
        """The events declared for the present state, sorted."""
        return tuple(sorted(event for event, state in self.table if state == self.state))
