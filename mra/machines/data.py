"""What a machine remembers across restarts: one flat map, shared by its watchers, kept in `machine_data.json`.

The file belongs to the machine's directory (section 1.7 of the reference). It is read once, when the machine is loaded;
a missing, unreadable or corrupt one counts as empty. It is rewritten as a whole after every change, before `put`
returns, so that a value survives power loss. When that fails the change still holds in memory, and the caller is told.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from mra.durable import replace_file
from mra.errors import BadInput, Unavailable
from mra.log import logger
from mra.machines.regular import read_regular

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logger("machines")
FILE_NAME: Final = "machine_data.json"
MOST_BYTES: Final = 16 * 1024 * 1024


class MachineData:
    """The data of one machine. Values are what JSON can hold; keys are texts."""

    def __init__(self, path: Path, values: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self._values: dict[str, Any] = dict(values or {})
        self._written: bytes | None = None
        self._writing = trio.Lock()
        self._changed = trio.Event()

    @classmethod
    def load(cls, directory: Path) -> MachineData:
        """Read what the machine in `directory` remembers, and clear away what a kill left half written. Blocking."""
        path = directory / FILE_NAME
        try:
            for leftover in directory.glob(f".{FILE_NAME}.*"):
                leftover.unlink(missing_ok=True)
            raw = read_regular(path, MOST_BYTES)
            values = json.loads(raw) if len(raw) <= MOST_BYTES else None
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError, RecursionError) as fault:
            log.warning("machine data is unreadable, starting without", path=str(path), reason=str(fault))
            return cls(path)
        if not isinstance(values, dict):
            log.warning("machine data is no JSON object of a sane size, starting without", path=str(path))
            return cls(path)
        return cls(path, values)

    def get(self, key: str, default: Any = None) -> Any:
        """The value under a key."""
        return self._values.get(key, default)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def copy(self) -> dict[str, Any]:
        """All values, as they are now."""
        return dict(self._values)

    def changed(self) -> trio.Event:
        """Set at the next change of any key: take it, look, then wait for it, in this order."""
        return self._changed

    async def put(self, key: str, value: Any) -> None:
        """Remember one value; see `update`."""
        await self.update({key: value})

    async def update(self, values: Mapping[str, Any]) -> None:
        """Remember values, in one write; returns once they are on disk.

        Raises:
            BadInput: a value is nothing that JSON can hold; nothing has changed.
            Unavailable: the file could not be written; the values are remembered until the agent ends.
        """
        _encode(values)
        self._values.update(values)
        self._tell()
        await self._write()

    async def delete(self, key: str) -> None:
        """Forget a key; nothing is written when it is not there. Raises `Unavailable` as `update` does."""
        if key in self._values:
            del self._values[key]
            self._tell()
            await self._write()

    def _tell(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def _write(self) -> None:
        """Bring the file up to date. Cancellable while waiting for a turn, not once begun."""
        async with self._writing:
            content = _encode(self._values)
            if content == self._written:
                return
            try:
                await trio.to_thread.run_sync(partial(replace_file, sole_writer=True), self.path, content)
            except OSError as fault:
                self._written = None
                reason = fault.strerror or str(fault)
                raise Unavailable(
                    f"{self.path} could not be written ({reason}); make room or fix its directory"
                ) from fault
            self._written = content


def _encode(values: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(values, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as fault:
        raise BadInput(f"machine data holds JSON values only ({fault}); convert the value first") from fault
