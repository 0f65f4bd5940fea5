"""What an operator sets for the nagios checks of this node, by machine: `<machine>: {<name>: <value>}`.

The file is YAML 1.2 or JSON, in the dialect of manifests, and may change at any time (section 1.9 of the reference).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mra.errors import BadInput
from mra.log import logger
from mra.machines.document import MOST_BYTES, load
from mra.machines.regular import read_regular

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logger("machines")


class Overrides:
    """The file as it is at each call. Without one, or while there is none, nothing is overridden.

    It is small and parsed only when it changed, so a call may block. A change that cannot be used is logged, and what
    held before goes on.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._seen: tuple[int, int, int] | None = None  # inode, time and size of what was parsed last
        self._values: Mapping[str, Any] = {}

    def __call__(self) -> Mapping[str, Any]:
        """Overrides by machine."""
        if self._file is not None:
            try:
                self._look(self._file)
            except FileNotFoundError:
                self._seen, self._values = None, {}
            except (OSError, BadInput) as fault:
                log.once_per(600, "the overrides cannot be used", file=str(self._file), reason=str(fault))
        return self._values

    def _look(self, file: Path) -> None:
        status = file.stat()
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return
        self._seen = seen
        values = load(read_regular(file, MOST_BYTES)).plain()
        if not isinstance(values, dict):
            raise BadInput("it is no mapping from machines to values")
        self._values = values
