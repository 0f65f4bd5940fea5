"""A lane's link to the leader of its site: `mra.uplink.link.Link` over the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from mra.aio.session import NoAnswer, frame
from mra.errors import Fenced, LinkLost, Unavailable
from mra.outbox import drain
from mra.site.words import ORIGIN_ALLOWANCE, PREFIX, Commit, Committed, Found, Look, answer, encode, sent
from mra.uplink.answers import BatchIncomplete
from mra.uplink.checkpoint import Stored

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from mra.aio.session import Message, Reply, Session
    from mra.outbox.outbox import Outbox
    from mra.outbox.record import Lane
    from mra.site.terms import Stint
    from mra.uplink.batch import Batch
    from mra.uplink.checkpoint import Checkpoint

T = TypeVar("T", bound="msgspec.Struct")
_UNTIL_PING = 0.75  # of our patience; the rest is for the ping, as on the way to the SaaS


class BusLink:
    """Implements `mra.uplink.link.Link`.

    A batch travels whole with its commit: what was staged is only kept in mind. Every commit says what is settled here.
    """

    def __init__(
        self,
        session: Session,
        name: str,
        stint: Stint,
        outbox: Outbox,
        max_payload: int,
        *,
        patience: Callable[[Lane], float] = lambda lane: 10.0,
    ) -> None:
        self._session = session
        self._name = name
        self._stint = stint
        self._outbox = outbox
        self._max_payload = max_payload
        self._patience = patience
        self._staged: set[tuple[Lane, str]] = set()

    @property
    def max_payload(self) -> int:
        """What the SaaS takes, less the header with which the leader says where a row is from."""
        return self._max_payload - ORIGIN_ALLOWANCE

    async def read_checkpoint(self, lane: Lane) -> Stored | None:
        self._staged = {staged for staged in self._staged if staged[0] is not lane}
        found = await self._ask(lane, "checkpoint", Look(self._stint.stint), Found)
        return None if found.checkpoint is None else Stored(found.checkpoint, found.number)

    async def stage(self, batch: Batch) -> None:
        self._staged.add((batch.lane, batch.id))

    async def commit(self, batch: Batch, checkpoint: Checkpoint, expected: int) -> int:
        if (batch.lane, batch.id) not in self._staged:
            raise BatchIncomplete("The batch was given up before its commit.")
        self._staged.discard((batch.lane, batch.id))
        return await self._commit(batch.lane, checkpoint, expected, batch)

    async def put_checkpoint(self, lane: Lane, checkpoint: Checkpoint, expected: int) -> int:
        return await self._commit(lane, checkpoint, expected, None)

    async def publish_singly(self, batch: Batch) -> None:
        """Never called: a leader takes batches."""
        raise NotImplementedError

    async def _commit(self, lane: Lane, checkpoint: Checkpoint, expected: int, batch: Batch | None) -> int:
        settled = (await self._outbox.read(drain.state, lane)).checkpoint_seq
        previous, rows = (batch.previous, sent(batch.rows)) if batch else (0, [])
        word = Commit(self._stint.stint, expected, settled, previous, checkpoint, rows)
        return (await self._ask(lane, "commit", word, Committed)).number

    async def _ask(self, lane: Lane, verb: str, word: msgspec.Struct, kind: type[T]) -> T:
        subject = f"{PREFIX}.{self._name}.{verb}.{lane}"
        patience = self._patience(lane)
        early, late = patience * _UNTIL_PING, patience * (1 - _UNTIL_PING)
        with self._session.reply(subject) as reply:
            await self._session.send(frame(subject, reply.subject, b"", encode(word)))
            try:
                message = await reply.receive(early)
            except NoAnswer:
                await self._session.round_trip(late)
                message = await _last_answer(reply, late)
        if message.status == "503":
            raise LinkLost("The bus of the site stands, and its leader is not there.")
        try:
            return answer(message.body, kind)
        except Fenced as error:
            raise LinkLost(f"The leader goes on without this connection: {error.sentence}") from error


async def _last_answer(reply: Reply, patience: float) -> Message:
    try:
        return await reply.receive(patience)
    except NoAnswer as silence:
        raise Unavailable("The leader is there and does not answer: what was sent may be stored or not.") from silence
