"""From the text of an expression to its tree. (pure)

Lark splits the text and finds its structure from expression.lark; the builder makes the parts bottom-up while it
parses, so neither deep nesting nor long operations recurse. What expr-lang has and this subset leaves out is refused by
name.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final, cast

import lark

from mra.errors import BadInput
from mra.machines.expressions.builder import Builder
from mra.machines.expressions.patterns import PatternError, compile_pattern
from mra.machines.expressions.precedence import SyntaxFault
from mra.machines.expressions.syntax import Binary, Literal, Node, Pointer, walk

LONGEST_SOURCE: Final = 16 * 1024
DEEPEST_TREE: Final = 150
EXCERPT: Final = 60
_UNSUPPORTED_WORDS: Final = {
    "let": "variables ('let') are not supported",
    "if": "'if' is not supported; write condition ? a : b",
    "b": "bytes are not supported",
    "B": "bytes are not supported",
}


def parse(source: str) -> Node:
    """The tree of an expression. Raises `BadInput` naming the column and what is wrong or not supported there."""
    if len(source) > LONGEST_SOURCE:
        raise BadInput(f"an expression has {len(source)} characters, at most {LONGEST_SOURCE} are read; shorten it")
    try:
        root = _parse(source)
        _check(root)
    except SyntaxFault as fault:
        raise BadInput(f"expression {excerpt(source)}, {position(source, fault.at)}: {fault.reason}") from None
    return root


def excerpt(source: str) -> str:
    """The source for a message: on one line, quoted, and cut when long."""
    line = " ".join(source.split())
    return repr(line if len(line) <= EXCERPT else line[: EXCERPT - 1] + "…")


def position(source: str, at: int) -> str:
    """Where an offset is, as people count."""
    column = at - (source.rfind("\n", 0, at) + 1) + 1
    return f"line {source.count(chr(10), 0, at) + 1}, column {column}" if "\n" in source else f"column {column}"


def _parse(source: str) -> Node:
    try:
        root = _grammar().parse(source)
    except lark.exceptions.UnexpectedToken as surprise:
        token = surprise.token
        if token.type == "$END":
            raise SyntaxFault(len(source), "the expression is not complete") from None
        raise _fault(source, token.start_pos or 0, f"unexpected {str(token)!r}") from None
    except lark.exceptions.UnexpectedCharacters as surprise:
        at = surprise.pos_in_stream or 0
        raise _fault(source, at, _about_character(source[at])) from None
    return cast("Node", root)  # Lark's types do not know that a builder replaces its trees


@cache
def _grammar() -> lark.Lark:
    text = files(__package__).joinpath("expression.lark").read_text("utf-8")
    return lark.Lark(text, parser="lalr", transformer=Builder(), maybe_placeholders=True)


def _fault(source: str, at: int, reason: str) -> SyntaxFault:
    """Why parsing stopped: the reason given, or a better one when what stands there tells what was meant."""
    before = source[:at].rstrip()
    word = before[len(before.rstrip("abcdefghijklmnopqrstuvwxyzB")) :]
    if word in _UNSUPPORTED_WORDS and (word not in ("b", "B") or source[at] in "\"'"):
        return SyntaxFault(len(before) - len(word), _UNSUPPORTED_WORDS[word])
    if source.startswith("/*", at):
        return SyntaxFault(at, "the comment is not closed")
    return SyntaxFault(at, reason)


def _about_character(character: str) -> str:
    """Why no token of the language begins with this character here."""
    if character in "\"'`":
        return "the string is not closed"
    if character == ";":
        return "sequences (';') are not supported"
    return "this is no number" if character.isdigit() else f"unexpected {character!r}"


def _check(root: Node) -> None:
    """What only the finished tree shows: its depth, pointers outside predicates, patterns that are none."""
    for node, depth, in_predicate in walk(root):
        if depth > DEEPEST_TREE:
            raise SyntaxFault(node.at, f"the expression is nested more than {DEEPEST_TREE} levels deep")
        if isinstance(node, Pointer) and not in_predicate:
            raise SyntaxFault(node.at, "'#' and '.name' exist only inside predicates")
        if isinstance(node, Binary) and node.operator == "matches" and isinstance(node.right, Literal):
            _check_pattern(node.right)


def _check_pattern(literal: Literal) -> None:
    if isinstance(literal.value, str):
        try:
            compile_pattern(literal.value)
        except PatternError as reason:
            raise SyntaxFault(literal.at, str(reason)) from None
