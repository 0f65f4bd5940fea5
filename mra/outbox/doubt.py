"""Whether the outbox's file is in doubt: somebody met damage in it, and it was not examined since.

    outbox.db.doubted    there while it is; its time of change is when the last complaint came

A mark on the disk and not in the daemon's memory, because what met the damage may be another process while no daemon
runs, and a daemon may be stopped or killed between a complaint and its examination. Damage where nobody reads just
now (delivered rows that are kept for a while) would then wait for its next reader.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def raise_doubt(path: Path) -> None:
    """Note that the file `path` may be damaged. Raises OSError when the mark cannot be made."""
    _mark(path).touch(mode=0o600)


def since(path: Path) -> int | None:
    """When the last complaint came (a file's time of change, in nanoseconds); None when the file is not in doubt."""
    try:
        return _mark(path).stat().st_mtime_ns
    except OSError:
        return None


def dispel(path: Path, complaint: int) -> None:
    """The file was examined, and mended if need be, after `complaint`: no doubt is left unless a later one came."""
    if since(path) == complaint:
        with suppress(OSError):  # examined once more than needed, then
            _mark(path).unlink()


def _mark(path: Path) -> Path:
    return path.with_name(path.name + ".doubted")
