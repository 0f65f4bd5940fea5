"""Keys, the index, how one index follows another, and what follows from it. (pure)"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from mra.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

BUCKET = "CONFIG"
STREAM = "KV_CONFIG"
INDEX_KEY = "index"
BUCKET_HEADER = "Mra-Bucket"  # on the index: which of a bucket's re-creations it belongs to
MOST_KEYS = 4096
GREATEST_REVISION = GREATEST_TIME = 2**63 - 1  # what SQLite can store

_CUSTOMER = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9_=/-]+(\.[A-Za-z0-9_=/-]+)*", re.ASCII)
_LONGEST_KEY = 200
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Index(NamedTuple):
    """What keys a customer has, by the SaaS's word."""

    keys: Mapping[str, int]  # key -> revision
    revision: int  # of the index itself
    written: int = 0  # ns since 1970 by the clock of the SaaS; 0 when unknown
    bucket: str = ""  # names the bucket among its re-creations; empty when unknown


class Mark(NamedTuple):
    """Which index the copy follows."""

    revision: int
    written: int
    bucket: str


class Relation(Enum):
    """How an index relates to the one that the copy follows."""

    NEXT = auto()  # the same or a newer one of the same bucket
    OTHER = auto()  # of another bucket: no revision means what it meant
    BACK = auto()  # older: from a replica that lags, or from a backup


class Plan(NamedTuple):
    """What brings the copy in line with an index."""

    read: frozenset[str]
    drop: frozenset[str]


def is_key(text: str) -> bool:
    """Whether `text` may be a key of desired state; the index has a name of its own and is none."""
    return len(text) <= _LONGEST_KEY and text != INDEX_KEY and _KEY.fullmatch(text) is not None


def check_key(text: str) -> str:
    """`text`, if it is a key. Raises BadInput."""
    if not is_key(text):
        raise BadInput(
            f"{text[:80]!r} is no key of desired state: use words of letters, digits and -_=/ with dots between them, "
            f"other than {INDEX_KEY!r}."
        )
    return text


def check_customer(text: str) -> str:
    """`text`, if it can be a customer's id: one token of a subject, no wildcard. Raises BadInput."""
    if not _CUSTOMER.fullmatch(text):
        raise BadInput(f"{text[:80]!r} is no customer id: use 1 to 64 letters, digits, dashes or underscores.")
    return text


def encode(keys: Mapping[str, int]) -> bytes:
    """The index as it is stored."""
    return msgspec.json.encode(dict(sorted(keys.items())))


def decode(body: bytes) -> dict[str, int]:
    """Keys and revisions from an index. Raises BadInput: one wrong entry makes the whole index unusable."""
    try:
        keys = msgspec.json.decode(body, type=dict[str, int])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadInput(f"The index of desired state is no JSON object of keys and revisions ({error}).") from error
    if len(keys) > MOST_KEYS:
        raise BadInput(f"The index of desired state names {len(keys)} keys; at most {MOST_KEYS} are accepted.")
    for key, revision in keys.items():
        if not is_key(key) or not 0 < revision <= GREATEST_REVISION:
            raise BadInput(f"The index of desired state has the entry {key[:80]!r}: {revision}, which cannot be.")
    return keys


def relate(index: Index, mark: Mark | None) -> Relation:
    """How `index` relates to the one at `mark`; without a mark every index is the next."""
    if mark is None:
        return Relation.NEXT
    if index.bucket and mark.bucket and index.bucket != mark.bucket:
        return Relation.OTHER
    dated = bool(index.written and mark.written)
    if index.revision == mark.revision:
        return Relation.OTHER if dated and index.written != mark.written else Relation.NEXT
    if index.revision < mark.revision:
        return Relation.OTHER if dated and index.written > mark.written else Relation.BACK
    return Relation.NEXT


def plan(known: Mapping[str, int], index: Index, *, afresh: bool = False) -> Plan:
    """Which keys to read and which to drop, when the copy holds `known` (key -> revision).

    A key that the index does not name, but whose revision is greater than the index's, was written after it: it is read
    to make sure. `afresh` trusts no revision of the copy, as after a re-creation of the bucket.
    """
    unlisted = known.keys() - index.keys.keys()
    if afresh:
        return Plan(frozenset(index.keys), frozenset(unlisted))
    later = {key for key in unlisted if known[key] > index.revision}
    differing = {key for key, revision in index.keys.items() if known.get(key) != revision}
    return Plan(frozenset(differing | later), frozenset(unlisted - later))


def parse_time(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time as JetStream writes it; 0 for anything else."""
    found = _TIME.fullmatch(text)
    if not found:
        return 0
    seconds, fraction, sign, hours, minutes = found.groups()
    try:
        moment = datetime.fromisoformat(seconds + "+00:00") - _EPOCH
    except ValueError:
        return 0
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    whole = round((moment - offset).total_seconds())
    time = whole * 1_000_000_000 + int((fraction or "").ljust(9, "0"))
    return time if 0 <= time <= GREATEST_TIME else 0
