"""The files of /proc that psutil does not read. Pure."""

from __future__ import annotations

from typing import Any, Final

_NUMBERS: Final = {"processor": "cpu", "stepping": "stepping", "cpu cores": "cores"}
_TEXTS: Final = {
    "vendor_id": "vendorId",
    "cpu family": "family",
    "model": "model",
    "model name": "modelName",
    "physical id": "physicalId",
    "core id": "coreId",
    "microcode": "microcode",
}
_KIB: Final = 1024


def processors(text: str) -> list[dict[str, Any]]:
    """Entries of /proc/cpuinfo; what an architecture does not tell is absent.

    Flags stand in the first entry only: they are the same for all, and take a kilobyte each.
    """
    found: list[dict[str, Any]] = []
    for block in text.split("\n\n"):
        lines = (line.partition(":") for line in block.splitlines())
        fields = {name.strip(): value.strip() for name, _, value in lines}
        if not fields.get("processor", "").isdecimal():
            continue  # ARM ends with a block about the board
        found.append(_processor(fields, first=not found))
    return found


def _processor(fields: dict[str, str], *, first: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {new: int(fields[old]) for old, new in _NUMBERS.items() if fields.get(old, "").isdecimal()}
    entry |= {new: fields[old] for old, new in _TEXTS.items() if old in fields}
    if clock := _float(fields.get("cpu MHz", "")):
        entry["mhz"] = clock
    cache = fields.get("cache size", "").removesuffix(" KB")
    if cache.isdecimal():
        entry["cacheSize"] = int(cache)
    if first and (flags := fields.get("flags") or fields.get("Features")):
        entry["flags"] = flags.split()
    return entry


def swap_devices(text: str) -> list[dict[str, Any]]:
    """Devices and files of /proc/swaps, in bytes."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.rsplit(None, 4)  # a file's name may hold spaces, written as \040
        if len(words) == 5 and words[2].isdecimal() and words[3].isdecimal():
            size, used = int(words[2]) * _KIB, int(words[3]) * _KIB
            found.append({"name": words[0].rstrip(), "usedBytes": used, "freeBytes": size - used})
    return found


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
