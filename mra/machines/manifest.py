"""Reading a machine's manifest: every check of section 1.3 of the reference happens here, before anything runs. (pure)

Choria checks half of this when it loads a manifest and half when it starts the machine; a failure there leaves a
machine that is listed but does nothing. Here a manifest that is read is one that can run. What Choria's schema says
beyond that, and keys that nothing reads, are advice: they never keep a machine from running.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from mra.errors import BadInput
from mra.machines.decode import Properties, decode
from mra.machines.definition import ForeignState, Manifest, Subscription, Transition, WatcherDef
from mra.machines.document import Entry, Node, load
from mra.machines.durations import Duration, parse_go
from mra.machines.problems import Findings, Problem, Severity
from mra.machines.section import Section
from mra.machines.unsupported import why_missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+", re.ASCII)
_SHORTEST_ANNOUNCEMENT: Final = parse_go("1m")


@dataclass(frozen=True, slots=True)
class IntervalRule:
    """What a type of watcher does with the key `interval`; durations are in Go's notation, empty for none."""

    default: str = ""
    minimum: str = ""
    required: bool = False
    used: bool = True


class WatcherKind(Protocol):
    """What reading a manifest needs to know of a type of watcher; the classes in `watchers` are such."""

    @property
    def schema(self) -> type[Properties]:
        """How its properties are read."""

    @property
    def interval_rule(self) -> IntervalRule:
        """What it does with intervals."""

    def faults(self, definition: WatcherDef, /) -> Iterable[tuple[str, str]]:
        """Key and reason for whatever is wrong in the whole although every part is right."""


@dataclass(frozen=True)
class Reading:
    """What came of reading a manifest: the manifest, unless one of the problems is an error."""

    manifest: Manifest | None
    problems: tuple[Problem, ...]


def read_manifest(text: str | bytes, source: str, kinds: Mapping[str, WatcherKind]) -> Reading:
    """Read a manifest and find all that is wrong with it. Never raises for bad input."""
    try:
        root = load(text)
    except BadInput as refusal:
        line = re.match(r"line (\d+): ", refusal.sentence)
        reason = refusal.sentence[line.end() if line else 0 :]
        return Reading(None, (Problem(int(line[1]) if line else 0, 0, Severity.ERROR, "", reason),))
    return read_node(root, source, kinds)


def read_node(root: Node, source: str, kinds: Mapping[str, WatcherKind]) -> Reading:
    """Read a manifest that is loaded already, or that a program made."""
    findings = Findings()
    if not isinstance(root.value, dict):
        findings.error(root, "", "a manifest is a map that begins with a name, version and initial_state")
        return Reading(None, tuple(findings.found))
    manifest = _manifest(Section(root, "", findings), source, kinds)
    return Reading(None if findings.errors else manifest, tuple(findings.in_order()))


def load_manifest(text: str | bytes, source: str, kinds: Mapping[str, WatcherKind]) -> Manifest:
    """Read a manifest; advice is not reported.

    Raises:
        BadInput: it cannot run; the sentence gives line, key and reason of the first error.
    """
    reading = read_manifest(text, source, kinds)
    if reading.manifest is None:
        raise BadInput(first_error(reading.problems, source))
    return reading.manifest


def first_error(problems: Iterable[Problem], source: str) -> str:
    """The sentence for what keeps a manifest from running."""
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    first = errors[0].sentence(source)
    return first if len(errors) == 1 else f"{first.removesuffix('.')} (and {len(errors) - 1} more)."


def _manifest(section: Section, source: str, kinds: Mapping[str, WatcherKind]) -> Manifest:
    name = section.name("name", required=True)
    version = section.text("version", required=True)
    if version and not _VERSION.fullmatch(version):
        section.advise("version", "Choria's schema wants three numbers, like 1.0.3")
    initial_state = section.name("initial_state", required=True)
    splay_start = section.integer("splay_start")
    if splay_start < 0:
        section.advise("splay_start", "a negative number of seconds means no delay")
    transitions = tuple(_transition(each) for each in section.sections("transitions", required=True))
    machine = Manifest(name, version, initial_state, transitions, (), max(splay_start, 0), source)
    watchers = _watchers(section, machine, kinds)
    section.report_unknown()
    return replace(machine, watchers=watchers)


def _watchers(section: Section, machine: Manifest, kinds: Mapping[str, WatcherKind]) -> tuple[WatcherDef, ...]:
    watchers: dict[str, WatcherDef] = {}
    for each in section.sections("watchers", required=True):
        watcher = _watcher(each, machine, kinds)
        if watcher is not None and watcher.name in watchers:
            each.error("name", f"another watcher is named {watcher.name[:40]!r}; give each a name of its own")
        elif watcher is not None:
            watchers[watcher.name] = watcher
    return tuple(watchers.values())


def _transition(section: Section) -> Transition:
    transition = Transition(
        name=section.name("name"),
        sources=section.names("from"),
        destination=section.name("destination"),
        description=section.text("description"),
        subscribe=tuple(
            Subscription(*_pair(each, "machine_name", "event", required=True)) for each in section.sections("subscribe")
        ),
    )
    if not transition.name:
        section.advise("name", "a transition without a name never fires; name it")
    if not transition.sources:
        section.advise("from", "a transition from no state never fires; list at least one")
    if not transition.destination:
        section.advise("destination", "it leads to a state without a name; give it one")
    section.report_unknown()
    return transition


def _pair(section: Section, first: str, second: str, *, required: bool) -> tuple[str, str]:
    pair = section.name(first, required=required), section.name(second, required=required)
    section.report_unknown()
    return pair


def _watcher(section: Section, machine: Manifest, kinds: Mapping[str, WatcherKind]) -> WatcherDef | None:
    name, type_ = section.name("name"), section.text("type")
    state_match = section.names("state_match")
    foreign = tuple(
        ForeignState(*_pair(each, "machine_name", "state", required=False))
        for each in section.sections("foreign_state_required")
    )
    success, fail = section.name("success_transition"), section.name("fail_transition")
    interval, announce = section.interval("interval"), section.interval("announce_interval")
    properties = section.entry("properties")
    _check_references(section, machine, state_match, {"success_transition": success, "fail_transition": fail})
    if announce and announce < _SHORTEST_ANNOUNCEMENT:
        section.error("announce_interval", "announcements are at least one minute apart; write 1m or more")
    kind = kinds.get(type_)
    if kind is None:
        section.error("type", why_missing(type_, kinds))
    section.report_unknown()
    if kind is None:
        return None
    interval = _interval(section, interval, kind.interval_rule)
    decoded = _properties(section, properties, kind)
    if decoded is None:
        return None
    leads_to = tuple(
        dict.fromkeys(each.destination for each in machine.transitions if success and each.name == success)
    )
    definition = WatcherDef(name, type_, decoded, state_match, foreign, success, fail, interval, announce, leads_to)
    for key, reason in kind.faults(definition):
        section.error(key, reason)
    return definition


def _check_references(
    section: Section, machine: Manifest, state_match: Iterable[str], transitions: Mapping[str, str]
) -> None:
    for state in state_match:
        if state not in machine.states:
            section.error("state_match", f"no transition has the state {state[:40]!r}; use one that is declared")
    declared = {transition.name for transition in machine.transitions}
    for key, transition in transitions.items():
        if transition and transition not in declared:
            section.error(key, f"there is no transition {transition[:40]!r}; use one that is declared")


def _interval(section: Section, interval: Duration, rule: IntervalRule) -> Duration:
    if not rule.used:
        if interval:
            section.advise("interval", "this type of watcher has no interval; remove it")
        return Duration(0)
    if not interval:
        if rule.required:
            section.error("interval", "this type of watcher needs an interval; give it one, like 30s")
        return parse_go(rule.default) if rule.default else interval
    minimum = parse_go(rule.minimum) if rule.minimum else Duration(1)
    if interval < minimum:
        section.error("interval", f"it is shorter than the {minimum} that this type allows; write a longer one")
    return interval


def _properties(section: Section, entry: Entry | None, kind: WatcherKind) -> Properties | None:
    node = entry.node if entry else Node({}, section.node.line, section.node.column)
    return decode(kind.schema, node, section.path("properties"), section.findings)
