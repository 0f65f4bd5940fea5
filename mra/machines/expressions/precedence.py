"""How tightly operators bind. (pure)

The grammar hands over each operation as a flat list: operands, prefix operators and binary operators in the order they
were written. Three rules of expr-lang fit no layered grammar, which is why the list is folded here, by the classic
precedence climbing: comparisons chain (`1 < x < 5`), a pipe takes everything to its left at its level and its result
may be the left side of further operators, and `??` binds tightest but may not be followed by another operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mra.machines.expressions.syntax import Binary, Node, Unary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MOST_NESTED: Final = 100

PREFIX: Final[Mapping[str, int]] = {"not": 50, "-": 90, "+": 90}
BINARY: Final[Mapping[str, int]] = {
    "|": 0,
    "or": 10,
    "and": 15,
    **dict.fromkeys(("==", "!=", "<", ">", "<=", ">=", "in", "matches", "contains", "startsWith", "endsWith"), 20),
    "..": 25,
    "+": 30,
    "-": 30,
    "*": 60,
    "/": 60,
    "%": 60,
    "**": 100,
    "??": 500,
}
ORDERING: Final = frozenset({"<", ">", "<=", ">="})


class SyntaxFault(Exception):
    """The expression cannot be read on; becomes a `BadInput` that names the column."""

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(reason)
        self.at = at
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Operator:
    """A prefix or binary operator as it was written; `negated` for `not in` and its like."""

    at: int
    symbol: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class PipedCall:
    """The right side of a pipe: a call that still waits for its first argument."""

    at: int
    complete: Callable[[Node], Node]


def fold(parts: list[Node | Operator | PipedCall]) -> Node:
    """The tree of one flat operation. Raises `SyntaxFault`."""
    return _Folding(parts).climb(0, 0)


class _Folding:
    def __init__(self, parts: list[Node | Operator | PipedCall]) -> None:
        self.parts = parts
        self.at = 0

    def climb(self, lowest: int, nesting: int) -> Node:
        """Fold operators that bind at least as tightly as `lowest`."""
        left = self.operand(nesting)
        coalesced = False
        while isinstance(operator := self.peek(), Operator) and BINARY[operator.symbol] >= lowest:
            self.at += 1
            if operator.symbol == "|":
                left = self.pipe(left)
            elif coalesced and operator.symbol != "??":
                raise SyntaxFault(operator.at, f"{operator.symbol!r} after '??' needs parentheses to say what is meant")
            elif operator.symbol in ORDERING:
                left = self.ordering_chain(left, operator, nesting)
            else:
                left = self.binary(left, operator, nesting)
            coalesced = operator.symbol == "??"
        return left

    def operand(self, nesting: int) -> Node:
        part = self.take()
        if isinstance(part, Operator):
            if nesting > MOST_NESTED:
                raise SyntaxFault(part.at, f"more than {MOST_NESTED} operators are nested here")
            return Unary(part.at, part.symbol, self.climb(PREFIX[part.symbol], nesting + 1))
        assert not isinstance(part, PipedCall)
        return part

    def binary(self, left: Node, operator: Operator, nesting: int) -> Node:
        if nesting > MOST_NESTED:
            raise SyntaxFault(operator.at, f"more than {MOST_NESTED} operators are nested here")
        binding = BINARY[operator.symbol]
        to_the_right = operator.symbol == "**"
        right = self.climb(binding if to_the_right else binding + 1, nesting + 1)
        node = Binary(operator.at, operator.symbol, left, right)
        return Unary(operator.at, "not", node) if operator.negated else node

    def ordering_chain(self, left: Node, operator: Operator, nesting: int) -> Node:
        """`a < b <= c` means `a < b and b <= c`."""
        tree: Node | None = None
        while True:
            right = self.climb(BINARY[operator.symbol] + 1, nesting + 1)
            link = Binary(operator.at, operator.symbol, left, right)
            tree = link if tree is None else Binary(operator.at, "and", tree, link)
            following = self.peek()
            if not isinstance(following, Operator) or following.symbol not in ORDERING:
                return tree
            self.at += 1
            left, operator = right, following

    def pipe(self, left: Node) -> Node:
        call = self.take()
        assert isinstance(call, PipedCall)
        return call.complete(left)

    def peek(self) -> Node | Operator | PipedCall | None:
        return self.parts[self.at] if self.at < len(self.parts) else None

    def take(self) -> Node | Operator | PipedCall:
        self.at += 1
        return self.parts[self.at - 1]
