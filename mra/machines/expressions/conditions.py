"""The rules of the expression watcher: two conditions, and what follows from how they come out (section 3.7). (pure)"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from mra.errors import BadInput
from mra.machines.expressions.environments import WATCHER_NAMES
from mra.machines.expressions.expression import EvaluationError, Expression, compile_expression

if TYPE_CHECKING:
    from collections.abc import Mapping


class Verdict(StrEnum):
    """What one evaluation came to, spelt as in events (`failed_when` beside the property `fail_when`, sic)."""

    SUCCESS_WHEN = "success_when"
    FAILED_WHEN = "failed_when"
    NO_MATCH = "no_match"
    SKIPPED = "skipped"
    ERROR = "error"


class Firing(Enum):
    """Which of the watcher's transitions an evaluation calls for."""

    NOTHING = "nothing"
    SUCCESS = "success_transition"
    FAIL = "fail_transition"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and, for an error, the sentence that explains it."""

    verdict: Verdict
    reason: str = ""

    @property
    def is_published(self) -> bool:
        """Every match and every error is an event; no match and being inactive are silent."""
        return self.verdict in (Verdict.SUCCESS_WHEN, Verdict.FAILED_WHEN, Verdict.ERROR)

    def firing_after(self, previous: Verdict) -> Firing:
        """Transitions are edge-triggered: only a verdict that the evaluation before did not have fires."""
        if self.verdict is previous:
            return Firing.NOTHING
        return _FIRINGS.get(self.verdict, Firing.NOTHING)


_FIRINGS = {Verdict.SUCCESS_WHEN: Firing.SUCCESS, Verdict.FAILED_WHEN: Firing.FAIL}


@dataclass(frozen=True, slots=True)
class Conditions:
    """The two conditions of a watcher, at least one of which is there."""

    success_when: Expression | None
    fail_when: Expression | None

    def judge(self, environment: Mapping[str, object]) -> Judgement:
        """Success is asked first, and the first condition that holds wins. An error is a verdict, not an exception."""
        try:
            if self.success_when is not None and self.success_when.evaluate_boolean(environment):
                return Judgement(Verdict.SUCCESS_WHEN)
            if self.fail_when is not None and self.fail_when.evaluate_boolean(environment):
                return Judgement(Verdict.FAILED_WHEN)
        except EvaluationError as error:
            return Judgement(Verdict.ERROR, error.sentence)
        return Judgement(Verdict.NO_MATCH)


def read_conditions(success_when: str = "", fail_when: str = "") -> Conditions:
    """Compile the properties of a watcher; empty means absent. Raises `BadInput`.

    Choria compiles at each evaluation, so that a typing error only shows once the watcher runs; here it shows at load.
    """
    if not success_when and not fail_when:
        raise BadInput("an expression watcher needs success_when or fail_when")
    return Conditions(
        compile_expression(success_when, WATCHER_NAMES) if success_when else None,
        compile_expression(fail_when, WATCHER_NAMES) if fail_when else None,
    )
