"""Looking at the machines directory (section 1.1 of the reference). Blocking."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mra.machines.document import MOST_BYTES
from mra.machines.regular import read_regular

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST: Final = "machine.yaml"


@dataclass(frozen=True, slots=True)
class Found:
    """A directory that may hold a machine: its manifest and the SHA-256 of that, or why it could not be read."""

    directory: Path
    digest: str
    text: bytes = field(repr=False, default=b"")
    fault: str = ""


def scan(store: Path) -> list[Found]:
    """All machines of a store, by name; raises OSError when the store cannot be listed.

    Links to directories, hidden directories, `tmp` and names ending in `-temp` are no machines.
    """
    with os.scandir(store) as entries:
        names = sorted(entry.name for entry in entries if _is_candidate(entry))
    return [look(store / name) for name in names]


def look(directory: Path) -> Found:
    """Read one manifest, if it is a file of a sane size; never blocks on a pipe, never raises."""
    try:
        text = read_regular(directory / MANIFEST, MOST_BYTES)
    except OSError as fault:
        reason = (fault.strerror or str(fault)).lower()
        return Found(directory, f"unreadable: {reason}", fault=f"{directory / MANIFEST} cannot be read: {reason}.")
    return Found(directory, hashlib.sha256(text).hexdigest(), text)


def _is_candidate(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    skipped = name == "tmp" or name.startswith(".") or name.endswith("-temp")
    return not skipped and entry.is_dir(follow_symlinks=False)
