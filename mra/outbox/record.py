"""What goes into the outbox and what comes out of it. Pure."""

from __future__ import annotations

import os
import zlib
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from mra.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

ROW_OVERHEAD = 64  # bytes that a row costs besides subject, headers and body; measured on SQLite, rounded up
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Lane(StrEnum):
    """One ordered queue with a policy of its own."""

    SUBMISSIONS = "submissions"
    EVENTS = "events"
    NODES = "nodes"
    METRICS = "metrics"


def new_id() -> str:
    """128 random bits: names a record wherever it goes, and cannot be guessed by another customer."""
    return os.urandom(16).hex()


class Draft(NamedTuple):
    """A record that a producer wants to be accepted.

    `subject` is relative to the lane's prefix. `key` matters to lanes that keep the newest record per key. Of two
    submissions with one `id` only the first is accepted, so a producer that got no answer may ask again.
    """

    lane: Lane
    subject: str
    body: bytes
    headers: Mapping[str, str] = NO_HEADERS
    key: str | None = None
    id: str | None = None  # given at acceptance when absent
    ttl: float | None = None  # seconds of host uptime after which it is shed instead of delivered


class Receipt(NamedTuple):
    """Proof of acceptance: the record is on disk under this number of its lane."""

    lane: Lane
    seq: int
    id: str
    repeated: bool = False  # the id had been accepted before; `seq` is the earlier row


class Row(NamedTuple):
    """An accepted record as the drain reads it."""

    seq: int
    id: str
    subject: str
    headers: str | None
    body: bytes
    sum: int
    wall: int


def checksum(seq: int, id_: str, subject: str, headers: str | None, body: bytes) -> int:
    """CRC-32 that ties a row's bytes to its place; a flipped bit or a swapped page shows."""
    return zlib.crc32(body, zlib.crc32(f"{seq} {id_} {subject} {headers or ''}".encode()))


def is_intact(row: Row) -> bool:
    """Whether the row still is what was accepted."""
    return checksum(row.seq, row.id, row.subject, row.headers, row.body) == row.sum


def wire_headers(headers: Mapping[str, str]) -> str | None:
    """Headers as lines for the wire, or None when there are none. Raises BadInput for what NATS could not carry."""
    if not headers:
        return None
    lines = []
    for name, value in headers.items():
        if not name.isascii() or not name.isprintable() or not name or ":" in name or " " in name:
            raise BadInput(f"Header name {name!r} is not allowed: use printable ASCII without spaces or colons.")
        if "\r" in value or "\n" in value or "\x00" in value:
            raise BadInput(f"The value of header {name} holds a line break: remove it.")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines)


_FORBIDDEN = frozenset(" \t\r\n\x00*>")


@lru_cache(maxsize=4096)
def check_subject(subject: str) -> None:
    """Raise BadInput unless `subject` is one that NATS can publish to below a prefix."""
    if not subject or len(subject) > 1024:
        raise BadInput(f"Subject {subject[:40]!r} has {len(subject)} characters: use 1 to 1024.")
    if _FORBIDDEN.intersection(subject) or not subject.isprintable():
        raise BadInput(f"Subject {subject!r} holds a space, control character or wildcard: use dotted words.")
    if subject.startswith(".") or subject.endswith(".") or ".." in subject:
        raise BadInput(f"Subject {subject!r} has an empty part: use words separated by single dots.")
    if subject == "checkpoint" or subject.startswith("checkpoint."):
        raise BadInput(f"Subject {subject!r} is kept for the uplink's checkpoints: choose another first word.")
