"""How the expression watcher judges its conditions, and what it fires."""

from __future__ import annotations

import pytest

from mra.errors import BadInput
from mra.machines.expressions.conditions import Firing, Judgement, Outcome, read_conditions
from mra.machines.expressions.environments import watcher_environment

SUCCESS, FAILED, NO_MATCH, SKIPPED, ERROR = Outcome


def judge(level: object, success_when: str = "data.level > 80", fail_when: str = "data.level < 20") -> Judgement:
    environment = watcher_environment(data={"level": level}, facts={}, identity="edge-07")
    return read_conditions(success_when, fail_when).judge(environment)


def test_the_first_condition_that_holds_wins() -> None:
    assert judge(90).outcome is SUCCESS
    assert judge(10).outcome is FAILED
    assert judge(50).outcome is NO_MATCH
    assert judge(50, "true", "true").outcome is SUCCESS


def test_either_condition_may_be_absent() -> None:
    assert judge(10, success_when="").outcome is FAILED
    assert judge(10, fail_when="").outcome is NO_MATCH
    with pytest.raises(BadInput, match="success_when or fail_when"):
        read_conditions()


@pytest.mark.parametrize(
    ("level", "success_when", "reason"),
    [(None, "data.level > 80", "nil > int"), (1, "data.level", "a bool is needed")],
)
def test_an_error_is_an_outcome_with_its_reason(level: object, success_when: str, reason: str) -> None:
    judgement = judge(level, success_when)
    assert judgement.outcome is ERROR
    assert reason in judgement.reason


def test_an_error_in_the_second_condition_does_not_matter_when_the_first_holds() -> None:
    assert judge(1, "true", "data.absent < 1").outcome is SUCCESS


@pytest.mark.parametrize("condition", ["data.level >", "dta.level > 1", "now() > 1", "has_file('x')"])
def test_a_condition_that_cannot_be_read_is_refused_at_load(condition: str) -> None:
    for properties in ({"success_when": condition}, {"fail_when": condition}):
        with pytest.raises(BadInput):
            read_conditions(**properties)


def test_matches_and_errors_are_published() -> None:
    assert [outcome for outcome in Outcome if Judgement(outcome).is_published] == [SUCCESS, FAILED, ERROR]


def test_a_transition_fires_only_when_the_outcome_changes() -> None:
    outcomes = [SUCCESS, SUCCESS, FAILED, FAILED, SUCCESS, NO_MATCH, SUCCESS, ERROR, SUCCESS, SKIPPED, FAILED]
    fired = [
        Judgement(outcome).firing_after(previous)
        for previous, outcome in zip([SKIPPED, *outcomes], outcomes, strict=False)
    ]
    assert fired == [
        Firing.SUCCESS,
        Firing.NOTHING,
        Firing.FAIL,
        Firing.NOTHING,
        Firing.SUCCESS,
        Firing.NOTHING,
        Firing.SUCCESS,
        Firing.NOTHING,
        Firing.SUCCESS,
        Firing.NOTHING,
        Firing.FAIL,
    ]


def test_outcomes_are_spelt_as_in_events() -> None:
    assert [str(outcome) for outcome in Outcome] == ["success_when", "failed_when", "no_match", "skipped", "error"]
