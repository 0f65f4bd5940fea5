"""One file in the node exporter's text file directory, kept up to date for all watchers of a kind."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final
from weakref import WeakValueDictionary

import trio

from mra.durable import replace_file
from mra.log import logger
from mra.machines.prometheus import render

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable
    from pathlib import Path

    from mra.machines.prometheus import Family

log = logger("machines")

_PAUSE: Final = 1.0  # between two writes: a thousand watchers cost what one costs


def write_textfile(path: Path, text: str) -> None:
    """Make `path` hold `text`, readable by the exporter, which runs as another user. Raises OSError. Blocking.

    Not synced to the disk: after a power loss the agent writes it anew. The exporter never reads the temporary file,
    as that does not end in `.prom`.
    """
    replace_file(path, text.encode(), mode=0o644, synced=False, sole_writer=True)


class Textfile:
    """What watchers measured, by owner, until it is replaced, dropped or stale.

    Without a path everything is accepted and nothing written, so that watchers need not know. One object stands for
    one file: see `shared`.
    """

    _open: ClassVar[WeakValueDictionary[Path, Textfile]] = WeakValueDictionary()

    def __init__(self, path: Path | None, preamble: Callable[[], Iterable[Family]] = tuple) -> None:
        self._path = path
        self._preamble = preamble
        self._owned: dict[Hashable, tuple[tuple[Family, ...], float]] = {}
        self._changed = trio.Event()
        self._writer = trio.Lock()

    @classmethod
    def shared(cls, directory: Path | None, name: str, preamble: Callable[[], Iterable[Family]] = tuple) -> Textfile:
        """The object for a file, the same for all who hold it: two would overwrite each other's series."""
        if directory is None:
            return cls(None)
        path = directory / name
        return cls._open.get(path) or cls._open.setdefault(path, cls(path, preamble))

    def put(self, owner: Hashable, families: Iterable[Family], *, lifetime: float = math.inf) -> None:
        """Replace what `owner` said; it is left out again after `lifetime` seconds without a replacement."""
        if self._path is not None:
            self._owned[owner] = (tuple(families), trio.current_time() + lifetime)
            self._changed.set()

    def drop(self, owner: Hashable) -> None:
        """Forget what `owner` said, if anything."""
        if self._owned.pop(owner, None):
            self._changed.set()

    async def run(self) -> None:
        """Keep the file up to date until cancelled: at most one write a second, none while nothing changes.

        Everyone who puts something runs this: one works, and the others wait to take over when that one is cancelled.
        A file that cannot be written is logged once an hour and tried again at the next change.
        """
        async with self._writer:
            self._changed.set()  # the last one may have been cancelled before it wrote
            while True:
                with trio.move_on_at(min((expiry for _, expiry in self._owned.values()), default=math.inf)):
                    await self._changed.wait()
                self._changed = trio.Event()
                await self.write()
                await trio.sleep(_PAUSE)

    async def kept_during(self, service: Callable[[], Awaitable[None]]) -> None:
        """Run `service`, and keep the file up to date beside it."""
        if self._path is None:
            await service()
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run, name="metrics file")
            await service()
            nursery.cancel_scope.cancel()

    async def write(self) -> None:
        """Write what is known and not stale. Cancelling waits until the file is whole."""
        now = trio.current_time()
        self._owned = {owner: known for owner, known in self._owned.items() if known[1] > now}
        if self._path is None:
            await trio.lowlevel.checkpoint()
            return
        families = [*self._preamble(), *(family for owned, _ in self._owned.values() for family in owned)]
        try:
            await trio.to_thread.run_sync(write_textfile, self._path, render(families))
        except OSError as error:
            log.once_per(3600, "the metrics file cannot be written", path=str(self._path), reason=error.strerror)
