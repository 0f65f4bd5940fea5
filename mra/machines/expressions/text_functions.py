"""Built-in functions on strings. (pure)

Each takes the budget and its arguments, and pays for its result before it makes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mra.machines.expressions.budget import Fault
from mra.machines.expressions.builtin import Builtin
from mra.machines.expressions.values import array, as_bytes, integer, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mra.machines.expressions.budget import Budget

# What unicode.IsSpace knows; str.strip() would also take the ASCII separators 0x1c to 0x1f.
SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


def upper(value: str) -> str:
    """Character by character as Go does: none becomes two (`ß` stays)."""
    return "".join(big if len(big := character.upper()) == 1 else character for character in value)


def lower(value: str) -> str:
    """Character by character as Go does."""
    return "".join(small if len(small := character.lower()) == 1 else character for character in value)


def _upper(budget: Budget, value: object) -> object:
    budget.hold(len(text(value)))
    return upper(text(value))


def _lower(budget: Budget, value: object) -> object:
    budget.hold(len(text(value)))
    return lower(text(value))


def _trim(budget: Budget, value: object, characters: object = SPACE) -> object:
    budget.hold(len(text(value)))
    return text(value).strip(text(characters)) if characters else text(value)


def _trim_prefix(budget: Budget, value: object, prefix: object = " ") -> object:
    budget.hold(len(text(value)))
    return text(value).removeprefix(text(prefix))


def _trim_suffix(budget: Budget, value: object, suffix: object = " ") -> object:
    budget.hold(len(text(value)))
    return text(value).removesuffix(text(suffix))


def _has_prefix(_budget: Budget, value: object, prefix: object) -> object:
    return text(value).startswith(text(prefix))


def _has_suffix(_budget: Budget, value: object, suffix: object) -> object:
    return text(value).endswith(text(suffix))


def _split(budget: Budget, value: object, separator: object, most: object = -1) -> object:
    """At most `most` parts; none for 0, all for a negative number; single characters for an empty separator."""
    subject, mark, limit = text(value), text(separator), integer(most)
    budget.hold(len(subject) + 1)
    if limit == 0:
        return []
    if mark:
        return subject.split(mark, -1 if limit < 0 else limit - 1)
    if limit < 0 or limit >= len(subject):
        return list(subject)
    return [*subject[: limit - 1], subject[limit - 1 :]]


def _join(budget: Budget, value: object, glue: object = "") -> object:
    parts, between = [text(item) for item in array(value)], text(glue)
    budget.hold(sum(map(len, parts)) + len(parts) * (1 + len(between)))
    return between.join(parts)


def _replace(budget: Budget, value: object, old: object, new: object, most: object = -1) -> object:
    subject, before, after, limit = text(value), text(old), text(new), integer(most)
    hits = subject.count(before) if limit < 0 else min(limit, subject.count(before))
    budget.hold(len(subject) + hits * len(after))
    return subject.replace(before, after, hits)


def _repeat(budget: Budget, value: object, times: object) -> object:
    count = integer(times)
    if count < 0:
        raise Fault(f"a string cannot be repeated {count} times")
    budget.hold(max(count, len(text(value)) * count))
    return text(value) * count


def _index_of(_budget: Budget, value: object, part: object) -> object:
    return as_bytes(text(value)).find(as_bytes(text(part)))


def _last_index_of(_budget: Budget, value: object, part: object) -> object:
    return as_bytes(text(value)).rfind(as_bytes(text(part)))


TEXT_FUNCTIONS: Final[Mapping[str, Builtin]] = {
    "upper": Builtin(_upper, 1, 1),
    "lower": Builtin(_lower, 1, 1),
    "trim": Builtin(_trim, 1, 2),
    "trimPrefix": Builtin(_trim_prefix, 1, 2),
    "trimSuffix": Builtin(_trim_suffix, 1, 2),
    "hasPrefix": Builtin(_has_prefix, 2, 2),
    "hasSuffix": Builtin(_has_suffix, 2, 2),
    "split": Builtin(_split, 2, 3),
    "join": Builtin(_join, 1, 2),
    "replace": Builtin(_replace, 3, 4),
    "repeat": Builtin(_repeat, 2, 2),
    "indexOf": Builtin(_index_of, 2, 2),
    "lastIndexOf": Builtin(_last_index_of, 2, 2),
}
