"""A management agent that keeps what it accepted, and delivers it exactly once, however long the outage."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__"]
