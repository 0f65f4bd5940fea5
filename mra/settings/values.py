"""Single values of the file: each complaint names the file and the key, and says what to write instead. (pure)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mra.errors import BadInput
from mra.units import parse_duration, parse_size


class Values:
    """Values of one configuration file; paths in it are relative to it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def duration(self, key: str, value: str | float) -> float:
        """Seconds. Raises BadInput."""
        return parse_duration(value, f"{self.file}: {key}")

    def size(self, key: str, value: str | int) -> int:
        """Bytes. Raises BadInput."""
        return parse_size(value, f"{self.file}: {key}")

    def path(self, text: str) -> Path:
        """An absolute path."""
        return (self.file.parent / Path(text).expanduser()).absolute()

    def default_state(self) -> str:
        """`/var/lib/NAME` for a configuration in `/etc/NAME`; otherwise `state` beside the configuration."""
        directory = self.file.parent.absolute()
        return f"/var/lib/{directory.name}" if directory.parent == Path("/etc") else "state"

    def bad(self, key: str, value: Any, remedy: str) -> BadInput:
        """The error to raise for a value that makes no sense."""
        return BadInput(f"{self.file}: {key} is {value!r}: {remedy}.")
