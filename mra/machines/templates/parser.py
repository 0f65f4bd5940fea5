"""From the pieces of a template to its tree. (pure)"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from mra.machines.templates import lexer
from mra.machines.templates.constants import read_constant
from mra.machines.templates.failures import TemplateError
from mra.machines.templates.syntax import Branch, Call, Dot, Fields, Literal, Node, Operand, Pipeline, Print, Text

if TYPE_CHECKING:
    from collections.abc import Collection

LONGEST_SOURCE: Final = 1 << 20
DEEPEST: Final = 50
BRANCHES: Final = frozenset({"if", "with", "range"})
UNSUPPORTED: Final = frozenset({"define", "template", "block", "break", "continue", "call", "js"})


@lru_cache(maxsize=512)
def parse(source: str, functions: frozenset[str]) -> tuple[Node, ...]:
    """The tree of a template that may call these functions. Raises `TemplateError`."""
    if len(source) > LONGEST_SOURCE:
        raise TemplateError(f"a template has {len(source)} characters, at most {LONGEST_SOURCE} are read; shorten it")
    return _Parser(source, functions).read_all()


class _Parser:
    """Walks over the pieces of the whole template."""

    def __init__(self, source: str, functions: Collection[str]) -> None:
        self.pieces = lexer.split(source)
        self.at = 0
        self.functions = functions

    def read_all(self) -> tuple[Node, ...]:
        nodes = self.read_nodes(0)
        if self.at < len(self.pieces):
            raise _refusal(self.pieces[self.at], "closes or continues nothing")
        return nodes

    def read_nodes(self, depth: int) -> tuple[Node, ...]:
        """Nodes up to an else or an end, which is left for the caller."""
        if depth > DEEPEST:
            raise TemplateError(f"a template is nested more than {DEEPEST} levels deep; nest less")
        nodes: list[Node] = []
        while self.at < len(self.pieces):
            piece = self.pieces[self.at]
            if isinstance(piece, lexer.Text):
                nodes.append(Text(piece.text))
            elif (word := _keyword(piece)) in ("else", "end"):
                break
            elif word in BRANCHES:
                nodes.append(self.read_branch(piece, word, depth))
                continue
            else:
                nodes.append(Print(_Command(piece, 0, self.functions).read_whole()))
            self.at += 1
        return tuple(nodes)

    def read_branch(self, opening: lexer.Action, keyword: str, depth: int, words: int = 1) -> Branch:
        """A branch from its opening action to its end; `else if` reads as an else that holds an if."""
        pipeline = _Command(opening, words, self.functions).read_whole()
        self.at += 1
        body = self.read_nodes(depth + 1)
        otherwise: tuple[Node, ...] = ()
        if self.peek_keyword() == "else":
            middle = self.pieces[self.at]
            assert isinstance(middle, lexer.Action)
            if len(middle.tokens) > 1:
                if keyword == "range" or middle.tokens[1].text != keyword:
                    raise _refusal(middle, f"cannot follow {keyword!r}")
                return Branch(keyword, pipeline, body, (self.read_branch(middle, keyword, depth + 1, words=2),))
            self.at += 1
            otherwise = self.read_nodes(depth + 1)
        if self.peek_keyword() != "end":
            raise _refusal(opening, "has no end" if self.at >= len(self.pieces) else "has two else")
        self.expect_bare_end()
        return Branch(keyword, pipeline, body, otherwise)

    def peek_keyword(self) -> str:
        piece = self.pieces[self.at] if self.at < len(self.pieces) else None
        return _keyword(piece) if isinstance(piece, lexer.Action) else ""

    def expect_bare_end(self) -> None:
        piece = self.pieces[self.at]
        if isinstance(piece, lexer.Action) and len(piece.tokens) > 1:
            raise _refusal(piece, "says more than end")
        self.at += 1


class _Command:
    """Reads one pipeline out of the tokens of an action."""

    def __init__(self, action: lexer.Action, start: int, functions: Collection[str]) -> None:
        self.action = action
        self.at = start
        self.functions = functions

    def read_whole(self) -> Pipeline:
        pipeline = self.read_pipeline(0)
        if self.at < len(self.action.tokens):
            raise _refusal(self.action, f"has an unexpected {self.action.tokens[self.at].text!r}")
        return pipeline

    def read_pipeline(self, depth: int) -> Pipeline:
        if depth > DEEPEST:
            raise _refusal(self.action, f"is nested more than {DEEPEST} levels deep")
        commands = [self.read_command(depth, first=True)]
        while self.peek() == "|":
            self.at += 1
            commands.append(self.read_command(depth, first=False))
        return Pipeline(tuple(commands), self.action.source)

    def read_command(self, depth: int, *, first: bool) -> Operand:
        operands: list[Operand] = []
        while self.peek() not in ("", "|", ")"):
            token = self.action.tokens[self.at]
            if operands and token.glued:
                raise _refusal(self.action, f"needs a space before {token.text!r}")
            operands.append(self.read_operand(depth))
        if not operands:
            raise _refusal(self.action, "has an empty command")
        head, arguments = operands[0], tuple(operands[1:])
        if isinstance(head, Call):
            return Call(head.function, arguments)
        if arguments or not first:
            raise _refusal(self.action, "gives arguments to something that is no function")
        if isinstance(head, Literal) and head.value is None:
            raise _refusal(self.action, "makes a command of nil")
        return head

    def read_operand(self, depth: int) -> Operand:
        token = self.action.tokens[self.at]
        self.at += 1
        match token.kind:
            case "field":
                self.at -= 1
                return self.read_fields(Dot())
            case "dot":
                return Dot()
            case "word":
                return self.read_word(token.text)
            case "mark" if token.text == "(":
                inner = self.read_pipeline(depth + 1)
                if self.peek() != ")":
                    raise _refusal(self.action, "has an unclosed '('")
                self.at += 1
                return self.read_fields(inner)
            case "variable":
                raise _refusal(self.action, f"uses {token.text!r}, and variables are not supported")
            case "string" | "raw" | "character" | "number":
                try:
                    return Literal(read_constant(token.kind, token.text))
                except ValueError as reason:
                    raise _refusal(self.action, f"holds {token.text!r}: {reason}") from None
        raise _refusal(self.action, f"has an unexpected {token.text!r}")

    def read_word(self, word: str) -> Operand:
        if word in _CONSTANTS:
            return Literal(_CONSTANTS[word])
        if word in UNSUPPORTED:
            raise _refusal(self.action, f"uses {word!r}, which is not supported")
        if word not in self.functions:
            raise _refusal(self.action, f"calls {word!r}, but there is no such function")
        return Call(word, ())

    def read_fields(self, target: Operand) -> Operand:
        names: list[str] = []
        while self.at < len(self.action.tokens):
            token = self.action.tokens[self.at]
            if token.kind != "field" or not (token.glued or (not names and isinstance(target, Dot))):
                break
            names.append(token.text[1:])
            self.at += 1
        return Fields(target, tuple(names)) if names else target

    def peek(self) -> str:
        return self.action.tokens[self.at].text if self.at < len(self.action.tokens) else ""


_CONSTANTS: Final = {"true": True, "false": False, "nil": None}


def _keyword(action: lexer.Action) -> str:
    return action.tokens[0].text if action.tokens and action.tokens[0].kind == "word" else ""


def _refusal(piece: lexer.Text | lexer.Action, reason: str) -> TemplateError:
    source = piece.source if isinstance(piece, lexer.Action) else piece.text
    line = " ".join(source.split())
    return TemplateError(f"template action {'{{ ' + (line if len(line) <= 60 else line[:59] + '…') + ' }}'!r} {reason}")
