"""The table of built-in functions, and the names that expr-lang knows but this subset leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mra.machines.expressions.conversions import CONVERSIONS
from mra.machines.expressions.list_functions import LIST_FUNCTIONS
from mra.machines.expressions.number_functions import NUMBER_FUNCTIONS
from mra.machines.expressions.text_functions import TEXT_FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mra.machines.expressions.builtin import Builtin


BUILTINS: Final[Mapping[str, Builtin]] = {
    **TEXT_FUNCTIONS,
    **NUMBER_FUNCTIONS,
    **LIST_FUNCTIONS,
    **CONVERSIONS,
}

UNSUPPORTED: Final = frozenset(
    {"now", "duration", "date", "timezone", "groupBy", "sortBy", "splitAfter"}
    | {f"bit{name}" for name in ("and", "or", "xor", "nand", "not", "shl", "shr", "ushr")}
)
