"""What goes wrong in a nursery comes as a group; people and callers want the one error in it.

Nothing is raised inside `except*`: Python 3.11.2, which is Debian 12's, puts what is raised there into a group again.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from mra.errors import MraError

if TYPE_CHECKING:
    from collections.abc import Iterator


def first(group: BaseException) -> BaseException:
    """The first error in a group, however deep; an error that is no group is its own first."""
    error = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def ungrouped() -> Iterator[None]:
    """Raise one error instead of a group of them: an interruption, or else a bug, or else the first error of ours.

    The group stays its cause, for whoever reads the traceback.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        _, unexpected = group.split(MraError)
        interrupted = group.subgroup(KeyboardInterrupt)
        raise first(interrupted or unexpected or group) from group
