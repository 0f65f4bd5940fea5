"""What an interrupted download has so far, and how to ask for the rest. Blocking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from mra.durable import replace_file
from mra.machines.archives.tree import remove

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Origin:
    """What the bytes on disk are the beginning of. `validator` is a strong entity tag or a date of modification."""

    url: str
    checksum: str
    validator: str


@dataclass(frozen=True, slots=True)
class Partial:
    """The file of a download, with a note beside it on what it is."""

    file: Path

    @property
    def _note(self) -> Path:
        return self.file.with_name(f"{self.file.name}.origin")

    def resume(self, url: str, checksum: str) -> tuple[int, str]:
        """How many bytes of exactly this are there, and their validator; 0 when one has to start anew."""
        try:
            origin = msgspec.json.decode(self._note.read_bytes(), type=Origin)
            size = self.file.lstat().st_size
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
            return 0, ""
        same = origin.url == url and origin.checksum == checksum and origin.validator
        return (size, origin.validator) if same else (0, "")

    def begin(self, origin: Origin) -> None:
        """Start anew, with the note first: bytes without one are never taken for a beginning."""
        self.remove()
        replace_file(self._note, msgspec.json.encode(origin), sole_writer=True)  # its directory is locked
        self.file.touch(mode=0o600)

    def remove(self) -> None:
        """Forget what is there."""
        remove(self._note)
        remove(self.file)
