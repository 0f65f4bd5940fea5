"""Structured logging to standard error: one event, its fields, no prose in between.

    2026-01-01T10:00:00Z warning outbox  disk full: ballast given up  path=/var/lib/mra/outbox.db

One line per change of state; a subsystem that repeats itself goes through `Logger.once_per`.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

_NAMESPACE = "mra"


class Logger:
    """A named logger whose extra arguments are fields."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"{_NAMESPACE}.{name}")
        self._last: dict[str, float] = {}

    def debug(self, event: str, **fields: Any) -> None:
        self._logger.debug(event, extra={"fields": fields})

    def info(self, event: str, **fields: Any) -> None:
        self._logger.info(event, extra={"fields": fields})

    def warning(self, event: str, **fields: Any) -> None:
        self._logger.warning(event, extra={"fields": fields})

    def error(self, event: str, **fields: Any) -> None:
        self._logger.error(event, extra={"fields": fields})

    def failure(self, event: str, error: BaseException, **fields: Any) -> None:
        """An error with its traceback: for bugs, which is the only place where a traceback belongs."""
        self._logger.error(event, exc_info=error, extra={"fields": fields})

    def once_per(self, seconds: float, event: str, **fields: Any) -> None:
        """A warning that is written at most once in `seconds` for each `event`."""
        moment = time.monotonic()
        if moment - self._last.get(event, float("-inf")) >= seconds:
            self._last[event] = moment
            self.warning(event, **fields)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        name = record.name.removeprefix(f"{_NAMESPACE}.")
        fields = "".join(f"  {key}={_quoted(value)}" for key, value in getattr(record, "fields", {}).items())
        line = f"{at} {record.levelname.lower():7} {name:8} {record.getMessage()}{fields}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _quoted(value: object) -> str:
    text = str(value).replace("\n", "\\n")
    return f'"{text}"' if " " in text else text


def logger(name: str) -> Logger:
    """The logger of one subsystem."""
    return Logger(name)


def set_up(level: str = "info") -> None:
    """Send this package's log to standard error; called once by the command line, never by a library user."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    root = logging.getLogger(_NAMESPACE)
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(level.upper())
