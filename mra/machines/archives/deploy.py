"""Walks an archive all the way from its address to a live tree. Trio."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import trio

from mra.errors import BadInput, Busy, Refused, Unavailable
from mra.machines.archives.extract import extract
from mra.machines.archives.limits import DEFAULT_LIMITS, Limits, parts_of
from mra.machines.archives.patience import DEFAULT_PATIENCE, Patience
from mra.machines.archives.sums import lists, tree_flaw
from mra.machines.archives.swap import DATA_NAME, Place
from mra.machines.archives.tree import remove

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from mra.machines.archives.source import Source

WORK: Final = "tmp"  # in the target; machine loaders ignore it
_PREFIX: Final = "mra-"


@dataclass(frozen=True, slots=True)
class Deployment:
    """What shall be where: the archive of `source` makes a directory `creates`, which shall stand in `target`.

    `checksum` is the SHA-256 of the archive. `verify` names the checksum file within `creates`, and `verify_checksum`
    is the SHA-256 of that; without `verify`, any directory of that name will do.
    """

    source: Source
    checksum: str
    target: Path
    creates: str
    verify: str = ""
    verify_checksum: str = ""
    limits: Limits = field(default=DEFAULT_LIMITS)

    def __post_init__(self) -> None:
        if parts_of(self.creates) != (self.creates,) or self.creates == WORK:
            raise BadInput(f"creates {self.creates[:100]!a} is no name of a directory directly below the target")

    @property
    def live(self) -> Path:
        """The directory that is deployed."""
        return self.target / self.creates

    @property
    def place(self) -> Place:
        """Where the work is done."""
        return _place(self.target, self.creates)


def _place(target: Path, creates: str) -> Place:
    return Place(target / creates, target / WORK / f"{_PREFIX}{creates}")


def flaw(deployment: Deployment) -> str:
    """Why the live tree is not what it shall be, in a clause; empty when it is. Blocking."""
    if not deployment.live.is_dir():
        return f"{deployment.live} does not exist"
    return _content_flaw(deployment, deployment.live)


class Unfit(Refused):
    """The archive is the one that was asked for, and no good: fetching it again changes nothing."""


async def _nothing(tree: Path) -> None:
    """No trial."""


async def deploy(
    deployment: Deployment,
    *,
    check: Callable[[Path], None] = lambda tree: None,
    trial: Callable[[Path], Awaitable[None]] = _nothing,
    patience: Patience = DEFAULT_PATIENCE,
) -> None:
    """Download, unpack, check and swap in; on return the new tree is live for good.

    Args:
        check: blocking; raises `Refused` when the staged tree, complete and verified, may not become live.
        trial: raises `Refused` when the tree that has just become live does not do; the old one comes back.
            Both refusals become `Unfit`.

    Cancelled or refused at any point, the tree that was live before is live again, and nothing else is left; after
    `Unavailable` the beginning of a download is kept for the next attempt.

    Raises:
        Refused: the source does not offer what was asked for.
        Unfit: it does, but that cannot be unpacked, is not as signed, or did not pass its check or trial.
        Unavailable: the source cannot be reached, the disk is full, or (`Busy`) someone else is deploying this.
    """
    # The HTTP client costs the start of every agent a fifth of a second, and most never deploy anything.
    from mra.machines.archives.download import download

    place = deployment.place
    with _workspace(place):
        try:
            await download(
                deployment.source,
                place.work / "archive.tgz",
                checksum=deployment.checksum,
                most_bytes=deployment.limits.archive_bytes,
                patience=patience,
            )
            try:
                place = await trio.to_thread.run_sync(_stage, deployment, place, check)
                await _go_live(place, trial)
            except Refused as refusal:
                raise Unfit(refusal.sentence) from refusal
            except OSError as fault:
                reason = fault.strerror or str(fault)
                raise Unavailable(f"{deployment.creates} cannot be put in place ({reason}); make room there") from fault
        except Unavailable:
            raise
        except BaseException:
            remove(place.work)
            raise
        remove(place.work)


async def _go_live(place: Place, trial: Callable[[Path], Awaitable[None]]) -> None:
    try:
        await trio.to_thread.run_sync(place.swap)
        await trial(place.live)
    except BaseException:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(place.roll_back)
        raise
    await trio.to_thread.run_sync(place.confirm)


def _stage(deployment: Deployment, place: Place, check: Callable[[Path], None]) -> Place:
    """Unpack and check; the place, knowing whether the node's data moves along. Blocking, and cancellable by Trio."""
    archive = place.work / "archive.tgz"
    extract(archive, place.new, limits=deployment.limits, checkpoint=trio.from_thread.check_cancelled)
    staged = place.new / deployment.creates
    if not staged.is_dir() or staged.is_symlink():
        raise Refused(f"{deployment.source.shown} holds no directory {deployment.creates}; pack it under that name")
    found = _content_flaw(deployment, staged)
    if found:
        raise Refused(f"{deployment.source.shown} is not as signed: {found}")
    check(staged)
    own = bool(deployment.verify) and lists(staged, deployment.verify, DATA_NAME)
    return replace(place, keeps_data=not own)


def _content_flaw(deployment: Deployment, tree: Path) -> str:
    return tree_flaw(tree, deployment.verify, deployment.verify_checksum) if deployment.verify else ""


@contextmanager
def _workspace(place: Place) -> Iterator[None]:
    """Hold the directory of the work alone, with what a kill left in it put right; short blocking calls only."""
    try:
        place.work.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(place.work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as fault:
        raise Unavailable(
            f"{place.work} cannot be made ({fault.strerror or fault}); fix the target directory"
        ) from fault
    try:
        _lock(fd, place.work)
        place.recover()
        yield
    finally:
        os.close(fd)


def _lock(fd: int, work: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        still_there = os.path.samestat(os.fstat(fd), work.lstat())
    except (BlockingIOError, FileNotFoundError):
        still_there = False
    if not still_there:
        raise Busy(f"{work} is in use by another deployment; it is tried again later")


def discard(deployment: Deployment) -> None:
    """Remove what interrupted attempts left, the beginning of a download included. Blocking."""
    with suppress(Busy), _workspace(deployment.place):  # whoever works there cleans up
        remove(deployment.place.work)


def recover(target: Path) -> None:
    """Put right whatever kills left anywhere in `target`; call it before machines are loaded from there. Blocking."""
    for work in (target / WORK).glob(f"{_PREFIX}*"):
        recover_one(target, work.name.removeprefix(_PREFIX))


def recover_one(target: Path, creates: str) -> None:
    """Put right what a kill left of one deployment, unless someone is at work on it. Blocking."""
    place = _place(target, creates)
    if place.work.is_dir():
        with suppress(Busy), _workspace(place):
            pass


def remove_deployed(target: Path, creates: str) -> None:
    """Remove a deployed tree, and what interrupted attempts left; `Busy` while someone deploys it. Blocking."""
    place = _place(target, creates)
    with _workspace(place):
        remove(place.live)
        remove(place.work)
