"""Desired state from the vendor's side: what a customer's agents shall do, key by key.

Each change is one atomic batch of two messages on the bucket's stream: the value, and the customer's index that names
it. Two comparisons guard it: the stream must end where it ended when the batch was made, because the index holds the
value's sequence, and the index must be the one that was read. So writers never lose each other's entries, an index
never names a value that is not stored, and whoever is too late reads again and tries again.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

import trio

from mra.aio.session import frame
from mra.backoff import full_jitter
from mra.config.bucket import Entry, entry_of, index_of
from mra.config.index import (
    BUCKET,
    BUCKET_HEADER,
    INDEX_KEY,
    MOST_KEYS,
    STREAM,
    check_customer,
    check_key,
    encode,
    parse_time,
)
from mra.errors import BadInput, LinkLost, Refused, Unavailable
from mra.saas.streams import call_api
from mra.uplink.answers import CheckpointMoved, NoRoom, stream_sequence

if TYPE_CHECKING:
    from mra.aio.session import Message, Session

_PATIENCE = 10.0
_ATTEMPTS = 40
_HEADROOM = 1024  # bytes of headers beside a value


class Head(NamedTuple):
    """Where the bucket ends, and which of its re-creations it is."""

    last: int
    bucket: str


class Listing(NamedTuple):
    """A customer's keys and their revisions, and the revision of the index that names them (0: none yet)."""

    keys: dict[str, int]
    revision: int


async def put(session: Session, customer: str, key: str, value: bytes, *, replaces: int | None = None) -> int:
    """Store a value; returns its revision. Storing the same value again is harmless, and a new revision.

    With `replaces` only while the key is at that revision, or absent for 0; raises Refused when it is not.

    Raises BadInput for a wrong customer or key or a value too large for the SaaS, Unavailable when others kept writing
    first, and LinkLost when the outcome is unclear.
    """
    check_key(key)
    if len(value) > session.max_payload - _HEADROOM:
        raise BadInput(f"The value of {key} has {len(value)} bytes; the SaaS takes {session.max_payload - _HEADROOM}.")
    revision = await _change(session, check_customer(customer), key, value, replaces)
    assert revision is not None
    return revision


async def remove(session: Session, customer: str, key: str) -> bool:
    """Remove a key; returns whether there was one. Raises like `put`."""
    return await _change(session, check_customer(customer), check_key(key), None) is not None


async def begin(session: Session, customer: str) -> bool:
    """Make the index of a customer that has none, so that its agents know that nothing is asked of them.

    Returns whether it was made. Raises like `put`.
    """
    if await _read(session, check_customer(customer), INDEX_KEY) is not None:
        return False
    head = await _head(session)
    headers = f"Nats-Expected-Last-Subject-Sequence:0\r\n{BUCKET_HEADER}:{head.bucket}\r\n"
    subject = f"$KV.{BUCKET}.{customer}.{INDEX_KEY}"
    try:
        stream_sequence(await session.request(subject, encode({}), patience=_PATIENCE, headers=headers.encode()))
    except CheckpointMoved:
        return False
    return True


async def get(session: Session, customer: str, key: str) -> Entry | None:
    """The newest value of a key; None when it is absent or removed. Raises BadInput, Unavailable, LinkLost."""
    entry = await _read(session, check_customer(customer), check_key(key))
    return None if entry is None or entry.value is None else entry


async def ls(session: Session, customer: str) -> Listing:
    """What the customer's index names. Raises Refused for a garbled index, Unavailable, LinkLost."""
    index = index_of(await _read(session, check_customer(customer), INDEX_KEY))
    return Listing(dict(index.keys), index.revision) if index else Listing({}, 0)


async def history(session: Session, customer: str, key: str) -> list[Entry]:
    """The writes of a key that the bucket still holds, oldest first; the bucket keeps the last five."""
    subject = f"$KV.{BUCKET}.{check_customer(customer)}.{check_key(key)}"
    found: list[Entry] = []
    following = 1
    while True:
        request = json.dumps({"seq": following, "next_by_subj": subject}).encode()
        answer = await session.request(f"$JS.API.DIRECT.GET.{STREAM}", request, patience=_PATIENCE)
        entry = _entry(answer, key)
        if entry is None:
            return found
        found.append(entry)
        following = entry.revision + 1


async def _change(
    session: Session, customer: str, key: str, value: bytes | None, replaces: int | None = None
) -> int | None:
    delays = full_jitter(0.01, 1.0)
    for _ in range(_ATTEMPTS):
        head = await _head(session)
        index = await ls(session, customer)
        if replaces not in (None, index.keys.get(key, 0)):
            raise Refused(f"Somebody else has just changed {key} of {customer}: look at it, and decide anew.")
        if value is None and key not in index.keys and await get(session, customer, key) is None:
            return None
        keys = {name: revision for name, revision in index.keys.items() if name != key}
        if value is not None:
            keys[key] = head.last + 1
        if len(keys) > MOST_KEYS:
            raise Refused(f"Customer {customer} has {MOST_KEYS} keys, which is the most agents accept: remove one.")
        try:
            stored = await _commit(session, customer, key, value, encode(keys), head, index.revision)
        except (CheckpointMoved, NoRoom):
            await trio.sleep(next(delays))  # someone else wrote: see what, and try again
            continue
        if stored != head.last + 2:
            raise LinkLost(f"The SaaS stored the index of {customer} elsewhere than agreed: look at it, then repeat.")
        return head.last + 1
    raise Unavailable(f"Others kept changing desired state while {key} of {customer} was to be changed: try again.")


async def _commit(
    session: Session, customer: str, key: str, value: bytes | None, index: bytes, head: Head, index_revision: int
) -> int:
    """The batch of value and index; returns the stream sequence of the index. Raises CheckpointMoved when too late."""
    batch = f"Nats-Batch-Id:{os.urandom(16).hex()}\r\n"
    prefix = f"$KV.{BUCKET}.{customer}."
    first = f"{batch}Nats-Batch-Sequence:1\r\nNats-Expected-Last-Sequence:{head.last}\r\n"
    if value is None:
        first += "KV-Operation:DEL\r\n"
    second = (
        f"{batch}Nats-Batch-Sequence:2\r\nNats-Batch-Commit:1\r\n"
        f"Nats-Expected-Last-Subject-Sequence:{index_revision}\r\n{BUCKET_HEADER}:{head.bucket}\r\n"
    )
    with session.reply() as reply:
        await session.send(
            frame(prefix + key, reply.subject, first.encode(), value or b"")
            + frame(prefix + INDEX_KEY, reply.subject, second.encode(), index)
        )
        answer = await reply.receive(_PATIENCE)
        while not answer.body and not answer.status:  # only says that the first message is staged
            answer = await reply.receive(_PATIENCE)
        return stream_sequence(answer)


async def _head(session: Session) -> Head:
    info = await call_api(session, f"STREAM.INFO.{STREAM}")
    return Head(int(info["state"]["last_seq"]), f"{parse_time(info['created']):x}")


async def _read(session: Session, customer: str, key: str) -> Entry | None:
    answer = await session.request(f"$JS.API.DIRECT.GET.{STREAM}.$KV.{BUCKET}.{customer}.{key}", patience=_PATIENCE)
    return _entry(answer, key)


def _entry(answer: Message, key: str) -> Entry | None:
    if answer.status == "404":
        return None
    if answer.status == "503":
        raise Unavailable(f"The bucket {BUCKET} does not answer: use its owner's credentials, or create it.")
    entry = None if answer.status else entry_of(key, answer.headers, answer.body)
    if entry is None:
        raise Refused(f"The bucket {BUCKET} answers {answer.status or 'without a revision'}: check its allow_direct.")
    return entry
