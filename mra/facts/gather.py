"""Asks every source, each in a thread and for a limited time; a silent one costs its own group and no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import trio

from mra.facts import sources
from mra.facts.cleaning import clean, reason
from mra.facts.snapshot import merge

if TYPE_CHECKING:
    from mra.facts.cleaning import Json

Source = Callable[[dict[str, str]], dict[str, Any]]

SOURCES: Final[Mapping[str, Source]] = MappingProxyType(
    {
        "host": sources.host,
        "network": sources.network,
        "partition": sources.partition,
        "cpu": sources.cpu,
        "memory": sources.memory,
        "swap": sources.swap,
    }
)
_PLACE: Final = {"swap": "memory"}  # everything else stands under its own name


class Gatherer:
    """Reads the host.

    A thread that hangs in the kernel cannot be stopped, only left behind. Its source is not asked again until it
    returns, so that a dead disk costs one thread, however long it stays dead.
    """

    def __init__(self, seconds: float, sources: Mapping[str, Source] = SOURCES) -> None:
        self._seconds = seconds
        self._sources = sources
        self._out: set[str] = set()
        self._limiter = trio.CapacityLimiter(max(1, len(sources)))

    async def gather(self, skip: frozenset[str] = frozenset()) -> tuple[dict[str, Json], dict[str, str]]:
        """Facts of the groups that are not in `skip`, and why parts are missing. Raises nothing.

        Cancelling returns at once; threads that are still reading end by themselves.
        """
        found: dict[str, Json] = {}
        problems: dict[str, str] = {}

        async def ask(name: str, source: Source) -> None:
            facts, reasons = await self._ask(name, source)
            found.update(merge(found, facts))
            problems.update(reasons)

        async with trio.open_nursery() as nursery:
            for name, source in self._sources.items():
                if name not in skip and _PLACE.get(name) not in skip:
                    nursery.start_soon(ask, name, source, name=f"facts of {name}")
        return found, problems

    async def _ask(self, name: str, source: Source) -> tuple[dict[str, Json], dict[str, str]]:
        if name in self._out:
            return {}, {name: "still waiting for the host's answer to an earlier question"}
        problems: dict[str, str] = {}
        try:
            with trio.move_on_after(self._seconds):
                answer = await trio.to_thread.run_sync(
                    partial(self._read, name, source, problems), abandon_on_cancel=True, limiter=self._limiter
                )
                place = _PLACE.get(name, name)
                return {place: clean(answer, place, problems)}, problems
        except Exception as error:
            return {}, {name: reason(f"{type(error).__name__}: {error}")}
        return {}, {name: f"the host gave no answer within {self._seconds:g} s"}

    def _read(self, name: str, source: Source, problems: dict[str, str]) -> dict[str, Any]:
        self._out.add(name)
        try:
            return source(problems)
        finally:
            self._out.discard(name)
