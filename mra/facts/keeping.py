"""The newest facts on disk: for machines, for other programs of the same user, and for the agent's next start."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def keep(file: Path, content: bytes) -> None:
    """Make `file` hold `content`, mode 0600, all of it or none. Raises OSError. Blocking.

    There is one writer, the daemon, so the temporary file has a fixed name: what a kill left behind is replaced.
    """
    temporary = file.with_name(f".{file.name}.new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
