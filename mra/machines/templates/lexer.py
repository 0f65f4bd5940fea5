"""A template's text, cut into literal text and the tokens of its actions. (pure)"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mra.machines.templates.failures import TemplateError

SPACE: Final = " \t\r\n"  # the only white space that trim markers and actions know
_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<string>"(?:[^"\\\n]|\\[^\n])*")
      | (?P<raw>`[^`]*`)
      | (?P<character>'(?:[^'\\\n]|\\[^\n])+')
      | (?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+
                         |(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?)(?![\w.]))
      | (?P<field>\.[^\W\d]\w*)
      | (?P<dot>\.(?!\w))
      | (?P<variable>\$\w*)
      | (?P<word>[^\W\d]\w*)
      | (?P<mark>:=|[|(),=])
    """,
    re.VERBOSE,
)
_LEFT: Final = "{{"
_RIGHT: Final = "}}"


@dataclass(frozen=True, slots=True)
class Text:
    """What stands between actions, already trimmed."""

    text: str


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an action; `glued` when no white space stands before it."""

    kind: str
    text: str
    glued: bool


@dataclass(frozen=True, slots=True)
class Action:
    """One `{{ … }}`, with its source for messages."""

    source: str
    tokens: tuple[Token, ...]


def split(source: str) -> list[Text | Action]:
    """Text and actions in order; comments leave nothing. Raises `TemplateError` for what is not closed or no token."""
    pieces: list[Text | Action] = []
    at, trim_next = 0, False
    while (left := source.find(_LEFT, at)) >= 0:
        inside = left + len(_LEFT)
        trim_before = source[inside : inside + 1] == "-" and source[inside + 1 : inside + 2] in tuple(SPACE)
        pieces.append(Text(_trimmed(source[at:left], left=trim_next, right=trim_before)))
        action, at, trim_next = _read_action(source, inside + 2 * trim_before)
        if action is not None:
            pieces.append(action)
    pieces.append(Text(_trimmed(source[at:], left=trim_next, right=False)))
    return [piece for piece in pieces if isinstance(piece, Action) or piece.text]


def _trimmed(text: str, *, left: bool, right: bool) -> str:
    text = text.lstrip(SPACE) if left else text
    return text.rstrip(SPACE) if right else text


def _read_action(source: str, start: int) -> tuple[Action | None, int, bool]:
    """The action that begins here, the offset after it, and whether it trims the text that follows."""
    if source.startswith("/*", start):
        return _skip_comment(source, start)
    tokens: list[Token] = []
    at, glued = start, False
    while True:
        for ending, trims in ((_RIGHT, False), (f"-{_RIGHT}", True)):
            if source.startswith(ending, at) and (not trims or not glued):
                return Action(source[start:at].strip(), tuple(tokens)), at + len(ending), trims
        found = _TOKEN.match(source, at)
        if found is None or found.lastgroup is None:
            raise TemplateError(f"template action {_excerpt(source, start)} {_reason(source, at)}")
        if found.lastgroup != "space":
            tokens.append(Token(found.lastgroup, found[0], glued))
        glued = found.lastgroup != "space"
        at = found.end()


def _skip_comment(source: str, start: int) -> tuple[None, int, bool]:
    end = source.find("*/", start) + 2
    if end < 2:
        raise TemplateError(f"template comment {_excerpt(source, start)} is not closed")
    if source.startswith(_RIGHT, end):
        return None, end + len(_RIGHT), False
    if source[end : end + 1] in tuple(SPACE) and source.startswith(f"-{_RIGHT}", end + 1):
        return None, end + 2 + len(_RIGHT), True
    raise TemplateError(f"template comment {_excerpt(source, start)} has to fill its action")


def _excerpt(source: str, start: int) -> str:
    line = source[start : start + 40].split("\n")[0]
    return repr(_LEFT + line)


def _reason(source: str, at: int) -> str:
    if at >= len(source):
        return "is not closed"
    if source[at] in "\"'`":
        return "holds a string that is not closed"
    return f"holds {source[at]!r}, which means nothing there"
