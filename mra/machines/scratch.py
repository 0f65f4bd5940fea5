"""Directories for single runs of commands, with files that such a run reads.

They lie in the system's temporary directory, so that a full disk of the agent's state stops no machine. Each has its
agent's mark in its name: what an agent that was killed has left behind is removed by the next one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Scratch:
    """The directories of one agent; `state` is its state directory, which no other agent uses at the same time."""

    def __init__(self, state: Path = Path()) -> None:
        self._prefix = f"mra-run-{hashlib.sha256(os.fsencode(state.absolute())).hexdigest()[:16]}-"

    def make(self, contents: Mapping[str, Any]) -> Path:
        """A new directory, for this user only, with these values in JSON files. Blocking. Raises OSError."""
        directory = Path(tempfile.mkdtemp(prefix=self._prefix))
        try:
            for name, value in contents.items():
                (directory / name).write_text(json.dumps(value, separators=(",", ":")), encoding="utf-8")
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        return directory

    def clear(self) -> None:
        """Remove what is there; call it before the first run. Others' directories of a like name are let alone."""
        for directory in Path(tempfile.gettempdir()).glob(f"{self._prefix}*"):
            with suppress(OSError):
                if directory.lstat().st_uid == os.geteuid():
                    shutil.rmtree(directory)
