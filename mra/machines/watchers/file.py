"""`file`: notices changes of a file, or keeps one as the manifest says (section 3.8 of the reference)."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import trio

from mra.durable import sync_directory
from mra.errors import BadInput
from mra.machines import decode
from mra.machines.decode import Properties
from mra.machines.manifest import IntervalRule
from mra.machines.watchers.base import Outcome
from mra.machines.watchers.polling import PollingWatcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CHANGED, UNCHANGED = "changed", "unchanged"


class FileProperties(Properties):
    """`contents` turns management on, and needs the other three."""

    path: str = decode.text(required=True)
    gather_initial_state: bool = decode.flag()
    contents: str = decode.text()
    owner: str = decode.text()
    group: str = decode.text()
    mode: str = decode.text()

    def faults(self) -> Iterable[tuple[str, str]]:
        """What no single property shows."""
        for name in ("owner", "group", "mode") if self.contents else ():
            if not getattr(self, name):
                yield name, "a file with contents needs it; give it a value"
        if self.mode:
            try:
                parse_mode(self.mode)
            except BadInput as refusal:
                yield "mode", refusal.sentence


class FileWatcher(PollingWatcher[FileProperties]):
    """Compares the file's time of change with the one it remembers; a time that goes back is no change.

    A missing file is an error, at every look. With `contents` the file is written when it is missing, was changed
    since, or differs in mode or contents; the first look writes it in any case, as Choria does.
    """

    kind = "file"
    schema: ClassVar[type[Properties]] = FileProperties
    interval_rule = IntervalRule(default="5s", minimum="500ms")

    _mtime_ns: int = 0  # 0 while nothing is remembered

    @property
    def path(self) -> Path:
        """The file; a relative one lies in the machine's directory."""
        return self.context.directory / self.properties.path

    async def run(self) -> None:
        if self.properties.gather_initial_state:
            with suppress(OSError):
                self._mtime_ns = (await _stat(self.path)).st_mtime_ns
        await super().run()

    async def evaluate(self) -> Outcome:
        changed = await (self._manage() if self.properties.contents else self._look())
        return self.success(CHANGED) if changed else Outcome(UNCHANGED)

    def report(self) -> Mapping[str, Any]:
        return {"path": str(self.path), "previous_outcome": self.outcome}

    async def _look(self) -> bool:
        try:
            found = await _stat(self.path)
        except OSError:
            self._mtime_ns = 0
            raise
        changed = found.st_mtime_ns > self._mtime_ns
        self._mtime_ns = max(found.st_mtime_ns, self._mtime_ns)
        return changed

    async def _manage(self) -> bool:
        expand = self.context.expand
        wanted = _Wanted(
            self.path,
            expand(self.properties.contents).encode("utf-8", "surrogateescape"),
            parse_mode(self.properties.mode),
            expand(self.properties.owner),
            expand(self.properties.group),
        )
        changed, self._mtime_ns = await trio.to_thread.run_sync(wanted.ensure, self._mtime_ns)
        return changed


@dataclass(frozen=True)
class _Wanted:
    """A file as it shall be. All methods block."""

    path: Path
    content: bytes
    mode: int
    owner: str
    group: str

    def ensure(self, mtime_ns: int) -> tuple[bool, int]:
        """Write the file unless it is as wanted and not newer than this; whether it was written, and its time now."""
        if self._is_there(mtime_ns):
            return False, mtime_ns
        self._write()
        return True, self.path.stat().st_mtime_ns

    def _is_there(self, mtime_ns: int) -> bool:
        try:
            found = self.path.stat()
            return (
                found.st_mtime_ns <= mtime_ns
                and stat.S_IMODE(found.st_mode) == self.mode
                and found.st_size == len(self.content)
                and hashlib.sha256(self.path.read_bytes()).digest() == hashlib.sha256(self.content).digest()
            )
        except FileNotFoundError:
            return False

    def _write(self) -> None:
        """Put a finished file in the place of the old one; a reader sees one or the other."""
        owner = (_user(self.owner), _group(self.group)) if self.owner and self.group else None
        fd, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        temporary = Path(name)
        try:
            with open(fd, "wb") as file:
                os.fchmod(fd, self.mode)
                file.write(self.content)
                file.flush()
                if owner is not None:
                    os.fchown(fd, *owner)
                    os.fchmod(fd, self.mode)  # a change of owner clears the bits that give rights away
                os.fsync(fd)
            temporary.rename(self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(self.path.parent)


def parse_mode(text: str) -> int:
    """The mode that a text means: octal with a leading zero, else decimal, as Choria reads it.

    An unquoted `0640` in YAML is the number 416 already and means the same. A decimal `640` would be nonsense and is
    refused. Raises `BadInput`.
    """
    if not (text.isascii() and text.isdigit()):
        raise BadInput('a mode is a number; write it like "0640"')
    try:
        mode = int(text, 8 if text.startswith("0") else 10)
    except ValueError:
        mode = -1
    if not 0 <= mode <= (0o7777 if text.startswith("0") else 0o777):
        raise BadInput(f'{text[:20]!r} is no mode; write it in octal with a leading zero, like "0640"')
    return mode


async def _stat(path: Path) -> os.stat_result:
    return await trio.to_thread.run_sync(path.stat, abandon_on_cancel=True)


def _user(name: str) -> int:
    try:
        return int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        raise BadInput(f"there is no user {name[:40]!r} here; correct the owner") from None


def _group(name: str) -> int:
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        raise BadInput(f"there is no group {name[:40]!r} here; correct the group") from None
