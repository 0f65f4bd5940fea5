from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mra.machines.definition import Manifest, Transition
from mra.machines.pace import QUIET_SECONDS, WAITS_MS, Pace
from mra.machines.states import Moved, StateMachine, Stayed, Undeclared

STATES = st.sampled_from(["off", "on", "fault", "idle"])
EVENTS = st.sampled_from(["start", "stop", "trip", "reset", "never"])
TRANSITIONS = st.lists(
    st.builds(Transition, EVENTS, st.lists(STATES, max_size=3).map(tuple), STATES), min_size=1, max_size=8
)


def machine(*transitions):
    return StateMachine.of(Manifest("pump", "1.0.0", "off", transitions, ()))


def test_an_event_moves_the_machine_where_it_is_declared():
    pump = machine(Transition("start", ("off", "fault"), "on"), Transition("stop", ("on",), "off"))
    step = pump.after("start")
    assert isinstance(step, Moved)
    assert (step.source, step.destination, step.machine.state) == ("off", "on", "on")
    assert pump.state == "off"
    assert step.machine.after("start") == Undeclared("start", "on")
    assert (pump.available, step.machine.available) == (("start",), ("stop",))


def test_an_event_may_be_declared_for_several_states_with_several_destinations():
    pump = machine(Transition("next", ("off",), "on"), Transition("next", ("on",), "idle"))
    assert pump.after("next").machine.after("next").destination == "idle"


def test_of_a_repeated_pair_the_last_one_counts():
    assert machine(Transition("go", ("off",), "on"), Transition("go", ("off",), "idle")).after("go").destination == (
        "idle"
    )


def test_a_transition_from_no_state_never_fires():
    assert machine(Transition("go", (), "on")).after("go") == Undeclared("go", "off")


@given(TRANSITIONS, st.lists(EVENTS, max_size=30))
def test_a_walk_follows_the_declarations_and_nothing_else(transitions, events):
    current = machine(*transitions)
    for event in events:
        declared = [t.destination for t in transitions if t.name == event and current.state in t.sources]
        match current.after(event):
            case Undeclared(state=state):
                assert declared == []
                assert state == current.state
            case Stayed(state=state):
                assert declared[-1] == state == current.state
            case Moved() as step:
                assert step.source == current.state != declared[-1]
                assert step.destination == step.machine.state == declared[-1]
                current = step.machine
        assert all(current.can(name) for name in current.available)


class PaceOverTime(RuleBasedStateMachine):
    """A reference with a real timer list: every wait fits the count since the last minute without a reset."""

    def __init__(self):
        super().__init__()
        self.now, self.pace, self.count, self.timer = 0.0, Pace(), 0, None

    @rule(pause=st.floats(0, 200), seed=st.integers())
    def fire(self, pause, seed):
        self.now += pause
        while self.timer is not None and self.now >= self.timer:
            self.count, self.timer = 0, self.timer + QUIET_SECONDS
        wait, self.pace = self.pace.next(self.now, random.Random(seed))
        base = WAITS_MS[min(self.count, 19)] / 1000 if self.count else 0
        assert base / 2 <= wait <= base * 1.5
        self.now += wait
        if self.count or self.timer is None:
            self.timer = self.now + QUIET_SECONDS
        self.count += 1

    @invariant()
    def counts_agree(self):
        assert self.pace.count == self.count


TestPaceOverTime = PaceOverTime.TestCase


def test_the_first_transition_does_not_wait_and_later_ones_do_up_to_five_seconds():
    class Middle:
        def randrange(self, stop):
            return stop // 2

    pace, waits = Pace(), []
    for _ in range(25):
        wait, pace = pace.next(0.0, Middle())
        waits.append(wait)
    assert waits[:4] == pytest.approx([0.0, 0.0245, 0.05, 0.0745], abs=0.001)
    assert waits[19:] == [5.0] * 6


def test_a_quiet_minute_restores_full_speed():
    _, pace = Pace().next(0.0)
    _, pace = pace.next(1.0)
    assert pace.count == 2
    wait, pace = pace.next(62.0)
    assert (wait, pace.count) == (0.0, 1)
