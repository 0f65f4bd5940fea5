"""The link on a real NATS session, of a customer or of the owner of the streams."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from mra.aio.session import NoAnswer, frame
from mra.errors import LinkLost, Misconfigured
from mra.uplink import answers
from mra.uplink.batch import checkpoint_headers
from mra.uplink.checkpoint import decode, encode
from mra.uplink.subjects import Subjects

if TYPE_CHECKING:
    from collections.abc import Callable

    from mra.aio.session import Message, Reply, Session
    from mra.outbox.record import Lane
    from mra.uplink.batch import Batch
    from mra.uplink.checkpoint import Checkpoint, Stored

_WINDOW = 256  # messages on their way in the fallback
_UNTIL_PING = 0.75  # of our patience; the rest is for the ping, so that a dead connection is known when patience ends


class JetStreamLink:
    """Implements `mra.uplink.link.Link`.

    When an answer is missing, a ping tells whether the connection is dead, which ends it for every lane, or one stream
    keeps silent, which is one lane's trouble: the compare-and-swap makes it safe to ask again on the same connection.
    """

    def __init__(
        self,
        session: Session,
        agent: str,
        *,
        patience: Callable[[Lane], float] = lambda lane: 10.0,
        customer: str | None = None,
    ) -> None:
        """`customer` names whose rows they are, on a session of the account that owns the streams."""
        self._session = session
        self._agent = agent
        self._subjects = Subjects(agent, customer)
        self._patience = patience  # seconds that an answer to a lane may take
        self._staged: dict[Lane, dict[str, Reply]] = {}

    @property
    def max_payload(self) -> int:
        return self._session.max_payload

    async def read_checkpoint(self, lane: Lane) -> Stored | None:
        self._abandon_staged(lane)
        subject = self._subjects.newest_checkpoint(lane)
        answer = await self._request(lane, subject, b"", b"")
        if answer.status == "404":
            return None
        if answer.status == "503":
            raise answers.StreamAway(
                f"The SaaS does not answer on {subject}: its stream or the account's import is missing."
            )
        if answer.status:
            raise Misconfigured(f"The SaaS answered {answer.status} on {subject}: check the stream's allow_direct.")
        try:
            sequence = int(answer.headers["Nats-Sequence"])
        except (KeyError, ValueError) as error:
            raise LinkLost(f"The answer on {subject} carries no stream sequence.") from error
        return decode(answer.body, sequence)

    async def stage(self, batch: Batch) -> None:
        reply = self._session.open_reply(self._subjects.rows(batch.lane))
        self._staged.setdefault(batch.lane, {})[batch.id] = reply
        await self._session.send(batch.frames(self._subjects, reply.subject))

    async def commit(self, batch: Batch, checkpoint: Checkpoint, expected: int) -> int:
        reply = self._staged.get(batch.lane, {}).pop(batch.id, None)
        if reply is None:
            raise answers.BatchIncomplete("The batch was given up before its commit.")
        try:
            headers = batch.commit_headers(expected)
            wire = frame(self._subjects.checkpoint(batch.lane), reply.subject, headers, encode(checkpoint))
            await self._session.send(wire)
            answer = await self._receive(batch.lane, reply)
            while _only_says_staged(answer):
                answer = await self._receive(batch.lane, reply)
            return answers.committed_sequence(answer, batch.id, len(batch.rows) + 1)
        finally:
            self._session.forget(reply)

    async def put_checkpoint(self, lane: Lane, checkpoint: Checkpoint, expected: int) -> int:
        answer = await self._request(
            lane, self._subjects.checkpoint(lane), encode(checkpoint), checkpoint_headers(expected)
        )
        return answers.stream_sequence(answer)

    async def publish_singly(self, batch: Batch) -> None:
        for start in range(0, len(batch.rows), _WINDOW):
            await self._publish_window(batch, range(start, min(start + _WINDOW, len(batch.rows))))

    async def _publish_window(self, batch: Batch, indexes: range) -> None:
        prefix = self._subjects.rows(batch.lane)
        with ExitStack() as stack:
            replies = [stack.enter_context(self._session.reply(prefix)) for _ in indexes]
            frames = [
                frame(
                    prefix + batch.rows[index].subject,
                    reply.subject,
                    batch.single_headers(self._agent, index),
                    batch.rows[index].body,
                )
                for index, reply in zip(indexes, replies, strict=True)
            ]
            await self._session.send(b"".join(frames))
            for reply in replies:
                answers.stream_sequence(await self._receive(batch.lane, reply))

    async def _request(self, lane: Lane, subject: str, body: bytes, headers: bytes) -> Message:
        with self._session.reply(subject) as reply:
            await self._session.send(frame(subject, reply.subject, headers, body))
            return await self._receive(lane, reply)

    async def _receive(self, lane: Lane, reply: Reply) -> Message:
        patience = self._patience(lane)
        early, late = patience * _UNTIL_PING, patience * (1 - _UNTIL_PING)
        try:
            return await reply.receive(early)
        except NoAnswer:
            await self._session.round_trip(late)
        try:
            return await reply.receive(late)
        except NoAnswer as silence:
            raise answers.StreamAway(
                f"The SaaS is there, and one of its streams did not answer within {patience:g} s: what was sent may be"
                " stored or not."
            ) from silence

    def _abandon_staged(self, lane: Lane) -> None:
        """Whoever reads the checkpoint starts over: batches staged before will not be committed."""
        for reply in self._staged.pop(lane, {}).values():
            self._session.forget(reply)


def _only_says_staged(answer: Message) -> bool:
    """The answer to a batch's first message: empty when all is well, an error when the batch is refused early."""
    return not answer.body and not answer.status
