"""A management agent that keeps what it accepted, and delivers it exactly once, however long the outage.

`Agent` and `Options` are what a branded agent is made of; `CompiledMachine` is a machine that it brings along. They are
imported when they are asked for, because every module of the package passes here first.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mra.agent import Agent
    from mra.machines.compiled import CompiledMachine
    from mra.options import Options

__version__ = "0.1.0"
__all__ = ["Agent", "CompiledMachine", "Options", "__version__"]

_OFFERED = {"Agent": "mra.agent", "CompiledMachine": "mra.machines.compiled", "Options": "mra.options"}


def __getattr__(name: str) -> Any:
    if name not in _OFFERED:
        raise AttributeError(f"module 'mra' has no attribute {name!r}")
    return getattr(import_module(_OFFERED[name]), name)
