from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from mra.machines.definition import Manifest, Transition
from mra.machines.graph import dot, mermaid

PUMP = Manifest(
    "pump", "1.0.0", "off", (Transition("start", ("off", "fault"), "on"), Transition("trip", ("on",), "fault")), ()
)


def test_mermaid():
    assert mermaid(PUMP, "on") == (
        "stateDiagram-v2\n"
        '    state "off" as s0\n'
        '    state "fault" as s1\n'
        '    state "on" as s2\n'
        "    [*] --> s0\n"
        "    s0 --> s2: start\n"
        "    s1 --> s2: start\n"
        "    s2 --> s1: trip\n"
        "    classDef current stroke-width:4px\n"
        "    class s2 current\n"
    )


def test_dot():
    assert dot(PUMP, "off") == (
        'digraph "pump" {\n'
        "    rankdir=LR;\n"
        "    node [shape=box, style=rounded];\n"
        "    start [shape=point];\n"
        '    s0 [label="off", penwidth=4];\n'
        '    s1 [label="fault"];\n'
        '    s2 [label="on"];\n'
        "    start -> s0;\n"
        '    s0 -> s2 [label="start"];\n'
        '    s1 -> s2 [label="start"];\n'
        '    s2 -> s1 [label="trip"];\n'
        "}\n"
    )


@given(st.text(min_size=1), st.text(), st.text(min_size=1))
def test_names_cannot_break_out_of_the_drawing(initial, event, name):
    manifest = Manifest(name, "1", initial, (Transition(event, (initial,), initial),), ())
    assert len(mermaid(manifest).splitlines()) == 4
    lines = dot(manifest).splitlines()
    assert len(lines) == 8
    assert re.fullmatch(r'    s0 \[label="(?:[^"\\]|\\.)*"\];', lines[4])
