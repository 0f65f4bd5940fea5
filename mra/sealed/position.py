"""A file's part of a lane against the SaaS's newest checkpoint: behind which row to begin, or why not at all. Pure.

checkpoint of the SaaS                                   verdict
-------------------------------------------------------
--------------------------------------------------------------- none, and the site knew of none
begin with the file's first row none, though the site knew of one                        refused: rows are missing, or
the SaaS lost them of the file's epoch, at the file's beginning or later    begin behind it of the file's epoch,
earlier                             refused: the rows between are missing of another epoch, and just the one that the
site knew    begin with the file's first row: the site took over from there of another epoch, and the site never
delivered           refused, unless the operator says that the site is a new one anything else
refused: another writer has this name
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mra.errors import Refused

if TYPE_CHECKING:
    from mra.sealed.contents import Part
    from mra.uplink.checkpoint import Stored


class Position(NamedTuple):
    """Where a lane goes on.

    Attributes:
        through_seq: rows of the file up to here are skipped: the SaaS has dealt with them.
        total: rows of the epoch that the SaaS has taken.
        expected: stream sequence of the newest checkpoint, for the next compare-and-swap.
    """

    through_seq: int
    total: int
    expected: int

    @property
    def previous(self) -> int:
        """The row sent last in this epoch, 0 when none was."""
        return self.through_seq if self.total else 0


def find_position(part: Part, stored: Stored | None, *, agent: str, adopt: bool = False) -> Position:
    """Where the part begins. Raises Refused, in a sentence that names what is missing."""
    lane, behind = part.lane, part.begins_behind
    if stored is None:
        if part.total_before:
            raise Refused(
                f"The SaaS holds nothing of lane {lane} of {agent}, and this file begins behind row {behind}: import"
                f" the file with the rows up to {behind} first, or have the site export with --all."
            )
        return Position(behind, 0, 0)
    checkpoint = stored.checkpoint
    if checkpoint.epoch == part.epoch:
        if checkpoint.through_seq < behind:
            raise Refused(
                f"Rows {checkpoint.through_seq + 1} to {behind} of lane {lane} of {agent} are missing: import the file"
                f" with them first, or have the site export with --all, as this one begins with row {part.first_seq}."
            )
        return Position(checkpoint.through_seq, checkpoint.total, stored.stream_seq)
    if part.total_before == 0 and (adopt or part.checkpoint_seq == stored.stream_seq):
        return Position(behind, 0, stored.stream_seq)
    raise Refused(_why_foreign(part, stored, agent))


def _why_foreign(part: Part, stored: Stored, agent: str) -> str:
    found = stored.checkpoint
    if part.total_before == 0 and part.checkpoint_seq == 0:
        return (
            f"Lane {part.lane} of {agent} has rows of another installation (epoch {found.epoch}, up to row"
            f" {found.through_seq}): if that one is gone for good, import with --adopt."
        )
    return (
        f"Lane {part.lane} of {agent} belongs to another writer now (epoch {found.epoch}, not {part.epoch}): the file"
        " is of a copy, or from before the site was set up anew."
    )
