"""What a leader stores for its followers: units that run inside the outbox's transactions.

A batch is received in one transaction with its checkpoint, and waits in `site_batch`. Once its follower has settled it,
its rows move to the leader's lanes in another: there they are accepted as the leader's own rows are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from mra.clock import now
from mra.errors import OutboxFull, Rejected, StoreBroken
from mra.outbox import drain, lanes
from mra.outbox.bounds import room_in_file
from mra.outbox.record import Lane, counted_size
from mra.site.words import ORIGIN_ALLOWANCE, Commit, Found, Sent, drafts, rows_of
from mra.uplink.answers import CheckpointMoved, TooManyRows
from mra.uplink.checkpoint import Checkpoint, encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mra.outbox.policy import OutboxSettings
    from mra.outbox.record import Draft
    from mra.outbox.sqlite import Connection

_SHARE = 4  # one batch takes a fourth of its lane at most, so that two of each wait with room to spare


class Settled(NamedTuple):
    """Batches whose follower has settled them, and their rows as records of the leader."""

    follower: str
    numbers: Sequence[tuple[Lane, int]]
    drafts: Sequence[Draft]


class Content(msgspec.Struct, array_like=True, frozen=True):
    """What `site_batch.rows` holds."""

    epoch: str
    previous: int
    rows: list[Sent]


def look(connection: Connection, follower: str, lane: Lane, stint: str) -> Found:
    """The newest checkpoint of a lane in a stint."""
    found = connection.execute(
        "SELECT number, body FROM site_checkpoint WHERE follower = ? AND lane = ? AND stint = ?",
        (follower, lane.value, stint),
    ).fetchone()
    return Found(found[0], msgspec.json.decode(found[1], type=Checkpoint)) if found else Found(0)


def settled(connection: Connection, follower: str, stint: str, through: Mapping[Lane, int]) -> Settled:
    """The batches of a stint up to the settled number of each lane."""
    numbers: list[tuple[Lane, int]] = []
    records: list[Draft] = []
    for lane, number in through.items():
        for batch, body in connection.execute(
            "SELECT number, rows FROM site_batch WHERE follower = ? AND lane = ? AND stint = ? AND number <= ?"
            " ORDER BY number",
            (follower, lane.value, stint, number),
        ):
            content = msgspec.msgpack.decode(body, type=Content)
            records += drafts(follower, lane, content.epoch, content.previous, content.rows)
            numbers.append((lane, batch))
    return Settled(follower, numbers, records)


def left_open(connection: Connection, follower: str) -> set[str]:
    """Stints of a follower of which batches are here that it has not settled, as far as is known."""
    found = connection.execute("SELECT DISTINCT stint FROM site_batch WHERE follower = ?", (follower,))
    return {stint for (stint,) in found}


def check(settings: OutboxSettings, follower: str, lane: Lane, commit: Commit) -> int:
    """Bytes that the rows of a commit will count in their lane.

    Raises Rejected for rows that can never be accepted, TooManyRows for more than the lane takes at once.
    """
    checkpoint = commit.checkpoint
    seqs = [row.seq for row in commit.rows]
    ordered = all(before < after for before, after in zip([commit.previous, *seqs], seqs, strict=False))
    if not ordered or (seqs and (checkpoint.count, checkpoint.through_seq) != (len(seqs), seqs[-1])):
        raise Rejected("The checkpoint does not fit the rows that came with it.")
    if seqs and drain.digest(rows_of(commit)) != checkpoint.digest:
        raise Rejected("The rows are not those that the checkpoint speaks of: their digest is another.")
    size = 0
    for draft in drafts(follower, lane, checkpoint.epoch, commit.previous, commit.rows):
        headers = sum(len(name) + len(value) + 4 for name, value in draft.headers.items())
        size += counted_size(draft.id, draft.subject, None, None, draft.body) + headers + ORIGIN_ALLOWANCE
    if size > settings.lanes[lane].max_bytes // _SHARE:
        raise TooManyRows(f"{size} bytes at once are too many for lane {lane} of the leader.")
    return size


def receive(
    connection: Connection, settings: OutboxSettings, follower: str, lane: Lane, commit: Commit, size: int
) -> int:
    """Store a commit, if the newest checkpoint of the lane is the expected one; return its number.

    Part of the caller's transaction. Raises CheckpointMoved, OutboxFull.
    """
    found = connection.execute(
        "SELECT number, stint FROM site_checkpoint WHERE follower = ? AND lane = ?", (follower, lane.value)
    ).fetchone()
    last, stint = found or (0, commit.stint)
    if commit.expected != (last if stint == commit.stint else 0):
        raise CheckpointMoved(f"The newest checkpoint of lane {lane} of {follower} is at {last}.")
    number = int(last) + 1
    if commit.rows:
        require_room(connection, settings, {lane: size})
        content = Content(commit.checkpoint.epoch, commit.previous, commit.rows)
        connection.execute(
            "INSERT INTO site_batch (follower, lane, number, stint, count, bytes, rows) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (follower, lane.value, number, commit.stint, len(commit.rows), size, msgspec.msgpack.encode(content)),
        )
    connection.execute(
        "INSERT OR REPLACE INTO site_checkpoint (follower, lane, stint, number, body, wall) VALUES (?, ?, ?, ?, ?, ?)",
        (follower, lane.value, commit.stint, number, encode(commit.checkpoint).decode(), now().wall),
    )
    return number


def require_room(connection: Connection, settings: OutboxSettings, sizes: Mapping[Lane, int]) -> None:
    """Raise OutboxFull unless the lanes take so much beside what waits: nothing is shed to make room for a follower."""
    for lane, size in sizes.items():
        waiting = lanes.load(connection, lane).waiting_bytes
        held = connection.execute("SELECT coalesce(sum(bytes), 0) FROM site_batch WHERE lane = ?", (lane.value,))
        if waiting + held.fetchone()[0] + size > settings.lanes[lane].max_bytes:
            raise OutboxFull(f"Lane {lane} of the leader is full ({waiting >> 10} KiB wait): try later.")
    if 2 * sum(sizes.values()) > room_in_file(connection, settings):
        raise OutboxFull("The outbox of the leader is full: try later.")


def release(connection: Connection, settings: OutboxSettings, batches: Settled) -> None:
    """Give up settled batches; the caller accepts their rows in the same transaction. Raises OutboxFull."""
    sizes: dict[Lane, int] = {}
    for lane, number in batches.numbers:
        gone = connection.execute(
            "DELETE FROM site_batch WHERE follower = ? AND lane = ? AND number = ? RETURNING bytes",
            (batches.follower, lane.value, number),
        ).fetchall()
        if not gone:
            raise StoreBroken(f"Batch {number} of {batches.follower} was accepted by another message already.")
        sizes[lane] = sizes.get(lane, 0) + gone[0][0]
    require_room(connection, settings, sizes)


def forget(connection: Connection, follower: str, stints: Sequence[str]) -> int:
    """Drop what was not settled of stints that are over; return how many rows: they wait at the follower."""
    dropped = 0
    for stint in stints:
        gone = connection.execute(
            "DELETE FROM site_batch WHERE follower = ? AND stint = ? RETURNING count", (follower, stint)
        ).fetchall()
        dropped += sum(count for (count,) in gone)
    return dropped


def followers(connection: Connection) -> dict[str, dict[str, int]]:
    """What is stored of each follower: rows that it has not settled yet, as far as is known."""
    return {
        follower: {"unsettled": unsettled}
        for follower, unsettled in connection.execute(
            "SELECT follower, sum(unsettled) FROM v_followers GROUP BY follower ORDER BY follower"
        )
    }
