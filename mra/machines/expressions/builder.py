"""The parser's callbacks: each makes one part of the tree from the parts below it. (pure)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lark import Token, Transformer
from lark.visitors import v_args

from mra.machines.expressions import literals
from mra.machines.expressions.functions import BUILTINS, UNSUPPORTED
from mra.machines.expressions.iteration import ITERATORS
from mra.machines.expressions.precedence import Operator, PipedCall, SyntaxFault, fold
from mra.machines.expressions.syntax import (
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
)

if TYPE_CHECKING:
    from collections.abc import Callable

POINTERS: Final = frozenset({"", "index", "acc"})
OPERATOR_WORDS: Final = frozenset({"in", "not", "and", "or", "matches", "contains", "startsWith", "endsWith"})
STATEMENT_WORDS: Final = frozenset({"let", "if", "else"})
_SPELLINGS: Final = {"!": "not", "&&": "and", "||": "or", "^": "**"}
_CONSTANTS: Final = {"true": True, "false": False, "nil": None}


@dataclass(frozen=True, slots=True)
class Block:
    """`{ … }` around a predicate."""

    node: Node


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A call before it is known whether a pipe brings its first argument."""

    name: Token
    arguments: tuple[Node | Block, ...]


@v_args(inline=True)
class Builder(Transformer[Token, Node]):
    """Holds nothing: one builder serves every expression."""

    def start(self, expression: Node) -> Node:
        return expression

    def conditional(self, condition: Node, then: Node, otherwise: Node) -> Node:
        return Conditional(condition.at, condition, then, otherwise)

    def otherwise(self, condition: Node, otherwise: Node) -> Node:
        return Conditional(condition.at, condition, condition, otherwise)

    def operation(self, *parts: Node | Operator | tuple[Operator, PipedCall]) -> Node:
        flat: list[Node | Operator | PipedCall] = []
        for part in parts:
            flat.extend(part) if isinstance(part, tuple) else flat.append(part)
        return fold(flat)

    def prefix(self, token: Token) -> Operator:
        return Operator(_at(token), _SPELLINGS.get(token, str(token)))

    def binary(self, token: Token) -> Operator:
        return Operator(_at(token), _SPELLINGS.get(token, str(token)))

    def negated(self, _token: Token, word: Token) -> Operator:
        return Operator(_at(word), str(word), negated=True)

    def piped(self, token: Token, call: WrittenCall) -> tuple[Operator, PipedCall]:
        return Operator(_at(token), "|"), PipedCall(_at(call.name), lambda left: _complete(call, (left,)))

    def call(self, name: Token, *arguments: Node | Block) -> WrittenCall:
        return WrittenCall(name, arguments)

    def plain_call(self, call: WrittenCall) -> Node:
        return _complete(call, ())

    def method_call(self, _target: Node, name: Token, *_arguments: Node | Block) -> Node:
        raise SyntaxFault(_at(name), f"methods such as {str(name)!r} are not supported")

    def block(self, node: Node) -> Block:
        return Block(node)

    def member(self, target: Node, name: Token) -> Node:
        return _member(target, name, optional=False)

    def optional_member(self, target: Node, name: Token) -> Node:
        return _member(target, name, optional=True)

    def item(self, target: Node, key: Node) -> Node:
        return Member(key.at, target, key, optional=False)

    def optional_item(self, target: Node, key: Node) -> Node:
        return Chain(key.at, Member(key.at, target, key, optional=True))

    def slice(self, target: Node, start: Node | None, colon: Token, stop: Node | None) -> Node:
        return Slice(_at(colon), target, start, stop)

    def pointer_member(self, name: Token) -> Node:
        return _member(Pointer(_at(name), ""), name, optional=False)

    def pointer(self, token: Token) -> Node:
        if token[1:] not in POINTERS:
            raise SyntaxFault(_at(token), f"{str(token)!r} does not exist; there are '#', '#index' and '#acc'")
        return Pointer(_at(token), token[1:])

    def list(self, *items: Node) -> Node:
        return ListOf(items[0].at if items else 0, items)

    def map(self, *pairs: tuple[str, Node]) -> Node:
        return MapOf(pairs[0][1].at if pairs else 0, pairs)

    def pair(self, key: Token, value: Node) -> tuple[str, Node]:
        readers: dict[str, Callable[[str], str]] = {
            "STRING": literals.read_string,
            "RAW_STRING": literals.read_raw_string,
        }
        return str(_read(key, readers.get(key.type, str))), value

    def name(self, token: Token) -> Node:
        if token in OPERATOR_WORDS | STATEMENT_WORDS:
            raise SyntaxFault(_at(token), f"unexpected {str(token)!r}")
        if token.startswith("$"):
            raise SyntaxFault(_at(token), f"{str(token)!r} is not supported")
        return Name(_at(token), str(token))

    def number(self, token: Token) -> Node:
        return Literal(_at(token), _read(token, literals.read_number))

    def string(self, token: Token) -> Node:
        return Literal(_at(token), _read(token, literals.read_string))

    def raw_string(self, token: Token) -> Node:
        return Literal(_at(token), _read(token, literals.read_raw_string))

    def constant(self, token: Token) -> Node:
        return Literal(_at(token), _CONSTANTS[token])


def _at(token: Token) -> int:
    assert token.start_pos is not None
    return token.start_pos


def _read(token: Token, reader: Callable[[str], object]) -> object:
    try:
        return reader(str(token))
    except ValueError as reason:
        raise SyntaxFault(_at(token), str(reason)) from None


def _member(target: Node, name: Token, *, optional: bool) -> Node:
    """`target.name`; it continues a chain of `?.` that stands before it."""
    chained = isinstance(target, Chain)
    inner = target.target if isinstance(target, Chain) else target
    member = Member(_at(name), inner, Literal(_at(name), str(name)), optional)
    return Chain(_at(name), member) if chained or optional else member


def _complete(call: WrittenCall, piped: tuple[Node, ...]) -> Node:
    """The call with all of its arguments, checked against the function's own rules."""
    name, at, arguments = str(call.name), _at(call.name), piped + call.arguments
    if name in UNSUPPORTED:
        raise SyntaxFault(at, f"the function {name!r} is not supported")
    if name in ITERATORS:
        return _iteration(name, at, arguments)
    plain = tuple(argument for argument in arguments if not isinstance(argument, Block))
    if len(plain) < len(arguments):
        raise SyntaxFault(at, f"{name!r} takes no predicate in braces")
    builtin = BUILTINS.get(name)
    if builtin is not None and not builtin.fewest <= len(plain) <= builtin.most:
        raise SyntaxFault(at, f"{name!r} does not take {len(plain)} arguments")
    return Call(at, name, plain)


def _iteration(name: str, at: int, arguments: tuple[Node | Block, ...]) -> Node:
    rules = ITERATORS[name]
    fewest, most = 1 + rules.needs_predicate, 2 + rules.takes_initial
    if not fewest <= len(arguments) <= most:
        raise SyntaxFault(at, f"{name!r} takes an array and a predicate")
    source, predicate, initial = (*arguments, None, None)[:3]
    if isinstance(source, Block) or isinstance(initial, Block):
        raise SyntaxFault(at, f"only the predicate of {name!r} stands in braces")
    assert source is not None
    return Iteration(at, name, source, predicate.node if isinstance(predicate, Block) else predicate, initial)
