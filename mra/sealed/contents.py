"""What a sealed file says: its header in the clear, and the records inside. Pure.

Whoever knows the public half of the sealing key can write a file, so nothing in one is believed: what `check` lets
through is what a site's own outbox could have accepted, under names that can stand in a subject.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import msgspec

from mra.config.index import check_customer
from mra.errors import BadInput, Refused
from mra.outbox.record import ORIGIN, Draft, Lane, Row, check_draft, wire_headers
from mra.uplink import checkpoint
from mra.uplink.pace import MAX_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAGIC = b"MRASEAL"
VERSION = b"\x01"
LARGEST_HEADER = 64 * 1024
LARGEST_RECORD = 80 * 1024 * 1024  # one row of the largest body, and what is around it
_SIGNED = b"mra sealed file v1\n"

Mark = checkpoint.Mark
Moment = checkpoint.Moment
Stored = checkpoint.Stored
_ORIGIN_LINE = re.compile(
    rf"{ORIGIN}: [A-Za-z0-9_-]{{1,64}}-[a-z]{{1,32}} [A-Za-z0-9_-]{{1,64}} \d{{1,19}} \d{{1,19}}\r\n",
    re.ASCII,
)
Name = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
Digits = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
FileId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One lane's rows: those of `epoch` from `first_seq` to `through_seq` that waited when the file was made."""

    lane: Lane
    epoch: Name
    first_seq: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    through_seq: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    total_before: Mark  # rows of the epoch that the site knew to be delivered
    checkpoint_seq: Mark  # stream sequence of the newest checkpoint that it knew

    @property
    def begins_behind(self) -> int:
        """Up to this row of the lane the site knew everything to be settled."""
        return self.first_seq - 1


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What anyone may see of a file, and nobody may change."""

    file: FileId
    agent: Name
    customer: str  # empty where the site does not know
    made: Moment  # wall clock of the site, ns since 1970: for people
    reader: Digits  # X25519 public key that the file is sealed to
    once: Digits  # X25519 public key of this file alone
    signer: Digits | None  # Ed25519 public key
    lanes: Annotated[list[Part], msgspec.Meta(min_length=1, max_length=len(Lane))]


class _Rows(msgspec.Struct, frozen=True, tag="rows", array_like=True):
    lane: Lane
    rows: Annotated[list[tuple[int, str, str, str | None, bytes, int]], msgspec.Meta(min_length=1, max_length=MAX_ROWS)]


class End(msgspec.Struct, frozen=True, tag="end", array_like=True):
    """The last record: how many rows there are, and the signature where the header names a signer."""

    rows: dict[Lane, int]
    signature: bytes | None


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the SaaS says about a file: the newest checkpoint of each of its lanes, as stored."""

    file: FileId
    agent: Name
    customer: str
    made: Moment  # wall clock of the SaaS, ns since 1970: for people
    lanes: dict[Lane, Stored]


_RECORDS = msgspec.msgpack.Decoder(_Rows | End)


class Bundle(msgspec.Struct, frozen=True):
    """Rows of one lane that were one batch when the file was made."""

    lane: Lane
    rows: list[Row]


def decode_header(raw: bytes) -> Header:
    """The header. Raises Refused for one that makes no sense."""
    with _making_sense("header"):
        header = msgspec.json.decode(raw, type=Header)
        if header.customer:
            check_customer(header.customer)
    parts = {part.lane: part for part in header.lanes}
    if len(parts) < len(header.lanes) or any(part.first_seq > part.through_seq for part in header.lanes):
        raise Refused("The header of the file contradicts itself: it was made by something else.")
    return header


def encode_rows(lane: Lane, rows: Iterable[Row]) -> bytes:
    """A batch as a record."""
    return msgspec.msgpack.encode(
        _Rows(lane, [(row.seq, row.id, row.subject, row.headers, row.body, row.wall) for row in rows])
    )


def decode_record(raw: bytes) -> Bundle | End:
    """A record. Raises Refused for one that no site could have written."""
    with _making_sense("record"):
        found = _RECORDS.decode(raw)
        if isinstance(found, End):
            return found
        rows = [Row(seq, id_, subject, headers, body, 0, wall) for seq, id_, subject, headers, body, wall in found.rows]
        for row in rows:
            _check_row(found.lane, row)
        return Bundle(found.lane, rows)


def signed(digest: bytes) -> bytes:
    """What the signer signs, given the SHA-256 of the header and every batch."""
    return _SIGNED + digest


def _check_row(lane: Lane, row: Row) -> None:
    check_draft(Draft(lane, row.subject, row.body, id=row.id))
    headers = row.headers
    if headers is not None and (origin := _ORIGIN_LINE.match(headers)):
        headers = headers[origin.end() :] or None  # a leader's word about a row of a follower
    if headers is not None and wire_headers(_split(headers)) != headers:
        raise BadInput(f"Row {row.seq} of lane {lane} has headers that no site accepts.")
    if not (0 < row.seq < 2**63 and -(2**63) <= row.wall < 2**63):
        raise BadInput(f"Row {row.seq} of lane {lane} has numbers that no outbox gives.")


def _split(headers: str) -> dict[str, str]:
    lines = (line.partition(":") for line in headers.split("\r\n") if line)
    return {name: value.removeprefix(" ") for name, _, value in lines}


@contextmanager
def _making_sense(what: str) -> Iterator[None]:
    try:
        yield
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Refused(f"A {what} of the file makes no sense ({error}): it was made by something else.") from error
    except BadInput as error:
        raise Refused(f"The file holds what no site could have accepted: {error.sentence}") from error
