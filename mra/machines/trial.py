"""Probation of deployed machines: a new version stays only if it runs.

The fleet picks machines up by itself; a trial only watches whether it takes this one. It never looks in the fleet's
place, since it runs in a task of a machine, which the fleet may be about to stop; it has the fleet look soon.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Protocol

import trio

from mra.errors import Refused
from mra.machines.manifest import WatcherKind, first_error, read_manifest
from mra.machines.picture import Condition
from mra.machines.scan import MANIFEST, look

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mra.machines.picture import MachinePicture

PATIENCE_SECONDS: Final = 60.0  # the fleet looks every ten seconds, even if it is not asked to
PROBATION_SECONDS: Final = 5.0  # a machine that crashes at its start does so at once
_LOOK_SECONDS: Final = 0.5


class Pictured(Protocol):
    """What a trial sees of a fleet."""

    store: Path

    def look_soon(self) -> None: ...
    def pictures(self) -> Sequence[MachinePicture]: ...


class FleetTrials:
    """The `Trials` of one fleet. It is asked for late, since a fleet is built from services that hold its trials."""

    def __init__(self, fleet: Callable[[], Pictured], kinds: Mapping[str, WatcherKind]) -> None:
        self._fleet = fleet
        self._kinds = kinds

    def check(self, tree: Path, /) -> None:
        """Read the manifest, if there is one, as the fleet will."""
        if not (tree / MANIFEST).exists():
            return
        found = look(tree)
        reading = None if found.fault else read_manifest(found.text, MANIFEST, self._kinds)
        if reading is None:
            raise Refused(found.fault)
        if reading.manifest is None:
            raise Refused(first_error(reading.problems, MANIFEST))

    async def prove(self, directory: Path, /) -> None:
        """Wait until the fleet runs this manifest and it has lasted for a moment. No machine needs no proof."""
        if directory.parent != self._fleet().store or not (directory / MANIFEST).exists():
            return
        digest = hashlib.sha256((directory / MANIFEST).read_bytes()).hexdigest()
        known = self._picture(directory)
        self._fleet().look_soon()
        with trio.move_on_after(PATIENCE_SECONDS):
            while True:
                if self._runs(directory, digest, known.problem if known else ""):
                    break
                await trio.sleep(_LOOK_SECONDS)
            await trio.sleep(PROBATION_SECONDS)
            if self._runs(directory, digest, ""):
                return
        raise Refused(f"machine {directory.name} did not run within {PATIENCE_SECONDS:.0f} seconds; see the log")

    def _runs(self, directory: Path, digest: str, known_problem: str) -> bool:
        """Whether the manifest of this digest runs; raises `Refused` when the fleet says that it will not.

        A problem from before, while the fleet has not looked yet, says nothing about the new manifest.
        """
        picture = self._picture(directory)
        if picture is None:
            return False
        if picture.digest == digest:
            known_problem = ""
        if picture.condition is Condition.DENIED or (picture.problem and picture.problem != known_problem):
            raise Refused(picture.problem)
        return picture.digest == digest

    def _picture(self, directory: Path) -> MachinePicture | None:
        return next((each for each in self._fleet().pictures() if each.directory == str(directory)), None)
