"""What an archive may cost at most, and which names its members may have. (pure)"""

from __future__ import annotations

from dataclasses import dataclass

from mra.errors import BadInput

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one archive; the defaults are far above what plugins need and far below what hurts a host."""

    archive_bytes: int = 256 * MIB
    total_bytes: int = 1024 * MIB
    members: int = 10_000
    depth: int = 32
    name_bytes: int = 255  # of one part of a path
    ratio: int = 200  # bytes unpacked for each byte of the archive...
    ratio_free_bytes: int = 1 * MIB  # ...once there are more than these


DEFAULT_LIMITS = Limits()


def parts_of(name: str, limits: Limits = DEFAULT_LIMITS) -> tuple[str, ...]:
    """Split a relative path into its parts; `.` and doubled slashes disappear.

    Raises:
        BadInput: it leads elsewhere (absolute, `..`), is too deep or too long, or cannot be printed.
    """
    shown = ascii(name[:120])
    if name.startswith("/"):
        raise BadInput(f"{shown} is an absolute path; use paths below the archive's own directory")
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    if ".." in parts:
        raise BadInput(f"{shown} leads out of its directory; use paths without `..`")
    if len(parts) > limits.depth:
        raise BadInput(f"{shown} lies {len(parts)} directories deep; at most {limits.depth} are accepted")
    for part in parts:
        if not part.isprintable() or "\\" in part:
            raise BadInput(f"{shown} holds a control character, a backslash or text that is not UTF-8; rename it")
        if len(part.encode()) > limits.name_bytes:
            raise BadInput(f"{shown} has a part of more than {limits.name_bytes} bytes; shorten it")
    return parts
