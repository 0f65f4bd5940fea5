"""Regular expressions with RE2's syntax and its promise: time linear in the text, whatever the pattern."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Protocol

import re2  # type: ignore[import-untyped, unused-ignore]

LONGEST_PATTERN: Final = 1000
_MOST_MEMORY: Final = 1 << 20  # for one compiled pattern


class PatternError(ValueError):
    """A regular expression that RE2 does not accept."""


class Pattern(Protocol):
    """What is used of a compiled pattern."""

    def search(self, text: bytes) -> object | None:
        """The first place that fits, anywhere in the text."""


@lru_cache(maxsize=128)
def compile_pattern(pattern: str) -> Pattern:
    """Compile, or raise `PatternError` with RE2's reason."""
    if len(pattern) > LONGEST_PATTERN:
        raise PatternError(f"the pattern has {len(pattern)} characters, at most {LONGEST_PATTERN} are read")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_MEMORY
    try:
        compiled: Pattern = re2.compile(_bytes(pattern), options)
    except re2.error as reason:
        detail = reason.args[0] if reason.args else "unknown"
        text = detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
        raise PatternError(f"the pattern {pattern!r} is no regular expression ({text})") from None
    return compiled


def is_match(pattern: str, text: str) -> bool:
    """Whether the pattern fits anywhere in the text. Raises `PatternError`."""
    return compile_pattern(pattern).search(_bytes(text)) is not None


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")  # lone surrogates, which JSON can carry, are no UTF-8
