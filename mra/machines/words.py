"""Splits a command line into words the way machine manifests expect: quotes and backslashes, but no shell.

There is no globbing, no variable and no substitution. The rules are those of Google's Go shlex, which differ from
Python's: a backslash always makes the next character literal and vanishes, inside double quotes too, and `#` starts a
comment only where a word could start. (pure)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mra.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPACE = " \t\r\n"


def split(line: str) -> list[str]:
    """Split a command line into words.

    Raises:
        BadInput: a quote is not closed, or the line ends in a backslash.
    """
    words: list[str] = []
    characters = iter(line)
    for first in characters:
        if first == "#":
            _skip_comment(characters)
        elif first not in _SPACE:
            words.append(_word(first, characters))
    return words


def quote(word: str) -> str:
    """Write one word so that `split` gives it back unchanged."""
    if word and not any(character in _SPACE + "\"'\\#" for character in word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _word(first: str, characters: Iterator[str]) -> str:
    """Read one word, up to and including the space that ends it."""
    word: list[str] = []
    character: str | None = first
    while character is not None and character not in _SPACE:
        if character == "'":
            word.extend(_until_quote("'", characters, escapes=False))
        elif character == '"':
            word.extend(_until_quote('"', characters, escapes=True))
        elif character == "\\":
            word.append(_literal(characters))
        else:
            word.append(character)
        character = next(characters, None)
    return "".join(word)


def _until_quote(mark: str, characters: Iterator[str], *, escapes: bool) -> Iterator[str]:
    for character in characters:
        if character == mark:
            return
        yield _literal(characters) if escapes and character == "\\" else character
    raise BadInput(f"the command has a {mark} that is never closed; close it or put a backslash before it")


def _literal(characters: Iterator[str]) -> str:
    character = next(characters, None)
    if character is None:
        raise BadInput("the command ends in a backslash; remove it or write two")
    return character


def _skip_comment(characters: Iterator[str]) -> None:
    for character in characters:
        if character == "\n":
            return
