"""Making a node forget who it is and what it holds. Blocking.

The outbox goes first and the identity last: a reset that was killed half-way still shows as enrolled, and is repeated.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from typing import TYPE_CHECKING

from mra import clock
from mra.errors import BadInput, MraError, Unavailable
from mra.outbox import inspection, sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mra.settings import Settings


def held_rows(settings: Settings) -> dict[str, int]:
    """Rows by lane that a reset would destroy: those that wait, and parked ones. Raises Unavailable when unknown."""
    if not settings.database.exists():
        return {}
    try:
        with closing(sqlite.connect_readonly(settings.database)) as connection:
            reports = inspection.lane_reports(connection, clock.now())
    except sqlite.Error as error:
        raise sqlite.translate(error, settings.database) from error
    except BadInput as error:
        raise Unavailable(error.sentence) from error
    return {report["lane"]: report["waiting"] + report["parked"] for report in reports}


def remove_state(settings: Settings) -> list[Path]:
    """Remove what the agent has made, and nothing that it was given; return what was there.

    The caller holds the daemon's lock. Raises MraError, naming what could not be removed, after trying everything.
    """
    removed, failures = [], []
    for path in _made(settings):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.exists() or path.is_symlink():
                path.unlink()
            else:
                continue
            removed.append(path)
        except OSError as error:
            failures.append(f"{path} ({error.strerror})")
    if failures:
        raise MraError(f"Not removed: {', '.join(failures)}; check the owner, and run this again.")
    return removed


def _made(settings: Settings) -> Iterator[Path]:
    """In the order of removal. Whatever lies outside the state directory was put there by somebody else."""
    state = settings.state
    yield from sorted(state.glob(f"{settings.database.name}*"), reverse=True)
    yield from (settings.socket, state / "submit.sock", state / "facts.json")
    if settings.machines.directory.is_relative_to(state) and settings.machines.directory != state:
        yield settings.machines.directory
    yield from sorted((state / "site").glob("bus.*"))  # with the key of an enrolled node's bus
    if settings.enrol is not None:
        yield settings.enrol.directory
