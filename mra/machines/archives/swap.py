"""Puts a new tree in the place of an old one, so that a kill at any instant leaves one of them whole. Blocking.

    place/            the live tree
    work/new/         the staged one, complete and synced before `swap`
    work/old/         the tree that was live, until the new one is confirmed
    work/trash/       what is being removed

An `old` tree always means: not confirmed. Whoever finds one at a start puts it back (`recover`), and the deployment is
simply done again. `confirm` therefore begins with a rename, not with deleting. The two renames of `swap` follow each
other directly, since a machine's directory is missing in between.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mra.durable import replace_file, sync_directory
from mra.machines.archives.tree import remove
from mra.machines.regular import read_regular

if TYPE_CHECKING:
    from pathlib import Path

DATA_NAME: Final = "machine_data.json"
_LARGEST_DATA: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tree lives and where the work on it is done, on one file system.

    With `keeps_data`, the node's `machine_data.json` moves from tree to tree; it is off for archives that list a
    file of that name as their own.
    """

    live: Path
    work: Path
    keeps_data: bool = True

    @property
    def new(self) -> Path:
        """The staged tree's directory; the tree itself has the name of the live one."""
        return self.work / "new"

    @property
    def old(self) -> Path:
        """The tree that was live before, while the live one is not confirmed."""
        return self.work / "old"

    @property
    def trash(self) -> Path:
        """What nobody needs any more."""
        return self.work / "trash"

    def swap(self) -> None:
        """Make the staged tree the live one; the old one stands aside until `confirm` or `roll_back`."""
        staged = self.new / self.live.name
        carried = self._carry_data(self.live, staged)
        if os.path.lexists(self.live):
            self.live.rename(self.old)
        staged.rename(self.live)
        self._sync()
        if carried != _identity(self.old / DATA_NAME):
            self._carry_data(self.old, self.live)  # the running machine wrote between the copy and the renames

    def confirm(self) -> None:
        """The live tree is good: remove the one before."""
        if os.path.lexists(self.old):
            self.old.rename(self.trash)
            sync_directory(self.work)
        remove(self.trash)

    def roll_back(self) -> None:
        """The live tree is not good: put the one before back. Where there was none, nothing is left."""
        remove(self.trash)
        had_old = os.path.lexists(self.old)
        if os.path.lexists(self.live):
            if had_old:
                self._carry_data(self.live, self.old)
            self.live.rename(self.trash)
        if had_old:
            self.old.rename(self.live)
        self._sync()
        remove(self.trash)

    def recover(self) -> None:
        """Put right what a kill left; call it before anything looks at the live tree."""
        if os.path.lexists(self.old):
            self.roll_back()
        remove(self.trash)
        remove(self.new)

    def _sync(self) -> None:
        sync_directory(self.live.parent)
        sync_directory(self.work)

    def _carry_data(self, source: Path, target: Path) -> tuple[int, int, int] | None:
        """Copy the node's data from tree to tree; its identity before that, None when there is none to carry."""
        identity = _identity(source / DATA_NAME)
        if not self.keeps_data or identity is None:
            return identity
        try:
            data = read_regular(source / DATA_NAME, _LARGEST_DATA)
        except FileNotFoundError:
            return identity
        replace_file(target / DATA_NAME, data)
        return identity


def _identity(path: Path) -> tuple[int, int, int] | None:
    """What changes whenever a file is replaced or written; None when it is no regular file."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size) if stat.S_ISREG(status.st_mode) else None
