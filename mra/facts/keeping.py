"""The newest facts on disk: for machines, for other programs of the same user, and for the agent's next start."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mra.durable import replace_file

if TYPE_CHECKING:
    from pathlib import Path


def keep(file: Path, content: bytes) -> None:
    """Make `file` hold `content`, for this user only, all of it or none. Raises OSError. Blocking."""
    replace_file(file, content, sole_writer=True)  # that is the daemon


def recall(file: Path, identity: str) -> dict[str, Any]:
    """The facts that were kept for this identity; empty when there are none to trust. Blocking."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    room = found.get("machine_room")
    return found if isinstance(room, dict) and room.get("identity") == identity else {}
