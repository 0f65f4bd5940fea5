"""That rows which are skipped are those that the SaaS holds: numbers alone do not tell a site from a copy of it.

Two proofs, the quick one first: the newest checkpoint's digest over its rows, when the file has them all; otherwise
(the SaaS is past the file's end, or its last batch began before the file) the ids of the rows in the stream, read
once in order beside those of the file. Rows that aged out of the stream, or that the site parked, are in the file
alone; rows that the site shed after an earlier file are in the stream alone. Neither proves anything; a number with
two ids does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from mra.errors import Refused
from mra.outbox import drain
from mra.saas.verify import read_stream
from mra.uplink.checkpoint import checkpoint_name
from mra.uplink.pace import MAX_ROWS
from mra.uplink.subjects import Subjects, stream_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mra.aio.session import Session
    from mra.outbox.record import Lane, Row
    from mra.sealed.contents import Bundle, Part
    from mra.uplink.checkpoint import Checkpoint


# Number and id of each row, in the order of the stream.
StoredRow = AsyncGenerator[tuple[int, str], None]
StoredRows = Callable[["Part"], StoredRow]


class Claim(NamedTuple):
    """Rows of a part up to `checkpoint.through_seq` are to be skipped."""

    part: Part
    checkpoint: Checkpoint


class Quick:
    """The quick proof of one lane, fed with the rows of the file."""

    def __init__(self, claim: Claim) -> None:
        self._checkpoint = claim.checkpoint
        self._rows: list[Row] = []
        self.skipped = 0

    def add(self, rows: Iterable[Row]) -> None:
        """The next rows of the lane."""
        for row in rows:
            if row.seq <= self._checkpoint.through_seq:
                self.skipped += 1
                if row.seq >= self._checkpoint.first_seq and len(self._rows) <= MAX_ROWS:
                    self._rows.append(row)

    @property
    def holds(self) -> bool:
        """Whether nothing is skipped, or the checkpoint's rows are all in the file, bit for bit."""
        found = self._checkpoint
        return not self.skipped or (0 < found.count == len(self._rows) and drain.digest(self._rows) == found.digest)


def claims_without_proof(claims: Iterable[Claim], bundles: Iterable[Bundle]) -> list[Claim]:
    """Claims that the quick proof does not settle; reads the file once."""
    quick = {claim.part.lane: (claim, Quick(claim)) for claim in claims}
    for bundle in bundles:
        if bundle.lane in quick:
            quick[bundle.lane][1].add(bundle.rows)
    return [claim for claim, proof in quick.values() if not proof.holds]


async def prove_by_stream(stored: StoredRow, claim: Claim, bundles: Iterable[Bundle]) -> None:
    """Compare ids with the stream's. Raises Refused for a row that is another one there, LinkLost."""
    part = claim.part
    mine = _file_rows(part.lane, claim.checkpoint.through_seq, bundles)
    row = next(mine, None)
    async with aclosing(stored):
        async for seq, id_ in stored:
            while row is not None and row.seq < seq:
                row = next(mine, None)
            if row is None:
                return
            if row.seq == seq and row.id != id_:
                raise Refused(
                    f"Row {seq} of lane {part.lane} is another one at the SaaS: this file is of a copy of the site that"
                    " went its own way."
                )


async def prove_unknown(stored: StoredRow, part: Part) -> None:
    """Before a site takes over from another installation: it must not have been here before. Raises Refused."""
    async with aclosing(stored):
        async for seq, _ in stored:
            raise Refused(
                f"Lane {part.lane} was delivered from this file's epoch before (row {seq}), and another writer took"
                " over since: storing more of it would store rows twice."
            )


def _file_rows(lane: Lane, through_seq: int, bundles: Iterable[Bundle]) -> Iterator[Row]:
    for bundle in bundles:
        if bundle.lane is lane:
            for row in bundle.rows:
                if row.seq > through_seq:
                    return
                yield row


async def stream_rows(session: Session, part: Part, *, agent: str, customer: str) -> StoredRow:
    """The rows of the part's lane and epoch, from the stream."""
    subject = f"{Subjects(agent, customer).rows(part.lane)}>"
    origin = [checkpoint_name(agent, part.lane), part.epoch]
    messages = read_stream(session, stream_of(part.lane), subject=subject)
    async with aclosing(messages):  # type: ignore[type-var]
        async for message in messages:
            words = message.headers.get("Mra-Row", "").split(" ")
            if words[:2] == origin and len(words) == 4 and words[2].isdecimal():
                yield int(words[2]), message.headers.get("Mra-Id", "")
