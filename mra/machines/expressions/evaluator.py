"""Evaluating the parts of an expression against an environment. (pure)"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mra.machines.expressions import arithmetic, values
from mra.machines.expressions.budget import Budget, Fault
from mra.machines.expressions.functions import BUILTINS
from mra.machines.expressions.iteration import ITERATORS
from mra.machines.expressions.patterns import PatternError, is_match
from mra.machines.expressions.syntax import (
    Binary,
    Call,
    Chain,
    Conditional,
    Iteration,
    ListOf,
    Literal,
    MapOf,
    Member,
    Name,
    Node,
    Pointer,
    Slice,
    Unary,
)


@dataclass(frozen=True, slots=True)
class Function:
    """A function that an environment offers; no other Python callable can be called from an expression.

    Its steps are what one call costs beside its arguments. It raises `Fault` for arguments that it cannot use.
    """

    call: Callable[..., object]
    fewest: int
    most: int
    steps: int = 250


class _Broken:
    """Stands for a nil met by `?.`, on its way to the end of the chain."""


_BROKEN: Final = _Broken()


class Evaluation:
    """One run over a tree, with the elements that predicates are looking at."""

    def __init__(self, environment: Mapping[str, object], budget: Budget) -> None:
        self.environment = environment
        self.budget = budget
        self._scopes: list[_Scope] = []

    def evaluate(self, node: Node) -> Any:
        """The value of one part. Raises `Fault` with the offset of the innermost part that failed."""
        self.budget.spend()
        try:
            return _EVALUATE[type(node)](self, node)
        except Fault as fault:
            if fault.at is None:
                fault.at = node.at
            raise

    def literal(self, node: Literal) -> object:
        return node.value

    def name(self, node: Name) -> object:
        if node.name not in self.environment:
            raise Fault(f"there is no {node.name!r} here")
        return self.environment[node.name]

    def pointer(self, node: Pointer) -> object:
        scope = self._scopes[-1]
        return {"": scope.element, "index": scope.index, "acc": scope.accumulator}[node.name]

    def member(self, node: Member) -> object:
        target = self.evaluate(node.target)
        if target is _BROKEN or (node.optional and target is None):
            return _BROKEN
        return values.fetch(target, self.evaluate(node.key))

    def chain(self, node: Chain) -> object:
        value = self.evaluate(node.target)
        return None if value is _BROKEN else value

    def slice(self, node: Slice) -> object:
        target = self.evaluate(node.target)
        start = None if node.start is None else self.evaluate(node.start)
        stop = None if node.stop is None else self.evaluate(node.stop)
        if isinstance(target, Sequence):
            self.budget.hold(len(target))
        return values.cut(target, start, stop)

    def call(self, node: Call) -> object:
        arguments = [self.evaluate(argument) for argument in node.arguments]
        function = self.environment.get(node.function)
        if function is None and node.function in BUILTINS:
            return BUILTINS[node.function].call(self.budget, *arguments)
        if not isinstance(function, Function):
            raise Fault(f"there is no function {node.function!r} here")
        if not function.fewest <= len(arguments) <= function.most:
            raise Fault(f"{node.function!r} does not take {len(arguments)} arguments")
        self.budget.spend(function.steps)
        return function.call(*arguments)

    def iteration(self, node: Iteration) -> object:
        elements = values.array(self.evaluate(node.source))
        self.budget.hold(len(elements))
        if node.function == "reduce":
            return self.reduce(node, elements)
        predicate = node.predicate
        if predicate is None:
            return ITERATORS[node.function].run(elements, elements.__getitem__)
        return ITERATORS[node.function].run(
            elements, lambda index: self.within(_Scope(elements[index], index), predicate)
        )

    def reduce(self, node: Iteration, elements: Sequence[object]) -> object:
        assert node.predicate is not None
        if node.initial is not None:
            accumulator, first = self.evaluate(node.initial), 0
        elif elements:
            accumulator, first = elements[0], 1
        else:
            raise Fault("an empty array cannot be reduced without a first value")
        for index in range(first, len(elements)):
            accumulator = self.within(_Scope(elements[index], index, accumulator), node.predicate)
        return accumulator

    def within(self, scope: _Scope, predicate: Node) -> object:
        self._scopes.append(scope)
        try:
            return self.evaluate(predicate)
        finally:
            self._scopes.pop()

    def unary(self, node: Unary) -> object:
        operand = self.evaluate(node.operand)
        if node.operator == "not":
            return not values.boolean(operand)
        if values.number(operand) is None:
            raise Fault(f"{node.operator}{values.kind(operand)} is not defined")
        return arithmetic.negate(operand) if node.operator == "-" else operand

    def binary(self, node: Binary) -> object:
        left = self.evaluate(node.left)
        match node.operator:
            case "and":
                return values.boolean(left) and values.boolean(self.evaluate(node.right))
            case "or":
                return values.boolean(left) or values.boolean(self.evaluate(node.right))
            case "??":
                return self.evaluate(node.right) if left is None else left
        return self.operate(node.operator, left, self.evaluate(node.right))

    def operate(self, operator: str, left: object, right: object) -> object:
        match operator:
            case "==":
                return values.equal(left, right, self.budget)
            case "!=":
                return not values.equal(left, right, self.budget)
            case "<" | "<=" | ">" | ">=":
                return values.ordered(operator, left, right)
            case "in":
                return values.contains(right, left, self.budget)
            case "matches" | "contains" | "startsWith" | "endsWith":
                return self.compare_text(operator, left, right)
            case "..":
                return self.range(values.integer(left), values.integer(right))
            case _:
                return arithmetic.calculate(operator, left, right, self.budget)

    def compare_text(self, operator: str, left: object, right: object) -> bool:
        if left is None or right is None:
            return False
        subject, part = values.text(left), values.text(right)
        self.budget.spend(1 + len(subject) // 256)
        match operator:
            case "contains":
                return part in subject
            case "startsWith":
                return subject.startswith(part)
            case "endsWith":
                return subject.endswith(part)
        try:
            return is_match(part, subject)
        except PatternError as reason:
            raise Fault(str(reason)) from None

    def range(self, first: int, last: int) -> list[int]:
        self.budget.hold(max(0, last - first + 1))
        return list(range(first, last + 1))

    def conditional(self, node: Conditional) -> object:
        return self.evaluate(node.then if values.boolean(self.evaluate(node.condition)) else node.otherwise)

    def list_of(self, node: ListOf) -> object:
        return [self.evaluate(item) for item in node.items]

    def map_of(self, node: MapOf) -> object:
        return {key: self.evaluate(value) for key, value in node.pairs}


@dataclass(frozen=True, slots=True)
class _Scope:
    element: object
    index: int
    accumulator: object = None


_EVALUATE: Final[Mapping[type, Callable[[Evaluation, Any], object]]] = {
    Literal: Evaluation.literal,
    Name: Evaluation.name,
    Pointer: Evaluation.pointer,
    Member: Evaluation.member,
    Chain: Evaluation.chain,
    Slice: Evaluation.slice,
    Call: Evaluation.call,
    Iteration: Evaluation.iteration,
    Unary: Evaluation.unary,
    Binary: Evaluation.binary,
    Conditional: Evaluation.conditional,
    ListOf: Evaluation.list_of,
    MapOf: Evaluation.map_of,
}
