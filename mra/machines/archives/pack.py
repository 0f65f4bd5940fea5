"""Packs a plugin's directory into the archive that agents deploy, ours and Choria's. Blocking."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mra.errors import BadInput
from mra.machines.archives.limits import DEFAULT_LIMITS, parts_of
from mra.machines.archives.sums import SUMS_NAME
from mra.machines.archives.swap import DATA_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LEFT_OUT: Final = frozenset({SUMS_NAME, DATA_NAME})  # at the top: the one is made here, the other belongs to a node


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive and the two digests that a specification names, in lower-case hex."""

    name: str
    archive: bytes = field(repr=False)
    checksum: str
    verify_checksum: str


def pack(directory: Path) -> Packed:
    """Pack `directory` under its own name, with a `SHA256SUMS` over all its files at the top.

    The same files give the same bytes, wherever and whenever: entries are sorted, directories come before what is in
    them, times are zero, owners root, and modes 0755 or 0644 by the owner's execute bit.

    Raises:
        BadInput: it holds anything but regular files and directories, or names that Choria's agents do not take.
    """
    directory = directory.absolute()
    entries = list(_entries(directory))
    if not any(name == "machine.yaml" for name, _ in entries):
        raise BadInput(f"{directory} has no machine.yaml; pack the directory of one machine")
    contents = {name: path.read_bytes() for name, path in entries if not path.is_dir()}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items()).encode()
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        archive.addfile(_header(directory.name, 0o755, None))
        _add(archive, f"{directory.name}/{SUMS_NAME}", 0o644, sums)
        for name, path in entries:
            executable = path.stat().st_mode & stat.S_IXUSR
            _add(archive, f"{directory.name}/{name}", 0o755 if executable else 0o644, contents.get(name))
    archive_bytes = packed.getvalue()
    return Packed(
        directory.name, archive_bytes, hashlib.sha256(archive_bytes).hexdigest(), hashlib.sha256(sums).hexdigest()
    )


def _entries(directory: Path) -> Iterator[tuple[str, Path]]:
    """Names and paths of all that is to be packed, each directory before what is in it."""
    if not directory.is_dir():
        raise BadInput(f"{directory} is no directory; name the directory of one machine")
    for folder, folders, files in os.walk(directory):
        folders.sort()
        for each in sorted([*folders, *files]):
            path = directory / folder / each
            name = path.relative_to(directory).as_posix()
            if name not in _LEFT_OUT:
                _check(name, path)
                yield name, path


def _check(name: str, path: Path) -> None:
    mode = path.lstat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise BadInput(f"{path} is neither a regular file nor a directory; agents refuse archives with anything else")
    parts_of(name, DEFAULT_LIMITS)
    if ".." in name or name != name.strip() or (stat.S_ISREG(mode) and len(name) < 2):
        raise BadInput(
            f"{path} has a name that Choria's agents refuse (one character, `..`, or blanks around it); rename it"
        )


def _header(name: str, mode: int, content: bytes | None) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
    header.mode, header.size = mode, len(content or b"")
    header.uname = header.gname = "root"
    return header


def _add(archive: tarfile.TarFile, name: str, mode: int, content: bytes | None) -> None:
    archive.addfile(_header(name, mode, content), io.BytesIO(content or b""))
