"""Reads a sealed file: verified whole before a row of it is used. Blocking.

A file is read several times, from one open descriptor: first all of it to verify it, then for its rows. Every reading
verifies each chunk again, under a key that is bound to the header read first, so a file that changes meanwhile ends
the reading instead of slipping other rows in.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from mra.errors import BadInput, Refused
from mra.sealed.chunks import Opener, derive
from mra.sealed.contents import (
    LARGEST_HEADER,
    LARGEST_RECORD,
    MAGIC,
    VERSION,
    Bundle,
    decode_header,
    decode_record,
    signed,
)
from mra.tokens import ed25519

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from mra.outbox.record import Lane
    from mra.sealed.contents import End, Header, Part
    from mra.sealed.keys import SealingSecret


class Verified(NamedTuple):
    """What a whole reading has shown.

    Attributes:
        rows: of each lane.
        signer: Ed25519 public key in hex, of whoever provably made the file; None for an unsigned one.
        largest: bytes of the largest row's headers and body together, its lane and its number.
    """

    rows: dict[Lane, int]
    signer: str | None
    largest: tuple[int, Lane, int] | None


@contextmanager
def open_sealed(path: Path, key: SealingSecret) -> Iterator[SealedFile]:
    """The file for the length of a block. Raises BadInput for another kind of file, Refused for another key."""
    try:
        source = path.open("rb")
    except OSError as error:
        raise BadInput(f"Cannot read {path} ({error.strerror}): check the path and its owner.") from error
    with source:
        yield SealedFile(source, key, path)


class SealedFile:
    """An open file whose header was read. Nothing in it is believed before `verify`."""

    def __init__(self, source: BinaryIO, key: SealingSecret, path: Path) -> None:
        self._source = source
        self.size = source.seek(0, 2)
        source.seek(0)
        preamble = self._read_preamble(path)
        self.header: Header = decode_header(preamble[12:])
        if self.header.reader != key.public.box.hex():
            raise Refused(f"{path} is sealed to another key: use the one whose public half the site was given.")
        once = bytes.fromhex(self.header.once)
        self._key = derive(key.agree(once), once, key.public.box)
        self._start = source.tell()
        self._preamble = preamble

    def _read_preamble(self, path: Path) -> bytes:
        lead = self._source.read(12)
        if lead[:7] != MAGIC:
            raise BadInput(f"{path} is no sealed file of mra: `mra outbox export --sealed` makes one.")
        if lead[7:8] != VERSION:
            raise Refused(f"{path} has a format that this program does not know: install a newer mra.")
        length = int.from_bytes(lead[8:], "big")
        raw = self._source.read(length) if len(lead) == 12 and length <= LARGEST_HEADER else b""
        if len(raw) != length or not raw:
            raise Refused(f"{path} was changed or cut off on its way: copy it again, or let the site export again.")
        return lead + raw

    def part(self, lane: Lane) -> Part:
        """The header's word about a lane that the file has."""
        return next(part for part in self.header.lanes if part.lane is lane)

    def verify(self, progress: Callable[[int, int], None] = lambda done, total: None) -> Verified:
        """Read everything once. Raises Refused for a file that was changed, cut off, or made by something else."""
        counts = {part.lane: 0 for part in self.header.lanes}
        largest: tuple[int, Lane, int] | None = None
        end: End | None = None
        made = b""
        order = _Order(self.header.lanes)
        for record, before in self._records():
            if isinstance(record, Bundle):
                order.check(record)
                counts[record.lane] += len(record.rows)
                size, seq = max((len(row.body) + len((row.headers or "").encode()), row.seq) for row in record.rows)
                largest = max(largest or (0, record.lane, 0), (size, record.lane, seq))
                progress(self._source.tell(), self.size)
            else:
                end, made = record, before
        if end is None or end.rows != counts:
            raise Refused("The file counts other rows than it holds: it was made by something else.")
        return Verified(counts, self._signer(end, made), largest)

    def bundles(self, progress: Callable[[int, int], None] = lambda done, total: None) -> Iterator[Bundle]:
        """The batches, in order; of a file that was verified before."""
        for record, _ in self._records():
            if isinstance(record, Bundle):
                yield record
                progress(self._source.tell(), self.size)

    def _records(self) -> Iterator[tuple[Bundle | End, bytes]]:
        """Every record, with the digest of all that stands before it."""
        self._source.seek(self._start)
        digest = hashlib.sha256(self._preamble)
        opener = Opener(self._source, self._key, digest.digest())
        is_over = False
        while not is_over:
            before = digest.digest()
            length = opener.read(4)
            size = int.from_bytes(length, "big")
            if size > LARGEST_RECORD:
                raise Refused("A record of the file is too large: it was made by something else.")
            raw = opener.read(size)
            digest.update(length + raw)
            record = decode_record(raw)
            is_over = not isinstance(record, Bundle)
            if is_over and not opener.is_over:
                raise Refused("The file goes on behind its end: it was made by something else.")
            yield record, before

    def _signer(self, end: End, digest: bytes) -> str | None:
        signer = self.header.signer
        if signer is None:
            return None
        ed25519.verify(signer, signed(digest), end.signature or b"")
        return signer


class _Order:
    """Lanes in the order of the header, rows in the order of their numbers and within what the header says."""

    def __init__(self, parts: list[Part]) -> None:
        self._left = list(parts)
        self._last = 0

    def check(self, bundle: Bundle) -> None:
        while self._left and self._left[0].lane is not bundle.lane:
            self._left.pop(0)
            self._last = 0
        if self._left:
            last, part = self._last, self._left[0]
            seqs = [row.seq for row in bundle.rows]
            rising = all(one < other for one, other in zip([last, *seqs], seqs, strict=False))
            if rising and part.first_seq <= seqs[0] and seqs[-1] <= part.through_seq:
                self._last = seqs[-1]
                return
        raise Refused("The rows of the file are out of order: it was made by something else.")
