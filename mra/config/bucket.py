"""Where desired state comes from: the seam `Bucket`, and the real one inside a customer's account.

The account imports two things: direct gets below its own prefix, and the republished writes of its own keys without the
customer in their subject. No consumer and no stream API is within its reach, and none is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from mra.config.index import (
    BUCKET,
    BUCKET_HEADER,
    GREATEST_REVISION,
    INDEX_KEY,
    STREAM,
    Index,
    check_customer,
    decode,
    is_key,
    parse_time,
)
from mra.errors import LinkLost, Misconfigured, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mra.aio.session import Message, Session

_FEED = "machine_room.config."
_REMOVALS = frozenset({"DEL", "PURGE"})


class Entry(NamedTuple):
    """One write to a key, as the bucket holds or republishes it; `value` is None for a removal."""

    key: str
    revision: int
    value: bytes | None
    written: int = 0  # ns since 1970 by the clock of the SaaS; 0 when unknown
    bucket: str = ""


class Bucket(Protocol):
    """What the mirror needs of the SaaS. Methods may raise LinkLost, Unavailable or Misconfigured."""

    async def follow(self, receive: Callable[[Entry], None]) -> None:
        """Have `receive` called, without blocking, for every write from now on, for as long as the link lasts."""

    async def read(self, key: str) -> Entry | None:
        """The newest write to `key`; None when there never was one."""


class SessionBucket:
    """The bucket on a NATS session of a customer's account."""

    def __init__(self, session: Session, customer: str, *, patience: float = 10.0) -> None:
        self._session = session
        self._prefix = f"machine_room.api.DIRECT.GET.{STREAM}.$KV.{BUCKET}.{check_customer(customer)}."
        self._patience = patience

    async def follow(self, receive: Callable[[Entry], None]) -> None:
        """See `Bucket.follow`; messages that are no writes to a key are dropped."""

        def take(message: Message) -> None:
            entry = entry_of(message.subject.removeprefix(_FEED), message.headers, message.body)
            if entry is not None:
                receive(entry)

        await self._session.subscribe(f"{_FEED}>", take)

    async def read(self, key: str) -> Entry | None:
        """See `Bucket.read`."""
        answer = await self._session.request(self._prefix + key, patience=self._patience)
        if answer.status == "404":
            return None
        if answer.status == "503":
            raise Unavailable("The SaaS offers no desired state to this account: its import or bucket is missing.")
        if answer.status:
            raise Misconfigured(f"The SaaS answered {answer.status} when asked for desired state: check its bucket.")
        entry = entry_of(key, answer.headers, answer.body)
        if entry is None:
            raise LinkLost("The SaaS's answer about desired state carries no usable revision.")
        return entry


def entry_of(key: str, headers: Mapping[str, str], body: bytes) -> Entry | None:
    """The write that a message of the bucket tells of; None when it tells of none. Pure."""
    text = headers.get("Nats-Sequence", "")
    # Longer numbers are refused before they are converted: Python would take its time, and then raise.
    revision = int(text) if len(text) <= 19 and text.isascii() and text.isdigit() else 0
    if not 0 < revision <= GREATEST_REVISION or not (key == INDEX_KEY or is_key(key)):
        return None
    value = None if headers.get("KV-Operation", "") in _REMOVALS else body
    written = parse_time(headers.get("Nats-Time-Stamp", ""))
    bucket = headers.get(BUCKET_HEADER, "")[:64]
    return Entry(key, revision, value, written, bucket if bucket.isascii() else "")


def index_of(entry: Entry | None) -> Index | None:
    """The index in a write to its key; None when there is none or it was removed. Raises BadInput for a garbled one."""
    if entry is None or entry.value is None:
        return None
    return Index(decode(entry.value), entry.revision, entry.written, entry.bucket)
