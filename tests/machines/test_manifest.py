from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.machines import decode
from mra.machines.decode import Properties
from mra.machines.definition import ForeignState, Subscription, Transition
from mra.machines.document import from_plain
from mra.machines.durations import parse_go
from mra.machines.manifest import IntervalRule, load_manifest, read_manifest, read_node
from mra.machines.problems import Severity


class ProbeProperties(Properties):
    command: str = decode.text(required=True)


class Probe:
    schema = ProbeProperties
    interval_rule = IntervalRule(default="5s", minimum="500ms")

    @classmethod
    def faults(cls, definition):
        if definition.properties.command == definition.name:
            yield "name", "the command has the same name"


class Poll(Probe):
    interval_rule = IntervalRule(required=True)


class Clockless(Probe):
    interval_rule = IntervalRule(used=False)


KINDS = {"probe": Probe, "poll": Poll, "clockless": Clockless}

PUMP = """\
name: pump_guard
version: 1.4.0
initial_state: off
splay_start: 5
transitions:
  - name: start
    from: [off, fault]
    destination: on
    description: somebody turned the pump on
    subscribe:
      - machine_name: tank
        event: low
  - name: stop
    from: [on]
    destination: off
watchers:
  - name: level
    type: probe
    interval: 1m
    announce_interval: 1h
    state_match: [on]
    foreign_state_required:
      - machine_name: tank
        state: filled
    success_transition: stop
    fail_transition: start
    properties:
      command: ./level.sh
"""


def problems(text):
    reading = read_manifest(text, "machine.yaml", KINDS)
    assert (reading.manifest is None) == any(p.severity is Severity.ERROR for p in reading.problems)
    return [(p.line, p.key, str(p.severity)) for p in reading.problems]


def test_a_whole_manifest_is_read():
    manifest = load_manifest(PUMP, "machine.yaml", KINDS)
    assert (manifest.name, manifest.version, manifest.initial_state, manifest.splay_start) == (
        "pump_guard",
        "1.4.0",
        "off",
        5,
    )
    assert manifest.states == ("off", "fault", "on")
    assert manifest.transitions[0] == Transition(
        "start", ("off", "fault"), "on", "somebody turned the pump on", (Subscription("tank", "low"),)
    )
    assert manifest.subscriptions == {Subscription("tank", "low"): ("start",)}
    (watcher,) = manifest.watchers
    assert watcher.foreign_state_required == (ForeignState("tank", "filled"),)
    assert (watcher.interval, watcher.announce_interval) == (parse_go("1m"), parse_go("1h"))
    assert (watcher.success_transition, watcher.fail_transition) == ("stop", "start")
    assert watcher.properties.command == "./level.sh"
    assert problems(PUMP) == []


def edited(old, new):
    assert old in PUMP
    return PUMP.replace(old, new)


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        (edited("name: pump_guard\n", ""), 1, "name"),
        (edited("version: 1.4.0", "version:"), 1, "version"),
        (edited("initial_state: off", "initial_state: ''"), 3, "initial_state"),
        (edited("splay_start: 5", "splay_start: soon"), 4, "splay_start"),
        (edited("[off, fault]", "off"), 7, "transitions[0].from"),
        (edited("name: start", "name: [start]"), 6, "transitions[0].name"),
        (edited("        event: low\n", ""), 11, "transitions[0].subscribe[0].event"),
        (edited("type: probe", "type: prob"), 18, "watchers[0].type"),
        (edited("interval: 1m\n", "interval: 100ms\n"), 19, "watchers[0].interval"),
        (edited("interval: 1m\n", "interval: 30\n"), 19, "watchers[0].interval"),
        (edited("announce_interval: 1h", "announce_interval: 59s"), 20, "watchers[0].announce_interval"),
        (edited("state_match: [on]", "state_match: [up]"), 21, "watchers[0].state_match"),
        (edited("success_transition: stop", "success_transition: halt"), 25, "watchers[0].success_transition"),
        (edited("fail_transition: start", "fail_transition: halt"), 26, "watchers[0].fail_transition"),
        (edited("      command: ./level.sh\n", "      other: 1\n"), 28, "watchers[0].properties.command"),
        (edited("command: ./level.sh", "command: level"), 17, "watchers[0].name"),
        (edited("    properties:\n      command: ./level.sh\n", ""), 17, "watchers[0].properties.command"),
        (edited("type: probe\n    interval: 1m\n", "type: poll\n"), 17, "watchers[0].interval"),
        (PUMP + "  - name: level\n    type: probe\n    properties: {command: x}\n", 29, "watchers[1].name"),
        (PUMP + "  - text\n", 29, "watchers[1]"),
        ("- a\n", 1, ""),
        ("a: [\n", 2, ""),
        ("", 0, "name"),
    ],
)
def test_what_keeps_a_manifest_from_running_is_named_with_line_and_key(text, line, key):
    assert (line, key, "error") in problems(text)
    with pytest.raises(BadInput, match=f"machine.yaml:{line}: " if line else "machine.yaml: "):
        load_manifest(text, "machine.yaml", KINDS)


def test_empty_lists_of_transitions_and_watchers_are_errors():
    text = "name: aa\nversion: 1.0.0\ninitial_state: aa\ntransitions: []\nwatchers:\n"
    assert problems(text) == [(1, "watchers", "error"), (4, "transitions", "error")]


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        (edited("name: pump_guard", "name: 1pump"), 1, "name"),
        (edited("version: 1.4.0", "version: 1.40"), 2, "version"),
        (edited("splay_start: 5", "splay_start: -5"), 4, "splay_start"),
        (edited("splay_start: 5", "splay: 5"), 4, "splay"),
        (edited("[off, fault]", "[]"), 7, "transitions[0].from"),
        (edited("interval: 1m\n", "interval: 1d\n"), 19, "watchers[0].interval"),
        (edited("description:", "descriptoin:"), 9, "transitions[0].descriptoin"),
        (edited("state: filled", "state: filled\n        event: x"), 25, "watchers[0].foreign_state_required[0].event"),
        (edited("success_transition", "succes_transition"), 25, "watchers[0].succes_transition"),
        (edited("command: ./level.sh", "command: ./level.sh\n      tiemout: 5s"), 29, "watchers[0].properties.tiemout"),
        (edited("- machine_name: tank\n        e", "  machine_name: tank\n        e"), 10, "transitions[0].subscribe"),
        (edited("type: probe", "type: clockless"), 19, "watchers[0].interval"),
    ],
)  # fmt: skip
def test_what_runs_but_is_questionable_is_advice(text, line, key):
    assert problems(text) == [(line, key, "advice")]
    load_manifest(text, "machine.yaml", KINDS)


def test_all_problems_are_found_in_the_order_of_the_file():
    text = (
        edited("version: 1.4.0", "version: ''")
        .replace("type: probe", "type: nope")
        .replace("state_match: [on]", "state_match: [up]")
    )
    assert problems(text) == [
        (2, "version", "error"),
        (18, "watchers[0].type", "error"),
        (21, "watchers[0].state_match", "error"),
    ]
    with pytest.raises(BadInput, match=r"^machine.yaml:2: version: it is required; give it a value \(and 2 more\)\.$"):
        load_manifest(text, "machine.yaml", KINDS)


def test_a_version_keeps_the_digits_it_was_written_with():
    assert load_manifest(edited("version: 1.4.0", "version: 1.10"), "m", KINDS).version == "1.10"


def test_the_default_interval_of_a_type_applies_where_none_is_given():
    assert load_manifest(edited("    interval: 1m\n", ""), "m", KINDS).watchers[0].interval == parse_go("5s")


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_mutilated_manifest_reads_or_is_refused_in_one_line(data):
    start = data.draw(st.integers(0, len(PUMP)))
    end = data.draw(st.integers(start, min(len(PUMP), start + 30)))
    filling = data.draw(st.text(alphabet=string.printable + "é\x00", max_size=8))
    reading = read_manifest(PUMP[:start] + filling + PUMP[end:], "machine.yaml", KINDS)
    assert reading.manifest is not None or reading.problems
    assert all("\n" not in problem.sentence("m") for problem in reading.problems)


VALUES = st.sampled_from(
    [None, True, 0, -1, 2.5, "", "x", "1m", "off", [], [None], ["x"], [["x"]], {}, {"name": "x"}, [{}]]
)
KEYS = st.sampled_from(
    [
        *("name", "version", "initial_state", "splay_start", "transitions", "watchers", "from", "destination"),
        *("subscribe", "machine_name", "event", "type", "interval", "announce_interval", "state_match"),
        *("foreign_state_required", "properties", "command"),
    ]
)
SECTIONS = st.dictionaries(KEYS, VALUES | st.lists(st.dictionaries(KEYS, VALUES, max_size=6), max_size=3))


@settings(max_examples=400, deadline=None)
@given(SECTIONS)
def test_values_of_any_type_anywhere_read_or_are_refused(root):
    reading = read_node(from_plain(root), "program", KINDS)
    assert (reading.manifest is None) == any(p.severity is Severity.ERROR for p in reading.problems)
