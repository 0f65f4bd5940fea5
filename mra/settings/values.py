"""Single values of the file: each complaint names the file and the key, and says what to write instead. (pure)"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from mra.errors import BadInput, quoted
from mra.units import parse_duration, parse_size

SHORTEST_PAUSE: Final = 0.001


class Values:
    """Values of one configuration file; paths in it are relative to it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def duration(self, key: str, value: str | float) -> float:
        """Seconds. Raises BadInput."""
        return parse_duration(value, f"{self.file}: {key}")

    def pause(self, key: str, value: str | float) -> float:
        """Seconds that are not none: whoever waits so long between two attempts does not spin. Raises BadInput."""
        seconds = self.duration(key, value)
        if seconds < SHORTEST_PAUSE:
            raise self.bad(key, value, "use 1ms or more")
        return seconds

    def size(self, key: str, value: str | int) -> int:
        """Bytes. Raises BadInput."""
        return parse_size(value, f"{self.file}: {key}")

    def path(self, key: str, text: str) -> Path:
        """An absolute path. Raises BadInput."""
        if not text or "\0" in text:
            raise self.bad(key, text, "write a path")
        try:
            return (self.file.parent / Path(text).expanduser()).absolute()
        except RuntimeError as error:
            raise self.bad(key, text, "there is no such user here; write the path out") from error

    def default_state(self) -> str:
        """`/var/lib/NAME` for a configuration in `/etc/NAME`; otherwise `state` beside the configuration."""
        directory = self.file.parent.absolute()
        return f"/var/lib/{directory.name}" if directory.parent == Path("/etc") else "state"

    def bad(self, key: str, value: Any, remedy: str) -> BadInput:
        """The error to raise for a value that makes no sense."""
        return BadInput(f"{self.file}: {key} is {quoted(value)}: {remedy}.")
