"""What goes into the outbox and what comes out of it. Pure."""

from __future__ import annotations

import os
import re
import zlib
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from mra.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

ROW_OVERHEAD = 64  # bytes that a row counts besides its id, subject, key, headers and body
LARGEST_BODY = 64 * 1024 * 1024  # no NATS server takes more in one message, whatever its max_payload
LONGEST_TTL = 100 * 365 * 86400.0  # seconds; more does not fit the clock and means "never"
ORIGIN = "Mra-Origin"
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
    id: str | None = None  # at most 128 printable ASCII characters; given at acceptance when absent
    ttl: float | None = None  # seconds of host uptime after which it is shed instead of delivered
    origin: str | None = None  # "<node>-<lane> <epoch> <seq> <previous>": set by a leader for rows of its followers


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


def counted_size(id_: str | None, subject: str, key: str | None, headers: str | None, body: bytes) -> int:
    """Bytes that a row counts against its lane's limit; an id that is not given yet will have 32."""
    return (
        ROW_OVERHEAD
        + (32 if id_ is None else len(id_))
        + len(subject)
        + (0 if key is None else len(key))
        + (0 if headers is None else len(headers))
        + len(body)
    )


def checksum(seq: int, id_: str, subject: str, headers: str | None, body: bytes) -> int:
    """CRC-32 that ties a row's bytes to its place; a flipped bit or a swapped page shows."""
    return zlib.crc32(body, zlib.crc32(f"{seq} {id_} {subject} {headers or ''}".encode()))


def is_intact(row: Row) -> bool:
    """Whether the row still is what was accepted; false as well when damage has changed a column's very type."""
    try:
        return checksum(row.seq, row.id, row.subject, row.headers, row.body) == row.sum
    except TypeError:  # the body is no longer bytes
        return False


def check_draft(draft: Draft) -> None:
    """Raise BadInput for a record that could never be stored or sent. `wire_headers` looks at the headers."""
    lane, subject, body, _, key, id_, ttl, _ = draft
    if not isinstance(lane, Lane):
        raise BadInput(f"There is no lane {lane!r}: use one of {', '.join(Lane)}.")
    check_subject(subject)
    if not isinstance(body, bytes):
        raise BadInput(f"The body for {subject!r} is of type {type(body).__name__}: encode it to bytes.")
    if len(body) > LARGEST_BODY:
        raise BadInput(
            f"The body for {subject!r} has {len(body)} bytes, and NATS carries at most {LARGEST_BODY} in one message:"
            " split it."
        )
    if id_ is not None and not _ID.fullmatch(id_):
        raise BadInput(f"Id {id_[:40]!r} is not allowed: use 1 to 128 printable ASCII characters without spaces.")
    if key is not None and not (0 < len(key) <= 1024 and key.isprintable()):
        raise BadInput(f"Key {key[:40]!r} is not allowed: use 1 to 1024 printable characters.")
    if ttl is not None and not 0 < ttl <= LONGEST_TTL:
        raise BadInput(f"A time to live of {ttl} s is not allowed: use more than 0 s and at most 100 years.")


_ID = re.compile(r"[!-~]{1,128}")
_HEADER_NAME = re.compile(r"[!-9;-~]{1,128}")  # printable ASCII without the colon
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_OURS = ("nats-", "mra-")


def wire_headers(headers: Mapping[str, str]) -> str | None:
    """Headers as lines for the wire, or None when there are none. Raises BadInput for what NATS could not carry."""
    if not headers:
        return None
    lines = []
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise BadInput(f"Header name {name[:40]!r} is not allowed: use printable ASCII without colons.")
        if name.lower().startswith(_OURS):
            raise BadInput(f"Header {name} is reserved: choose a name that does not start with Nats- or Mra-.")
        if _CONTROL.search(value):
            raise BadInput(f"The value of header {name} holds a line break or control character: remove it.")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines)


def origin_header(origin: str) -> str:
    """The line that says which node a row is from. No producer can write it: `wire_headers` refuses the name."""
    return f"{ORIGIN}: {origin}\r\n"


_FORBIDDEN = frozenset(" \t\r\n\x00*>")


@lru_cache(maxsize=4096)
def check_subject(subject: str) -> None:
    """Raise BadInput unless `subject` is one that NATS can publish to below a prefix."""
    if _FORBIDDEN.intersection(subject) or not subject.isprintable():
        raise BadInput(f"Subject {subject[:40]!r} holds a space, control character or wildcard: use dotted words.")
    if not 0 < len(subject.encode()) <= 1024:  # a server ends connections whose protocol lines exceed 4 KiB
        raise BadInput(f"Subject {subject[:40]!r} has {len(subject.encode())} bytes: use 1 to 1024.")
    if subject.startswith(".") or subject.endswith(".") or ".." in subject:
        raise BadInput(f"Subject {subject[:40]!r} has an empty part: use words separated by single dots.")
    if subject == "checkpoint" or subject.startswith("checkpoint."):
        raise BadInput(f"Subject {subject[:40]!r} is kept for the uplink's checkpoints: choose another first word.")
