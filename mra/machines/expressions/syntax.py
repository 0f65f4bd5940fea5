"""The parts of a parsed expression. `at` is the offset in the source that a fault in this part is reported at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, string, boolean or nil."""

    at: int
    value: object


@dataclass(frozen=True, slots=True)
class Name:
    """A value of the environment."""

    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Pointer:
    """Inside a predicate: the element (empty name), its `index`, or the accumulator `acc`."""

    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Member:
    """`target.key` and `target[key]`; optional when written with `?.`."""

    at: int
    target: Node
    key: Node
    optional: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """Where a chain of members with `?.` in it ends: a nil met on the way makes the whole chain nil."""

    at: int
    target: Node


@dataclass(frozen=True, slots=True)
class Slice:
    """`target[start:stop]`."""

    at: int
    target: Node
    start: Node | None
    stop: Node | None


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a built-in function or of one that the environment offers."""

    at: int
    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Iteration:
    """A built-in function that evaluates a predicate for each element of a list."""

    at: int
    function: str
    source: Node
    predicate: Node | None
    initial: Node | None


@dataclass(frozen=True, slots=True)
class Unary:
    """`not x`, `-x`, `+x`."""

    at: int
    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """`left operator right`."""

    at: int
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Conditional:
    """`condition ? then : otherwise`."""

    at: int
    condition: Node
    then: Node
    otherwise: Node


@dataclass(frozen=True, slots=True)
class ListOf:
    """`[a, b]`."""

    at: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapOf:
    """`{a: b}`."""

    at: int
    pairs: tuple[tuple[str, Node], ...]


Node = (
    Literal | Name | Pointer | Member | Chain | Slice | Call | Iteration | Unary | Binary | Conditional | ListOf | MapOf
)


_PREDICATE_DEPTH = 3  # evaluating a predicate takes about three times the stack of any other part


class Place(NamedTuple):
    """A part of an expression with its depth in the tree, and whether a predicate surrounds it."""

    node: Node
    depth: int
    in_predicate: bool


def walk(root: Node) -> Iterator[Place]:
    """Every part with its place, parents first, without recursion: the tree may be deeper than Python's stack."""
    waiting = [Place(root, 1, in_predicate=False)]
    while waiting:
        place = waiting.pop()
        yield place
        waiting.extend(
            Place(child, place.depth + (_PREDICATE_DEPTH if is_predicate else 1), place.in_predicate or is_predicate)
            for child, is_predicate in _children(place.node)
        )


def _children(node: Node) -> Iterator[tuple[Node, bool]]:
    match node:
        case Member(target=target, key=key):
            children: tuple[Node | None, ...] = (target, key)
        case Chain(target=target):
            children = (target,)
        case Slice():
            children = (node.target, node.start, node.stop)
        case Call():
            children = node.arguments
        case Iteration():
            children = (node.source, node.initial)
            if node.predicate is not None:
                yield node.predicate, True
        case Unary():
            children = (node.operand,)
        case Binary():
            children = (node.left, node.right)
        case Conditional():
            children = (node.condition, node.then, node.otherwise)
        case ListOf():
            children = node.items
        case MapOf():
            children = tuple(value for _, value in node.pairs)
        case _:
            children = ()
    yield from ((child, False) for child in children if child is not None)
