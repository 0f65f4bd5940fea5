from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.machines import decode
from mra.machines.decode import Properties
from mra.machines.document import from_plain, load
from mra.machines.durations import Duration, parse_go
from mra.machines.problems import Findings, Severity


class Pump(Properties):
    command: str = decode.text(required=True)
    timeout: Duration = decode.duration("1s")
    quiet: bool = decode.flag()
    level: int = decode.integer(7)
    environment: tuple[str, ...] = decode.texts()
    labels: dict[str, str] = decode.text_map()
    manifest: dict[str, object] = decode.mapping()

    def faults(self):
        if self.quiet and self.labels:
            yield "labels", "a quiet pump has no labels"


def read(text):
    findings = Findings()
    return decode.decode(Pump, load(text), "properties", findings), list(findings.in_order())


def value_of(key, written):
    properties, problems = read(f"{key}: {written}\n" + ("" if key == "command" else "command: x\n"))
    assert not [problem for problem in problems if problem.severity is Severity.ERROR], problems
    return getattr(properties, key)


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("command", "12", "12"),
        ("command", "0640", "416"),
        ("command", "true", "1"),
        ("command", "1.0", "1"),
        ("command", "1.50", "1.5"),
        ("command", "1.5e-7", "0.00000015"),
        ("command", ".inf", "+Inf"),
        ("command", ".nan", "NaN"),
        ("quiet", '"true"', True),
        ("quiet", '"T"', True),
        ("quiet", "'0'", False),
        ("quiet", "''", False),
        ("quiet", "2", True),
        ("quiet", "0.0", False),
        ("level", '"0x10"', 16),
        ("level", '"010"', 8),
        ("level", "3.9", 3),
        ("level", "true", 1),
        ("level", "~", 7),
        ("timeout", "2m", parse_go("2m")),
        ("timeout", "5", Duration(5)),
        ("timeout", "~", parse_go("1s")),
        ("environment", "A=1", ("A=1",)),
        ("environment", "[A=1, 2, true]", ("A=1", "2", "1")),
        ("environment", "{}", ()),
        ("labels", "{a: 1, b: x}", {"a": "1", "b": "x"}),
        ("labels", "[]", {}),
        ("manifest", "{a: [1, {b: on}]}", {"a": [1, {"b": "on"}]}),
    ],
)
def test_values_decode_as_weakly_as_in_choria(key, written, value):
    assert value_of(key, written) == value


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("command", "[a]"),
        ("command", "{a: b}"),
        ("quiet", "yes"),
        ("quiet", "[true]"),
        ("level", "x"),
        ("level", ".inf"),
        ("level", "99999999999999999999"),
        ("timeout", "1d"),
        ("timeout", "''"),
        ("timeout", "true"),
        ("environment", "[[a]]"),
        ("environment", "{a: b}"),
        ("labels", "[a]"),
        ("labels", "{a: [b]}"),
        ("manifest", "text"),
    ],
)
def test_what_cannot_be_read_is_an_error_at_its_line(key, written):
    properties, problems = read(f"x: y\n{key}: {written}\n" if key == "command" else f"command: x\n{key}: {written}\n")
    assert properties is None
    assert [(p.line, p.key) for p in problems if p.severity is Severity.ERROR] == [(2, f"properties.{key}")]


def test_keys_match_in_any_case_and_exactly_first():
    properties, problems = read("Command: x\nQUIET: true\nlevel: 1\nLevel: 2\n")
    assert (properties.command, properties.quiet, properties.level) == ("x", True, 1)
    assert [(p.line, p.key, p.severity) for p in problems] == [(4, "properties.Level", Severity.ADVICE)]
    properties, _ = read("command: x\nLevel: 2\nlevel: 1\n")
    assert properties.level == 1


def test_unknown_keys_are_advice_that_names_the_likely_one():
    properties, problems = read("command: x\n\ntimout: 5s\nzebra: 1\n")
    assert properties == Pump(command="x")
    assert [p.sentence("machine.yaml") for p in problems] == [
        "machine.yaml:3: properties.timout: nothing reads this; did you mean timeout.",
        "machine.yaml:4: properties.zebra: nothing reads this; remove it.",
    ]


def test_a_number_without_a_unit_is_taken_as_nanoseconds_and_reported():
    properties, problems = read("command: x\ntimeout: 30\n")
    assert properties.timeout == Duration(30)
    assert [p.severity for p in problems] == [Severity.ADVICE]


@pytest.mark.parametrize("written", ["", "command:", "command: ''"])
def test_a_required_property_that_is_absent_or_empty_is_an_error(written):
    properties, problems = read(f"level: 1\n{written}\n")
    assert properties is None
    assert "required" in problems[0].reason


def test_faults_between_properties_are_found_once_each_value_is_right():
    properties, problems = read("command: x\nquiet: true\nlabels: {a: b}\n")
    assert properties is None
    assert problems[0].sentence("m") == "m:3: properties.labels: a quiet pump has no labels."


def test_all_wrong_values_are_found_at_once():
    _, problems = read("command: x\nquiet: yes\nlevel: x\ntimeout: x\n")
    assert [p.line for p in problems] == [2, 3, 4]


def test_properties_that_are_no_map_are_an_error():
    properties, problems = read("[a]")
    assert properties is None
    assert "map of properties" in problems[0].reason


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["command", "timeout", "quiet", "level", "environment", "labels"]), anything))
def test_any_values_decode_or_are_reported(values):
    findings = Findings()
    with suppress(BadInput):
        properties = decode.decode(Pump, from_plain(values), "properties", findings)
        assert (properties is None) == bool(findings.errors)
