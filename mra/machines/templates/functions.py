"""The functions that every template may call: Go's built-ins, and those that Choria adds. (pure)

Each takes its arguments as they are and raises `ArgumentError` for what it cannot use. `and` and `or` are not here:
they do not evaluate what they do not need.
"""

from __future__ import annotations

import base64
import binascii
import operator
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mra.machines.expressions.text_functions import lower, upper
from mra.machines.golang import NestingError, format_value, type_name
from mra.machines.templates.printf import sprintf


class ArgumentError(Exception):
    """A function cannot work with its arguments."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function of `fewest` to `most` arguments; `prints` when it turns lists and maps into text."""

    call: Callable[..., object]
    fewest: int
    most: int
    prints: bool = False
    steps: int = 1


def is_true(value: object) -> bool:
    """What `if` takes for true: everything but false, nil, zero and what is empty."""
    return bool(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ArgumentError(f"a string is needed, this is {type_name(value)}")
    return value


def _number(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ArgumentError(f"a whole number is needed, this is {type_name(value)}")


def _printed(value: object) -> str:
    try:
        return format_value(value)
    except NestingError as reason:
        raise ArgumentError(str(reason)) from None


def _title(value: object) -> object:
    """Each word with its first cased letter in title case and the rest in lower case."""
    return _WORD.sub(lambda word: _titled(word[0]), _text(value))


# A word as Unicode breaks it: an apostrophe, period or colon between letters does not end it, an underscore neither.
_WORD: Final = re.compile(r"\w+(?:(?<=[^\W\d_])['’.:·](?=[^\W\d_])\w+)*")


def _titled(word: str) -> str:
    for index, letter in enumerate(word):
        if letter.lower() != letter.upper():
            return word[:index] + letter.title() + word[index + 1 :].lower()
    return word


def _strings_join(value: object) -> object:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ArgumentError(f"a list of strings is needed, this is {type_name(value)}")
    return ", ".join(value)


def _base64_encode(value: object) -> object:
    return base64.b64encode(_text(value).encode("utf-8", "surrogatepass")).decode()


def _base64_decode(value: object) -> object:
    try:
        return base64.b64decode(re.sub(r"[\r\n]", "", _text(value)), validate=True).decode(errors="replace")
    except (binascii.Error, ValueError):
        raise ArgumentError("the text is not base64") from None


def _print(*values: object) -> object:
    """A space between two operands of which neither is a string."""
    printed = ""
    for index, value in enumerate(values):
        apart = index > 0 and not isinstance(value, str) and not isinstance(values[index - 1], str)
        printed += " " * apart + _printed(value)
    return printed


def _println(*values: object) -> object:
    return " ".join(_printed(value) for value in values) + "\n"


def _printf(text: object, *values: object) -> object:
    try:
        return sprintf(_text(text), values)
    except ValueError as reason:
        raise ArgumentError(str(reason)) from None


def _html(*values: object) -> object:
    text = str(_print(*values)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&#34;").replace("'", "&#39;").replace("\0", "\ufffd")


def _urlquery(*values: object) -> object:
    return urllib.parse.quote_plus(str(_print(*values)), errors="surrogatepass")


def _len(value: object) -> object:
    """Of a string the bytes, as in Go."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, list | tuple | Mapping):
        return len(value)
    raise ArgumentError(f"{type_name(value)} has no length")


def _index(value: object, *keys: object) -> object:
    for key in keys:
        value = _item(value, key)
    return value


def _item(value: object, key: object) -> object:
    if isinstance(value, Mapping):
        return value.get(_text(key))
    if isinstance(value, list | tuple):
        if not 0 <= _number(key) < len(value):
            raise ArgumentError(f"position {_number(key)} is outside, there are {len(value)}")
        return value[_number(key)]
    raise ArgumentError(f"{type_name(value)} cannot be indexed")


def _slice(value: object, *bounds: object) -> object:
    if not isinstance(value, str | list | tuple):
        raise ArgumentError(f"{type_name(value)} cannot be sliced")
    octets = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    first, last = (*map(_number, bounds), *(0, len(octets))[len(bounds) :])[:2]
    if not 0 <= first <= last <= len(octets):
        raise ArgumentError(f"the slice {first}:{last} is outside, there are {len(octets)}")
    return octets[first:last].decode(errors="replace") if isinstance(octets, bytes) else list(octets[first:last])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(left: object, right: object) -> bool:
    if isinstance(left, list | tuple | Mapping) or isinstance(right, list | tuple | Mapping):
        raise ArgumentError("lists and maps cannot be compared")
    if left is None or right is None:
        return left is right
    if _is_number(left) and _is_number(right):
        return left == right
    if type(left) is not type(right):
        raise ArgumentError(f"{type_name(left)} and {type_name(right)} cannot be compared")
    return left == right


def _eq(left: object, *others: object) -> object:
    return any(_same(left, other) for other in others)


def _ne(left: object, right: object) -> object:
    return not _same(left, right)


def _ordering(compare: Callable[[Any, Any], bool]) -> Callable[[object, object], object]:
    def ordered(left: object, right: object) -> object:
        if (_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str)):
            return compare(left, right)
        raise ArgumentError(f"{type_name(left)} and {type_name(right)} have no order")

    return ordered


_MANY: Final = 1000

BUILTINS: Final[Mapping[str, Function]] = {
    "print": Function(_print, 0, _MANY, prints=True),
    "println": Function(_println, 0, _MANY, prints=True),
    "printf": Function(_printf, 1, _MANY, prints=True),
    "html": Function(_html, 0, _MANY, prints=True),
    "urlquery": Function(_urlquery, 0, _MANY, prints=True),
    "len": Function(_len, 1, 1),
    "index": Function(_index, 1, _MANY),
    "slice": Function(_slice, 1, 3),
    "not": Function(lambda value: not is_true(value), 1, 1),
    "eq": Function(_eq, 2, _MANY),
    "ne": Function(_ne, 2, 2),
    "lt": Function(_ordering(operator.lt), 2, 2),
    "le": Function(_ordering(operator.le), 2, 2),
    "gt": Function(_ordering(operator.gt), 2, 2),
    "ge": Function(_ordering(operator.ge), 2, 2),
}
CHORIA: Final[Mapping[str, Function]] = {
    "Title": Function(_title, 1, 1),
    "Capitalize": Function(_title, 1, 1),
    "ToLower": Function(lambda value: lower(_text(value)), 1, 1),
    "ToUpper": Function(lambda value: upper(_text(value)), 1, 1),
    "StringsJoin": Function(_strings_join, 1, 1),
    "StringJoin": Function(_strings_join, 1, 1),  # as the documentation spells it
    "Base64Encode": Function(_base64_encode, 1, 1),
    "Base64Decode": Function(_base64_decode, 1, 1),
}
