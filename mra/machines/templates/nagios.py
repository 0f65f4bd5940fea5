"""The templates in the `plugin` property of nagios watchers (section 3.11 of the reference). (pure)

Choria expands them with html/template, so what is inserted is escaped for HTML although it becomes a command. Scripts
in the field live with that, and so does this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mra.machines import gjson
from mra.machines.golang import NestingError, format_value
from mra.machines.templates.expansion import SHORT_CIRCUITS, expand_with
from mra.machines.templates.functions import BUILTINS, ArgumentError, Function
from mra.machines.templates.parser import parse
from mra.machines.templates.properties import find

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES: Final = frozenset({*BUILTINS, "o"}) | SHORT_CIRCUITS
_ESCAPES: Final = str.maketrans(
    {
        "\0": "\ufffd",
        '"': "&#34;",
        "&": "&amp;",
        "'": "&#39;",
        "+": "&#43;",
        "<": "&lt;",
        ">": "&gt;",
    }
)


def expand_nagios(text: str, *, machine: str, overrides: Mapping[str, object] | None) -> str:
    """The text with `o "path" default` replaced by the override at `<machine>.path`, or by the default.

    Args:
        text: the command.
        machine: the machine's name.
        overrides: the node's overrides for all machines; None when there are none.

    Raises `TemplateError`.
    """

    def override(path: object, default: object) -> object:
        found = find(overrides or {}, f"{machine}.{path}" if isinstance(path, str) else path)
        try:
            return format_value(default) if found is gjson.MISSING else gjson.text_of(found)
        except NestingError as reason:
            raise ArgumentError(str(reason)) from None

    return expand_with(text, {**BUILTINS, "o": Function(override, 2, 2, prints=True, steps=100)}, escape=escape)


def check_nagios(text: str) -> None:
    """Raise `TemplateError` when `expand_nagios` could never expand this text, whatever the overrides."""
    if "{{" in text:
        parse(text, NAMES)


def escape(text: str) -> str:
    """The text as html/template writes it between tags."""
    return text.translate(_ESCAPES)
