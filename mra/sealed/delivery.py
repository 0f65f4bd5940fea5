"""The SaaS's side: a verified file goes into the streams, batch by batch, as the uplink would have sent it.

verify the file --> read every lane's checkpoint --> prove what is to be skipped --> publish the rest
                         ^                                                               |
                         '---- the checkpoint moved, or an answer stayed away <----------'

Nothing is published before everything was verified and every lane was found to fit. Whatever ends the work in between
leaves whole batches with their checkpoints; the same import, run again, goes on behind them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import trio

from mra.backoff import full_jitter
from mra.errors import LinkLost, Misconfigured, Refused, Unavailable
from mra.log import logger
from mra.sealed import proof
from mra.sealed.position import Position, find_position
from mra.uplink.answers import NoRoom, NotAtomic, TooManyRows
from mra.uplink.batch import HEADER_ALLOWANCE, Batch
from mra.uplink.jetstream import JetStreamLink
from mra.uplink.pace import MAX_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mra.aio.session import Session
    from mra.outbox.record import Lane, Row
    from mra.sealed.contents import Part
    from mra.sealed.reading import SealedFile, Verified
    from mra.uplink.checkpoint import Stored
    from mra.uplink.link import Link

log = logger("sealed")
_TRIES = 8  # times in a row without a batch stored, before the operator is told to try later
_RETRY_FIRST, _RETRY_CAP = 0.1, 5.0


@dataclass
class LaneOutcome:
    """What became of one lane's part.

    Attributes:
        rows: rows of the file.
        stored: those that this import was told are stored; the others were there before.
        checkpoint: the lane's newest checkpoint afterwards; None when the SaaS has none.
    """

    rows: int
    stored: int = 0
    checkpoint: Stored | None = None


class Target(NamedTuple):
    """Whose rows they are, by the operator's word; `adopt` takes over from another installation of the agent."""

    customer: str
    adopt: bool = False


async def import_sealed(
    session: Session,
    file: SealedFile,
    verified: Verified,
    target: Target,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Lane, LaneOutcome]:
    """Publish the file's rows that the SaaS does not hold yet; `session` is of the account that owns the streams.

    Safe to repeat, to interrupt, and beside others that publish for the same agent. Raises Refused for a file that
    does not fit what is stored (before anything is published, unless another writer interferes), Unavailable when the
    SaaS cannot take it now, LinkLost. Cancelling leaves whole batches.
    """
    agent = file.header.agent
    link = JetStreamLink(session, agent, customer=target.customer)
    stored_rows = partial(proof.stream_rows, session, agent=agent, customer=target.customer)
    return await deliver(link, stored_rows, file, verified, adopt=target.adopt, progress=progress)


async def deliver(
    link: Link,
    stored_rows: proof.StoredRows,
    file: SealedFile,
    verified: Verified,
    *,
    adopt: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Lane, LaneOutcome]:
    """`import_sealed` over a link; `stored_rows` are those of a part's lane and epoch, as its stream has them."""
    _check_sizes(verified, link.max_payload)
    outcomes = {part.lane: LaneOutcome(verified.rows[part.lane]) for part in file.header.lanes}
    work = _Import(link, stored_rows, file, adopt, outcomes, progress)
    delays = full_jitter(_RETRY_FIRST, _RETRY_CAP)
    idle = 0
    while True:
        before = sum(outcome.stored for outcome in outcomes.values())
        try:
            await work.run()
        except (LinkLost, NoRoom):
            raise
        except NotAtomic as reason:
            raise Misconfigured(f"{reason} An import needs them: see `mra saas streams check`.") from reason
        except Unavailable as reason:
            # The checkpoint moved (someone else delivers, too), or an answer stayed away: read it again, then go on.
            idle = 0 if sum(outcome.stored for outcome in outcomes.values()) > before else idle + 1
            if idle >= _TRIES:
                raise
            log.info("reading the checkpoints again", agent=file.header.agent, reason=str(reason))
            await trio.sleep(next(delays))
        else:
            return outcomes


def _check_sizes(verified: Verified, max_payload: int) -> None:
    if verified.largest and verified.largest[0] > max_payload - HEADER_ALLOWANCE:
        size, lane, seq = verified.largest
        raise Refused(
            f"Row {seq} of lane {lane} has {size} bytes, and the SaaS takes messages of {max_payload} at most: raise"
            " max_payload there, then import again."
        )


class _Import:
    """One file on its way into the streams."""

    def __init__(
        self,
        link: Link,
        stored_rows: proof.StoredRows,
        file: SealedFile,
        adopt: bool,
        outcomes: dict[Lane, LaneOutcome],
        progress: Callable[[int, int], None],
    ) -> None:
        self._link = link
        self._stored_rows = stored_rows
        self._file = file
        self._adopt = adopt
        self._outcomes = outcomes
        self._progress = progress
        self._most_rows = MAX_ROWS
        self._proven: dict[Lane, int] = {}  # up to which row of a lane skipping is proven

    async def run(self) -> None:
        """Once through the file. Raises CheckpointMoved and Unavailable where it is to be run again."""
        positions = {part.lane: await self._find_position(part) for part in self._file.header.lanes}
        await self._prove(positions)
        for bundle in self._file.bundles(self._progress):
            position = positions[bundle.lane]
            rows = [row for row in bundle.rows if row.seq > position.through_seq]
            while rows:
                batch, rows = rows[: self._most_rows], rows[self._most_rows :]
                try:
                    position = await self._publish(self._file.part(bundle.lane), position, batch)
                except TooManyRows:
                    if len(batch) == 1:
                        raise
                    self._most_rows = len(batch) // 2
                    rows = batch + rows
            positions[bundle.lane] = position
        for lane, outcome in self._outcomes.items():
            outcome.checkpoint = await self._link.read_checkpoint(lane)

    async def _find_position(self, part: Part) -> Position:
        stored = await self._link.read_checkpoint(part.lane)
        self._outcomes[part.lane].checkpoint = stored
        position = find_position(part, stored, agent=self._file.header.agent, adopt=self._adopt)
        if self._adopt and stored and stored.checkpoint.epoch != part.epoch:
            await proof.prove_unknown(self._stored_rows(part), part)
        return position

    async def _prove(self, positions: dict[Lane, Position]) -> None:
        claims = []
        for part in self._file.header.lanes:
            stored = self._outcomes[part.lane].checkpoint
            through = positions[part.lane].through_seq
            if stored and through > self._proven.get(part.lane, part.begins_behind):
                claims.append(proof.Claim(part, stored.checkpoint))
        for claim in proof.claims_without_proof(claims, self._file.bundles()) if claims else []:
            await proof.prove_by_stream(self._stored_rows(claim.part), claim, self._file.bundles())

    async def _publish(self, part: Part, position: Position, rows: Sequence[Row]) -> Position:
        batch = Batch(part.lane, part.epoch, position.previous, position.total, rows, may_continue=False)
        await self._link.stage(batch)
        stream_seq = await self._link.commit(batch, batch.checkpoint, position.expected)
        self._outcomes[part.lane].stored += len(rows)
        self._proven[part.lane] = batch.through_seq
        return Position(batch.through_seq, batch.checkpoint.total, stream_seq)
