"""Any Python value becomes plain JSON, without secrets. Pure.

Facts come from the kernel, from files and from other people's code, and end up in streams that many can read. What is
no JSON value is left out, what looks like a secret is hidden, and both leave a reason behind.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

DEEPEST: Final = 32
MOST_VALUES: Final = 100_000
_MOST_REASONS: Final = 20
_LONGEST_REASON: Final = 200
_INT_BOUND: Final = 2**63  # what consumers hold in an integer

HIDDEN: Final = "(redacted)"
_SECRET_NAME = re.compile(
    r"(?:.*[_-])?(?:password|passwd|passphrase|secret|token|seed|private_key|nonce)", re.IGNORECASE
)
_SECRET_TEXT = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]+"  # a JSON Web Token
    r"|\bS[ACNOUX][A-Z2-7]{56}\b"  # the seed of an nkey
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)",  # user and password of an address
    re.DOTALL,
)

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
_LEFT_OUT: Final = object()


def clean(value: object, where: str, problems: dict[str, str]) -> Json:
    """A copy of `value` as plain JSON; null when nothing of it is usable.

    Args:
        value: anything at all.
        where: dotted path of the value, for the reasons.
        problems: gains one entry for each part that was left out or hidden, up to 20.
    """
    return _Cleaner(where, problems).copy(value)


def reason(text: str) -> str:
    """`text` on one line, short, and without secrets."""
    line = " ".join(without_secrets(text.encode(errors="replace").decode()).split())
    return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 1] + "…"


def without_secrets(text: str) -> str:
    """`text` with tokens, seeds, private keys and the passwords of addresses hidden."""
    return _SECRET_TEXT.sub(HIDDEN, text)


class _Cleaner:
    """One walk over one value."""

    def __init__(self, root: str, problems: dict[str, str]) -> None:
        self._root = root
        self._problems = problems
        self._values = 0
        self._reasons = 0

    def copy(self, value: object) -> Json:
        found = self._copy(value, self._root, 0)
        return None if found is _LEFT_OUT else found  # type: ignore[return-value]

    def _copy(self, value: object, where: str, depth: int) -> object:
        self._values += 1
        if self._values > MOST_VALUES:
            return self._leave_out(self._root, f"only the first {MOST_VALUES} values were taken")
        if depth > DEEPEST:
            return self._leave_out(where, f"nested more than {DEEPEST} levels deep")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, where)
        if isinstance(value, int | float):
            return self._number(value, where)
        if isinstance(value, Mapping):
            return self._object(value, where, depth)
        if isinstance(value, list | tuple):
            return self._list(value, where, depth)
        return self._leave_out(where, f"a {type(value).__name__} is no JSON value")

    def _object(self, value: Mapping[object, object], where: str, depth: int) -> object:
        found: dict[str, object] = {}
        for key, item in value.items():
            if self._values > MOST_VALUES:
                break
            if not isinstance(key, str):
                self._leave_out(where, f"a name is a {type(key).__name__}, not a string")
                continue
            name = _decodable(key)
            copied = self._copy(item, f"{where}.{name}", depth + 1)
            if isinstance(copied, str) and copied and _SECRET_NAME.fullmatch(name):
                self._leave_out(f"{where}.{name}", "hidden, because its name says that it is a secret")
                copied = HIDDEN
            if copied is not _LEFT_OUT:
                found[name] = copied
        return found

    def _list(self, value: list[object] | tuple[object, ...], where: str, depth: int) -> object:
        found: list[object] = []
        for index, item in enumerate(value):
            if self._values > MOST_VALUES:
                break
            copied = self._copy(item, f"{where}.{index}", depth + 1)
            if copied is not _LEFT_OUT:
                found.append(copied)
        return found

    def _text(self, value: str, where: str) -> str:
        shown = without_secrets(_decodable(value))
        if HIDDEN in shown and HIDDEN not in value:
            self._leave_out(where, "hidden, because it looks like a secret")
        return shown

    def _number(self, value: float, where: str) -> object:
        if isinstance(value, float) and not math.isfinite(value):
            return self._leave_out(where, "not a finite number")
        if isinstance(value, int) and not -_INT_BOUND <= value < 2 * _INT_BOUND:
            return self._leave_out(where, "an integer of more than 64 bits")
        return float(value) if isinstance(value, float) else int(value)

    def _leave_out(self, where: str, why: str) -> object:
        if self._reasons < _MOST_REASONS:
            self._reasons += 1
            self._problems[reason(where)] = why
        return _LEFT_OUT


def _decodable(text: str) -> str:
    """File names and labels may carry bytes that are no UTF-8; they show as replacement characters."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text
