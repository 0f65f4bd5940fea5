"""Fires transitions when conditions on data and facts come to hold (section 3.7 of the reference)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from mra.errors import BadInput, MraError
from mra.machines.decode import Properties, text
from mra.machines.expressions.conditions import Firing, Judgement, Verdict, read_conditions
from mra.machines.expressions.environments import watcher_environment
from mra.machines.manifest import IntervalRule
from mra.machines.watchers.base import Outcome
from mra.machines.watchers.polling import PollingWatcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mra.machines.context import Context
    from mra.machines.definition import WatcherDef


class ExpressionProperties(Properties):
    """At least one condition, in the language of `mra.machines.expressions`."""

    success_when: str = text()
    fail_when: str = text()

    def faults(self) -> Iterator[tuple[str, str]]:
        if not self.success_when and not self.fail_when:
            yield "success_when", "an expression watcher needs success_when or fail_when; give one of them"
        for key, condition in (("success_when", self.success_when), ("fail_when", self.fail_when)):
            try:
                read_conditions(condition or "true")
            except BadInput as refusal:
                yield key, refusal.sentence


class ExpressionWatcher(PollingWatcher[ExpressionProperties]):
    """Judges its conditions against the data, the facts and the identity of the moment.

    The outcome of the evaluation before is what makes a transition fire or not, and being inactive forgets it.
    """

    kind: ClassVar[str] = "expression"
    schema: ClassVar[type[Properties]] = ExpressionProperties
    interval_rule: ClassVar[IntervalRule] = IntervalRule(default="10s", minimum="500ms")
    first_outcome: ClassVar[str] = Verdict.SKIPPED

    def __init__(self, definition: WatcherDef, context: Context) -> None:
        super().__init__(definition, context)
        self._conditions = read_conditions(self.properties.success_when, self.properties.fail_when)

    async def evaluate(self) -> Outcome:
        """Judge once. An error is announced, fires nothing, and forgets what the outcome before was."""
        judgement = self._judge()
        transition = {
            Firing.SUCCESS: self.definition.success_transition,
            Firing.FAIL: self.definition.fail_transition,
            Firing.NOTHING: "",
        }[judgement.firing_after(Verdict(self.outcome))]
        return Outcome(judgement.verdict, judgement.is_published, transition, judgement.reason)

    def report(self) -> Mapping[str, Any]:
        """The outcome of the last evaluation, under the name that Choria gives it."""
        return {"previous_outcome": self.outcome}

    def _judge(self) -> Judgement:
        try:
            facts = self.context.services.facts()
        except (MraError, OSError) as fault:
            return Judgement(Verdict.ERROR, str(fault))
        data = self.context.data.copy()
        return self._conditions.judge(
            watcher_environment(data=data, facts=facts, identity=self.context.origin.identity)
        )
