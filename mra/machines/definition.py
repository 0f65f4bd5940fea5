"""What a machine is made of, as its manifest defines it: frozen, checked, ready to run. (pure)"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mra.machines.durations import Duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mra.machines.decode import Properties

NONE = Duration(0)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Interest in a transition (not a state) of another machine of this agent, or of this one."""

    machine_name: str
    event: str


@dataclass(frozen=True, slots=True)
class ForeignState:
    """A state in which another machine of this agent has to be."""

    machine_name: str
    state: str


@dataclass(frozen=True, slots=True)
class Transition:
    """An event that moves the machine from any of the `sources` to the `destination`."""

    name: str
    sources: tuple[str, ...]
    destination: str
    description: str = ""
    subscribe: tuple[Subscription, ...] = ()


@dataclass(frozen=True, slots=True)
class WatcherDef:
    """One watcher. `interval` holds the type's default where the manifest gives none; zero means none at all."""

    name: str
    type: str
    properties: Properties
    state_match: tuple[str, ...] = ()
    foreign_state_required: tuple[ForeignState, ...] = ()
    success_transition: str = ""
    fail_transition: str = ""
    interval: Duration = NONE
    announce_interval: Duration = NONE
    success_states: tuple[str, ...] = ()  # that success_transition leads to

    def matches(self, state: str) -> bool:
        """Whether the watcher works in this state of its own machine, foreign states left aside."""
        return not self.state_match or state in self.state_match


@dataclass(frozen=True)
class Manifest:
    """One machine. `source` names where it was read, for messages."""

    name: str
    version: str
    initial_state: str
    transitions: tuple[Transition, ...]
    watchers: tuple[WatcherDef, ...]
    splay_start: int = 0  # seconds
    source: str = ""

    @cached_property
    def states(self) -> tuple[str, ...]:
        """Every state that the manifest names, the initial one first, in the order of the file."""
        named = [self.initial_state]
        for transition in self.transitions:
            named += [*transition.sources, transition.destination]
        return tuple(dict.fromkeys(named))

    @cached_property
    def subscriptions(self) -> Mapping[Subscription, tuple[str, ...]]:
        """Which transitions to fire after an event of some machine."""
        wanted: dict[Subscription, tuple[str, ...]] = {}
        for transition in self.transitions:
            for subscription in transition.subscribe:
                wanted[subscription] = (*wanted.get(subscription, ()), transition.name)
        return wanted
