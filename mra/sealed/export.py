"""The site's side: what waits in the outbox goes into a sealed file. Blocking; works beside a running daemon.

Three things can be seen from outside: the file under its own name, whole or not at all; the note in the outbox that its
rows have left, which is there before the file is; and the file's last rows in that note, there before it is named.
A kill between them leaves a note of a file that nobody has: its rows are kept a while for nothing.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from mra.clock import now
from mra.durable import replacement
from mra.errors import BadInput, MraError, Refused, Unavailable
from mra.outbox import drain, exports, parking
from mra.outbox.record import Lane
from mra.outbox.sqlite import Error
from mra.sealed.contents import Part
from mra.sealed.writing import SealedWriter
from mra.site import terms
from mra.uplink.pace import MAX_BYTES, MAX_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mra.outbox.exports import Extent
    from mra.outbox.sqlite import Connection
    from mra.sealed.keys import SealingKey
    from mra.tokens.ed25519 import SigningKey

_DAMAGED = "its bytes no longer match their checksum: the disk changed them"


class Sender(NamedTuple):
    """Whose rows they are. `customer` is empty where the site does not know; without a `signer` a file is unsigned."""

    agent: str
    customer: str
    signer: SigningKey | None
    actor: str  # who exports, for the audit


class Exported(NamedTuple):
    """What went into a file."""

    file: str
    rows: dict[Lane, int]
    parts: list[Part]


def export_sealed(
    connection: Connection,
    path: Path,
    sender: Sender,
    reader: SealingKey,
    *,
    hold: float,
    lanes: Sequence[Lane] = tuple(Lane),
    everything: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Exported:
    """Write the rows that wait in `lanes` to `path`, for `reader` alone; they go on waiting here.

    With `everything` delivered rows that are still kept go along, for a SaaS that was restored from a backup.
    `hold` is `outbox.export_hold` in seconds. Exporting again is always safe. Raises Refused when nothing waits and on
    a follower, Unavailable when the disk of `path` is full, BadInput when it cannot be written, and what the outbox
    raises; then there is no file, and no row is kept for it.
    """
    if stint := terms.current(connection):
        raise Refused(f"This node drains into its site's leader {stint.leader}: export there, where its rows are, too.")
    file = os.urandom(16).hex()
    try:
        extents = exports.begin(
            connection, file, lanes, hold=hold, stamp=now(), actor=sender.actor, everything=everything
        )
        return _write(connection, path, file, extents, sender, reader, progress)
    except BaseException as failure:
        with suppress(Error):
            exports.withdraw(connection, file)
        if isinstance(failure, OSError):
            raise _cannot_write(path, failure) from failure
        raise


def _write(
    connection: Connection,
    path: Path,
    file: str,
    extents: Sequence[Extent],
    sender: Sender,
    reader: SealingKey,
    progress: Callable[[int, int], None],
) -> Exported:
    if not extents:
        raise Refused("Nothing waits in the outbox: there is nothing to export.")
    parts = [_part(extent) for extent in extents]
    total = sum(extent.rows for extent in extents)
    done = 0
    with replacement(path) as out:
        writer = SealedWriter(
            out, reader, file=file, agent=sender.agent, customer=sender.customer, parts=parts, signer=sender.signer
        )
        for extent in extents:
            for count in _write_lane(connection, writer, file, extent):
                done += count
                progress(done, total)
        rows = writer.close()
        if not any(rows.values()):
            raise Refused("Every row that waits is damaged and was parked: see `mra outbox parked`.")
    return Exported(file, rows, parts)


def _write_lane(connection: Connection, writer: SealedWriter, file: str, extent: Extent) -> Iterator[int]:
    """The lane's rows, batch by batch; yields how many each has. Damaged ones are parked, as the uplink would."""
    lane, after = extent.lane, extent.after
    while after < extent.through_seq:
        found = drain.read(connection, lane, after, max_rows=MAX_ROWS, max_bytes=MAX_BYTES)
        if found.damaged:
            parking.park(connection, lane, found.damaged, _DAMAGED)
        rows = [row for row in found.rows if row.seq <= extent.through_seq]
        if rows:
            writer.write(lane, rows)
            exports.finish(connection, file, lane, last_seq=rows[-1].seq, last_wall=rows[-1].wall)
            yield len(rows)
        after = max([*found.damaged, *(row.seq for row in found.rows)], default=extent.through_seq)


def _part(extent: Extent) -> Part:
    return Part(
        lane=extent.lane,
        epoch=extent.epoch,
        first_seq=extent.after + 1,
        through_seq=extent.through_seq,
        total_before=extent.total_before,
        checkpoint_seq=extent.checkpoint_seq,
    )


def _cannot_write(path: Path, error: OSError) -> MraError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(f"There is no room for {path}: free space on its disk, or choose another.")
    return BadInput(f"Cannot write {path} ({error.strerror}): check the directory, its owner and its disk.")
