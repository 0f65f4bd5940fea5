"""How the expression watcher judges its conditions, and what it fires."""

from __future__ import annotations

import pytest

from mra.errors import BadInput
from mra.machines.expressions.conditions import Firing, Judgement, Verdict, read_conditions
from mra.machines.expressions.environments import watcher_environment

SUCCESS, FAILED, NO_MATCH, SKIPPED, ERROR = Verdict


def judge(level: object, success_when: str = "data.level > 80", fail_when: str = "data.level < 20") -> Judgement:
    environment = watcher_environment(data={"level": level}, facts={}, identity="edge-07")
    return read_conditions(success_when, fail_when).judge(environment)


def test_the_first_condition_that_holds_wins() -> None:
    assert judge(90).verdict is SUCCESS
    assert judge(10).verdict is FAILED
    assert judge(50).verdict is NO_MATCH
    assert judge(50, "true", "true").verdict is SUCCESS


def test_either_condition_may_be_absent() -> None:
    assert judge(10, success_when="").verdict is FAILED
    assert judge(10, fail_when="").verdict is NO_MATCH
    with pytest.raises(BadInput, match="success_when or fail_when"):
        read_conditions()


@pytest.mark.parametrize(
    ("level", "success_when", "reason"),
    [(None, "data.level > 80", "nil > int"), (1, "data.level", "a bool is needed")],
)
def test_an_error_is_a_verdict_with_its_reason(level: object, success_when: str, reason: str) -> None:
    judgement = judge(level, success_when)
    assert judgement.verdict is ERROR
    assert reason in judgement.reason


def test_an_error_in_the_second_condition_does_not_matter_when_the_first_holds() -> None:
    assert judge(1, "true", "data.absent < 1").verdict is SUCCESS


@pytest.mark.parametrize("condition", ["data.level >", "dta.level > 1", "now() > 1", "has_file('x')"])
def test_a_condition_that_cannot_be_read_is_refused_at_load(condition: str) -> None:
    for properties in ({"success_when": condition}, {"fail_when": condition}):
        with pytest.raises(BadInput):
            read_conditions(**properties)


def test_matches_and_errors_are_published() -> None:
    assert [verdict for verdict in Verdict if Judgement(verdict).is_published] == [SUCCESS, FAILED, ERROR]


def test_a_transition_fires_only_when_the_verdict_changes() -> None:
    verdicts = [SUCCESS, SUCCESS, FAILED, FAILED, SUCCESS, NO_MATCH, SUCCESS, ERROR, SUCCESS, SKIPPED, FAILED]
    fired = [
        Judgement(verdict).firing_after(previous)
        for previous, verdict in zip([SKIPPED, *verdicts], verdicts, strict=False)
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


def test_verdicts_are_spelt_as_in_events() -> None:
    assert [str(verdict) for verdict in Verdict] == ["success_when", "failed_when", "no_match", "skipped", "error"]
