"""Wildcards in keys and queries: `*` is any run of characters, `?` any one, a backslash makes the next one literal."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Wild(Enum):
    """The two wildcards, apart from the characters that spell them."""

    ONE = auto()
    RUN = auto()


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text with wildcards; `literal` is the text itself when it has none."""

    parts: tuple[str | Wild, ...]

    @property
    def literal(self) -> str | None:
        texts = [part for part in self.parts if isinstance(part, str)]
        return "".join(texts) if len(texts) == len(self.parts) else None

    def matches(self, text: str) -> bool:
        """Whether the whole text fits, in at most length times length steps: only the last run is ever widened."""
        parts, at, here, run, resume = self.parts, 0, 0, -1, 0
        while here < len(text):
            if at < len(parts) and parts[at] is Wild.RUN:
                run, resume, at = at, here, at + 1
            elif at < len(parts) and (parts[at] is Wild.ONE or parts[at] == text[here]):
                at, here = at + 1, here + 1
            elif run >= 0:
                resume += 1
                at, here = run + 1, resume
            else:
                return False
        return all(part is Wild.RUN for part in parts[at:])


def compile_pattern(text: str) -> Pattern:
    """Read a text with wildcards and escapes; a lone backslash at the end is dropped."""
    parts: list[str | Wild] = []
    characters = iter(text)
    for character in characters:
        if character == "\\":
            parts.extend(next(characters, ""))
        elif character == "*":
            parts.append(Wild.RUN)
        elif character == "?":
            parts.append(Wild.ONE)
        else:
            parts.append(character)
    return Pattern(tuple(parts))
