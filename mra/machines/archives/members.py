"""Reads a gzipped tar as a stream of members, believing nothing it says. Blocking; constant memory.

The standard library's `tarfile` only decodes single headers here. Its extraction has been bypassed repeatedly, and its
reader loads extended headers of any size into memory; this one reads in one pass and caps everything it keeps.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from mra.errors import BadInput
from mra.machines.archives.limits import DEFAULT_LIMITS, Limits, parts_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK: Final = tarfile.BLOCKSIZE
_CHUNK: Final = 64 * 1024
_LONGEST_EXTENSION: Final = 64 * 1024
_FILES: Final = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE})
_WHAT: Final = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.XGLTYPE: "a global header (leave it out with `git archive --format=tar` piped through a plain tar)",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file or a directory; the empty path is the archive's root."""

    parts: tuple[str, ...]
    is_directory: bool
    mode: int
    size: int


class MemberReader:
    """Iterates over the members of an archive; `chunks` yields the contents of the one that was yielded last."""

    def __init__(self, file: BinaryIO, compressed_bytes: int, limits: Limits = DEFAULT_LIMITS) -> None:
        self._stream = gzip.GzipFile(fileobj=file, mode="rb")
        self._limits = limits
        self._most = min(limits.total_bytes, max(limits.ratio_free_bytes, compressed_bytes * limits.ratio))
        self._unpacked = 0
        self._unread = 0  # of the present member, padding included
        self._left = 0  # of the present member's contents

    def __iter__(self) -> Iterator[Member]:
        """Yield members in the order of the archive; raises `BadInput` at the first thing that is not acceptable."""
        count = 0
        while (member := self._next()) is not None:
            count += 1
            if count > self._limits.members:
                raise BadInput(f"archive has more than {self._limits.members} members; split it up")
            yield member

    def chunks(self) -> Iterator[bytes]:
        """The contents of the present member, piece by piece."""
        while self._left:
            piece = self._exactly(min(self._left, _CHUNK))
            self._left -= len(piece)
            self._unread -= len(piece)
            yield piece

    def _next(self) -> Member | None:
        long_name = ""
        size = -1
        for _ in range(4):  # extensions before one member; more than these have no use
            self._skip()
            header = self._header()
            if header is None:
                if long_name:
                    raise BadInput("archive ends after an extended header; pack it again")
                return None
            if header.type == tarfile.GNUTYPE_LONGNAME:
                long_name = self._extension(header).split(b"\0")[0].decode("utf-8", "surrogateescape")
            elif header.type == tarfile.XHDTYPE:
                records = _pax_records(self._extension(header))
                long_name = records.get("path", long_name)
                size = _decimal(records["size"]) if "size" in records else size
            else:
                return self._member(header, long_name or header.name, size if size >= 0 else header.size)
        raise BadInput("archive has too many extended headers before a member; pack it again with another tar")

    def _member(self, header: tarfile.TarInfo, name: str, size: int) -> Member:
        parts = parts_of(name, self._limits)
        if header.type in _FILES and not name.endswith("/") and parts:
            self._left, self._unread = size, _padded(size)
            return Member(parts, False, header.mode, size)
        if header.type == tarfile.DIRTYPE or (header.type in _FILES and name.endswith("/")):
            self._unread = 0 if header.type == tarfile.DIRTYPE else _padded(size)
            return Member(parts, True, header.mode, 0)
        what = _WHAT.get(header.type, f"of the unknown type {header.type!r}")
        raise BadInput(f"archive member {name[:120]!a} is {what}; only regular files and directories are accepted")

    def _header(self) -> tarfile.TarInfo | None:
        """The next header; None at the end mark, or where the archive simply ends between members."""
        block = self._read(_BLOCK)
        if not block or block.count(0) == _BLOCK:
            return None
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.TarError as cause:
            raise BadInput(f"archive has a damaged header ({cause}); pack it again") from cause
        if header.size < 0:
            raise BadInput("archive has a member of negative size; pack it again")
        return header

    def _extension(self, header: tarfile.TarInfo) -> bytes:
        if header.size > _LONGEST_EXTENSION:
            raise BadInput(f"archive has an extended header of {header.size} bytes; pack it again with another tar")
        content = self._exactly(_padded(header.size))
        return content[: header.size]

    def _skip(self) -> None:
        while self._unread:
            self._unread -= len(self._exactly(min(self._unread, _CHUNK)))
        self._left = 0

    def _exactly(self, count: int) -> bytes:
        content = self._read(count)
        if len(content) < count:
            raise BadInput("archive ends in the middle of a member; pack or download it again")
        return content

    def _read(self, count: int) -> bytes:
        try:
            content = self._stream.read(count)
        except (EOFError, zlib.error, gzip.BadGzipFile) as cause:
            raise BadInput(f"archive is no intact gzip file ({cause}); pack it with `tar czf`") from cause
        self._unpacked += len(content)
        if self._unpacked > self._most:
            raise BadInput(f"archive unpacks to more than {self._most} bytes, too many for its size; split it up")
        return content


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BadInput("archive has an extended header with a size that is no number; pack it again")
    return int(text)


def _pax_records(content: bytes) -> dict[str, str]:
    """The records of a POSIX extended header, each `<length> <key>=<value>\\n`."""
    records = {}
    while content:
        digits, space, _ = content[:20].partition(b" ")
        length = _decimal(digits.decode("ascii", "replace")) if space else 0
        record = content[len(digits) + 1 : length]
        if length > len(content) or not record.endswith(b"\n") or b"=" not in record:
            raise BadInput("archive has a damaged extended header; pack it again")
        key, _, value = record[:-1].partition(b"=")
        if key.startswith(b"GNU.sparse"):
            raise BadInput("archive holds a sparse file; pack it without `--sparse`")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        content = content[length:]
    return records
