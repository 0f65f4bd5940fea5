"""Reads records straight from the pages of a database file, where SQLite itself no longer finds them.

SQLite reaches a row through the pages above it: one damaged page near the root hides thousands of intact rows. This
module goes the other way. It visits every page of the file and asks the *pointer map*, which a file with incremental
vacuum keeps beside the trees, whose child it is; so intact leaves are found whatever happened above them, and free
pages, where deleted rows linger, are told apart. Commits that are still in the log count.

Format: sqlite.org/fileformat2.html, sections 1.6 (b-tree pages), 1.8 (pointer map), 2.1 (records), 4 (the log).
What cannot be right is skipped, never guessed; the caller checks what it is given.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

from mra.outbox.sqlite import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Value = int | float | str | bytes | None

_INDEX_INTERIOR, _INDEX_LEAF, _TABLE_LEAF = 0x02, 0x0A, 0x0D
_ROOT, _CHILD = 1, 5  # kinds of pages in the pointer map
_PER_MAP = PAGE_SIZE // 5 + 1  # pages that one page of the pointer map stands for, itself included
_LOCK_PAGE = (1 << 30) // PAGE_SIZE + 1  # holds no data, ever
_DEEPEST = 20  # levels of a tree; more means a loop
_LARGEST_RECORD = 80 * 1024 * 1024
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # serial type -> bytes


class Record(NamedTuple):
    """One row as it lies in a page; `rowid` is None in a table without one."""

    table: str
    rowid: int | None
    values: tuple[Value, ...]


class Pages:
    """The pages of a database file and its log, as of the last commit. Used as a context manager."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._log_path = path.with_name(path.name + "-wal")
        self._log = self._log_path.open("rb", buffering=0) if self._log_path.exists() else None
        self._in_log = {} if self._log is None else _committed_frames(self._log.fileno())
        self.count = max(os.fstat(self._file.fileno()).st_size // PAGE_SIZE, max(self._in_log, default=0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._log is not None:
            self._log.close()

    def read(self, no: int) -> bytes:
        """Page `no`, counted from 1; empty when there is no such page."""
        if self._log is not None and (offset := self._in_log.get(no)):
            return os.pread(self._log.fileno(), PAGE_SIZE, offset)
        page = os.pread(self._file.fileno(), PAGE_SIZE, (no - 1) * PAGE_SIZE) if no > 0 else b""
        return page if len(page) == PAGE_SIZE else b""

    def owner(self, no: int) -> tuple[int, int]:
        """What the pointer map says about a page: its kind, and the page that points to it."""
        map_no = (no - 2) // _PER_MAP * _PER_MAP + 2
        if map_no == _LOCK_PAGE:
            map_no += 1
        entry = self.read(map_no)[5 * (no - map_no - 1) :][:5]
        return (entry[0], int.from_bytes(entry[1:], "big")) if len(entry) == 5 else (0, 0)


def records(pages: Pages, roots: Mapping[int, str]) -> Iterator[Record]:
    """Every record that is alive in the trees of `roots` (root page -> table), in no order."""
    for no in range(3, pages.count + 1):
        page = pages.read(no)
        if not page or page[0] not in (_INDEX_INTERIOR, _INDEX_LEAF, _TABLE_LEAF):
            continue
        table = roots.get(_root(pages, no))
        if table is not None:
            yield from _records_of(pages, page, table)


def _root(pages: Pages, no: int) -> int:
    for _ in range(_DEEPEST):
        kind, parent = pages.owner(no)
        if kind == _ROOT:
            return no
        if kind != _CHILD:
            break
        no = parent
    return 0


def _records_of(pages: Pages, page: bytes, table: str) -> Iterator[Record]:
    start = 12 if page[0] == _INDEX_INTERIOR else 8
    (count,) = struct.unpack_from(">H", page, 3)
    for index in range(min(count, (PAGE_SIZE - start) // 2)):
        (offset,) = struct.unpack_from(">H", page, start + 2 * index)
        try:
            yield _record(pages, page, offset, table)
        except (IndexError, ValueError, struct.error):
            continue


def _record(pages: Pages, page: bytes, offset: int, table: str) -> Record:
    rowid = None
    if page[0] == _INDEX_INTERIOR:
        offset += 4  # the child on the left
    size, offset = _varint(page, offset)
    if page[0] == _TABLE_LEAF:
        rowid, offset = _varint(page, offset)
    payload = _payload(pages, page, offset, size)
    return Record(table, rowid, _values(payload))


def _payload(pages: Pages, page: bytes, offset: int, size: int) -> bytes:
    """A record's bytes: what lies in the page, then the chain of overflow pages."""
    most = PAGE_SIZE - 35 if page[0] == _TABLE_LEAF else (PAGE_SIZE - 12) * 64 // 255 - 23
    least = (PAGE_SIZE - 12) * 32 // 255 - 23
    if size > _LARGEST_RECORD:
        raise ValueError("no record of ours is that large")
    if size <= most:
        return _exactly(page[offset : offset + size], size)
    local = least + (size - least) % (PAGE_SIZE - 4)
    if local > most:
        local = least
    parts = [_exactly(page[offset : offset + local], local)]
    (following,) = struct.unpack_from(">I", page, offset + local)
    missing = size - local
    while missing > 0:
        overflow = pages.read(following)
        (following,) = struct.unpack_from(">I", overflow)
        parts.append(overflow[4 : 4 + missing])
        missing -= PAGE_SIZE - 4
    return _exactly(b"".join(parts), size)


def _exactly(piece: bytes, size: int) -> bytes:
    if len(piece) != size:
        raise ValueError("a record that is cut off")
    return piece


def _values(payload: bytes) -> tuple[Value, ...]:
    end, offset = _varint(payload, 0)
    kinds = []
    while offset < end:
        kind, offset = _varint(payload, offset)
        kinds.append(kind)
    values = []
    for kind in kinds:
        value, offset = _value(payload, offset, kind)
        values.append(value)
    return tuple(values)


def _value(payload: bytes, offset: int, kind: int) -> tuple[Value, int]:
    if kind == 0:
        return None, offset
    if kind in (8, 9):
        return kind - 8, offset
    if kind == 7:
        return struct.unpack_from(">d", payload, offset)[0], offset + 8
    if kind in _INTEGERS:
        size = _INTEGERS[kind]
        return int.from_bytes(_exactly(payload[offset : offset + size], size), "big", signed=True), offset + size
    if kind < 12:
        raise ValueError("a kind of value that SQLite does not use")
    size = (kind - 12) // 2
    raw = _exactly(payload[offset : offset + size], size)
    return (raw.decode("utf-8", "replace") if kind % 2 else raw), offset + size


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    """A big-endian number of seven bits a byte, and where it ends; a ninth byte gives eight bits."""
    value = 0
    for index in range(8):
        byte = data[offset + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + index + 1
    value = value << 8 | data[offset + 8]
    return value - (1 << 64 if value >> 63 else 0), offset + 9


def _committed_frames(log: int) -> dict[int, int]:
    """Page -> offset of its newest image in the log, up to the last commit whose checksums hold."""
    header = os.pread(log, 32, 0)
    if len(header) < 32:
        return {}
    magic, _, page_size = struct.unpack_from(">III", header)
    if magic & ~1 != 0x377F0682 or page_size != PAGE_SIZE:
        return {}
    words = struct.Struct(">" + "II" * 128 if magic & 1 else "<" + "II" * 128)  # 1 KiB at a time
    sums = _checksum(words, header[:24], (0, 0))
    if sums != struct.unpack_from(">II", header, 24):
        return {}
    committed: dict[int, int] = {}
    pending: dict[int, int] = {}
    offset = 32
    while len(frame := os.pread(log, 24 + PAGE_SIZE, offset)) == 24 + PAGE_SIZE:
        no, size_after_commit = struct.unpack_from(">II", frame)
        sums = _checksum(words, frame[24:], _checksum(words, frame[:8], sums))
        if frame[8:16] != header[16:24] or sums != struct.unpack_from(">II", frame, 16):
            break
        pending[no] = offset + 24
        if size_after_commit:
            committed.update(pending)
            pending.clear()
        offset += 24 + PAGE_SIZE
    return committed


def _checksum(words: struct.Struct, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    order = words.format[0]
    for start in range(0, len(data), 1024):
        piece = data[start : start + 1024]
        numbers = words.unpack(piece) if len(piece) == 1024 else struct.unpack(f"{order}{len(piece) // 4}I", piece)
        for one, other in zip(numbers[::2], numbers[1::2], strict=True):
            first = (first + one + second) & 0xFFFFFFFF
            second = (second + other + first) & 0xFFFFFFFF
    return first, second
