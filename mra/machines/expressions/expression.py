"""A compiled expression."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from mra.errors import BadInput, Refused
from mra.machines.expressions.budget import Budget, Fault
from mra.machines.expressions.evaluator import Evaluation
from mra.machines.expressions.functions import BUILTINS
from mra.machines.expressions.parser import excerpt, parse, position
from mra.machines.expressions.syntax import Call, Name, Node, walk
from mra.machines.expressions.values import kind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class EvaluationError(Refused):
    """An expression has no value here: the sentence names the expression, the column and the reason."""


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression ready to be evaluated, any number of times, against any environment."""

    source: str
    root: Node = field(repr=False)

    def evaluate(self, environment: Mapping[str, object], budget: Budget | None = None) -> object:
        """The value: JSON-like, or whatever a function of the environment returned.

        Args:
            environment: JSON-like values and `Function`s by name; nothing else can be reached.
            budget: what the evaluation may cost, when several share one; else a fresh one with the usual limits.

        Raises `EvaluationError`. Takes no more than the budget, whatever the expression says.
        """
        try:
            return Evaluation(environment, budget or Budget()).evaluate(self.root)
        except Fault as fault:
            where = position(self.source, fault.at or 0)
            raise EvaluationError(f"expression {excerpt(self.source)}, {where}: {fault.reason}") from None

    def evaluate_boolean(self, environment: Mapping[str, object], budget: Budget | None = None) -> bool:
        """The value, which has to be a boolean. Raises `EvaluationError`."""
        value = self.evaluate(environment, budget)
        if not isinstance(value, bool):
            raise EvaluationError(f"expression {excerpt(self.source)} gives {kind(value)}, a bool is needed")
        return value


def compile_expression(source: str, names: Collection[str] | None = None) -> Expression:
    """Read an expression.

    Args:
        source: the text.
        names: what the environment will offer; when given, every other name is refused now rather than at run time.

    Raises `BadInput` naming the column and what is wrong or not supported there.
    """
    expression = _compile(source)
    if names is not None:
        _check_names(expression, names)
    return expression


@lru_cache(maxsize=1024)
def _compile(source: str) -> Expression:
    return Expression(source, parse(source))


def _check_names(expression: Expression, names: Collection[str]) -> None:
    for node, _, _ in walk(expression.root):
        match node:
            case Name(at=at, name=name):
                unknown = name not in names
            case Call(at=at, function=name):
                unknown = name not in names and name not in BUILTINS
            case _:
                continue
        if unknown:
            known = ", ".join(sorted(names))
            where = position(expression.source, at)
            raise BadInput(f"expression {excerpt(expression.source)}, {where}: there is no {name!r}, only {known}")
