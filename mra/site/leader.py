"""The leader's service on the bus: answers the followers, each in its own name."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import trio

from mra.aio.session import frame
from mra.errors import BadInput, Fenced, LinkLost, MraError
from mra.log import logger
from mra.outbox.record import Lane
from mra.site import inbox, terms
from mra.site.words import (
    PREFIX,
    Commit,
    Committed,
    Found,
    Hello,
    Look,
    Noted,
    Refusal,
    Report,
    Welcome,
    decode,
    encode,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import msgspec

    from mra.aio.session import Message, Session
    from mra.outbox.outbox import Outbox
    from mra.outbox.sqlite import Connection
    from mra.site.status import SiteStatus

    Verb = Callable[[str, bytes], Awaitable[msgspec.Struct]]

log = logger("site")
MOST_BYTES = 64 * 1024 * 1024  # of requests that wait for the disk
MOST_REQUESTS = 4096
SAAS_PAYLOAD = 1024 * 1024  # what a server takes in one message unless it is told otherwise
_ALL = 2**63 - 1
_BUSY = Refusal("later", "The leader has too much to do just now: everything is kept, try later.")


class Asked(NamedTuple):
    """A request of a follower, by the subject that the bus let its user publish on."""

    follower: str
    verb: str
    about: str
    reply: str
    body: bytes


class Leader:
    """Takes what followers hand over into this node's outbox."""

    def __init__(
        self, name: str, term: int, outbox: Outbox, status: SiteStatus, more: Mapping[str, Verb] | None = None
    ) -> None:
        self._name = name
        self._term = term
        self._outbox = outbox
        self._status = status
        self._more = more or {}
        self._stints: dict[str, str] = {}  # the one that each follower is in, as it said last
        self._locks: defaultdict[str, trio.Lock] = defaultdict(trio.Lock)
        self._bytes = 0

    async def serve(self, session: Session) -> None:
        """Answer over `session` until cancelled. No follower can disturb another, or end this."""
        sender, receiver = trio.open_memory_channel[Asked](MOST_REQUESTS)
        self._bytes = 0  # what an earlier session left in its queue is gone

        def take(message: Message) -> None:
            asked = request(message)
            if asked is None:
                return
            if self._bytes + len(asked.body) > MOST_BYTES:
                asked = asked._replace(body=b"")
            try:
                sender.send_nowait(asked)
            except trio.WouldBlock:
                return  # who asked finds that out, and asks again
            self._bytes += len(asked.body)

        with sender, receiver:
            await session.subscribe(f"{PREFIX}.>", take)
            async with trio.open_nursery() as nursery:
                async for asked in receiver:
                    nursery.start_soon(self._respond, session, asked)

    async def _respond(self, session: Session, asked: Asked) -> None:
        try:
            word = await self.answer(asked) if asked.body else self._put_off(asked.follower)
            await session.send(frame(asked.reply, "", b"", encode(word)))
        except LinkLost as lost:
            log.debug("an answer did not get through", follower=asked.follower, reason=lost.sentence)
        finally:
            self._bytes -= len(asked.body)

    def _put_off(self, follower: str) -> Refusal:
        self._status.heard(follower).refused = _BUSY.sentence
        return _BUSY

    async def answer(self, asked: Asked) -> msgspec.Struct:
        """The answer to one request; a refusal is one as well. Raises nothing."""
        seen = self._status.heard(asked.follower)
        try:
            word = await self._do(asked)
        except MraError as error:
            seen.refused = error.sentence
            log.once_per(30, "a follower is refused", follower=asked.follower, what=asked.verb, reason=error.sentence)
            return refusal(error)
        except Exception as bug:
            log.failure("answering a follower failed in an unexpected way", bug, follower=asked.follower)
            return Refusal("later", "The leader failed in an unexpected way; its log says how.")
        seen.refused = None
        return word

    async def _do(self, asked: Asked) -> msgspec.Struct:
        follower, body = asked.follower, asked.body
        match asked.verb:
            case "hello":
                return await self._hello(follower, decode(body, Hello))
            case "checkpoint":
                return await self._checkpoint(follower, _lane(asked.about), decode(body, Look))
            case "commit":
                return await self._commit(follower, _lane(asked.about), decode(body, Commit))
            case "report":
                return await self._note(follower, decode(body, Report))
            case verb if verb in self._more:
                return await self._more[verb](follower, body)
            case verb:
                raise BadInput(f"A leader knows no {verb[:40]!r}: install the same mra on all nodes.")

    async def _hello(self, follower: str, hello: Hello) -> Welcome:
        """Note the follower's stint, and settle what earlier ones left open here."""
        async with self._locks[follower]:
            self._stints[follower] = hello.stint
            if hello.term > self._term:
                log.once_per(600, "a follower knows a newer leader", follower=follower, leader=hello.leader,
                             term=hello.term)  # fmt: skip
            ours = [mark for mark in hello.ended if mark.leader == self._name]
            heard = {mark.stint for mark in ours}
            left_open = await self._outbox.read(inbox.left_open, follower) - {hello.stint}
            for stint in sorted(left_open & heard):
                await self._end(follower, stint, {mark.lane: mark.number for mark in ours if mark.stint == stint})
            for stint in sorted((left_open - heard).intersection(hello.strange)):
                # The follower has lost its database, so nobody else has these rows.
                await self._end(follower, stint, dict.fromkeys(Lane, _ALL))
            newest = await self._outbox.read(terms.known)
            term = self._term if newest == terms.Term(self._term, self._name) else 0
            asked = sorted(left_open - heard - set(hello.strange))
            return Welcome(self._name, term, SAAS_PAYLOAD, sorted(heard), asked)

    async def deliver_unsettled(self, follower: str) -> int:
        """Deliver what a follower handed over and will never settle; return how many rows.

        Only for one that does not come back: it may have given these rows to another leader.
        """
        async with self._locks[follower]:
            self._stints.pop(follower, None)  # who comes back says hello first, and finds them stored
            rows = (await self._outbox.read(inbox.followers)).get(follower, {}).get("unsettled", 0)
            for stint in sorted(await self._outbox.read(inbox.left_open, follower)):
                await self._end(follower, stint, dict.fromkeys(Lane, _ALL))
        return rows

    async def _end(self, follower: str, stint: str, marks: Mapping[Lane, int]) -> None:
        batches = await self._outbox.read(inbox.settled, follower, stint, marks)

        def end(connection: Connection) -> int:
            inbox.release(connection, self._outbox.settings, batches)
            return inbox.forget(connection, follower, [stint])

        await self._outbox.append_many(batches.drafts, also=end)
        log.info("a stint has ended", follower=follower, stint=stint, settled=len(batches.drafts))

    async def _checkpoint(self, follower: str, lane: Lane, look: Look) -> Found:
        self._require_current(follower, look.stint)
        return await self._outbox.read(inbox.look, follower, lane, look.stint)

    async def _commit(self, follower: str, lane: Lane, commit: Commit) -> Committed:
        size = inbox.check(self._outbox.settings, follower, lane, commit)
        numbers: list[int] = []
        async with self._locks[follower]:
            self._require_current(follower, commit.stint)
            batches = await self._outbox.read(inbox.settled, follower, commit.stint, {lane: commit.settled})

            def store(connection: Connection) -> None:
                inbox.release(connection, self._outbox.settings, batches)
                numbers.append(inbox.receive(connection, self._outbox.settings, follower, lane, commit, size))

            await self._outbox.append_many(batches.drafts, also=store)
        self._status.heard(follower).taken += len(commit.rows)
        return Committed(numbers[-1])

    async def _note(self, follower: str, report: Report) -> Noted:
        self._status.heard(follower).waiting = dict(report.waiting)
        async with self._locks[follower]:
            self._require_current(follower, report.stint)
            batches = await self._outbox.read(inbox.settled, follower, report.stint, report.settled)
            if batches.numbers:

                def take(connection: Connection) -> None:
                    inbox.release(connection, self._outbox.settings, batches)

                await self._outbox.append_many(batches.drafts, also=take)
        return Noted()

    def _require_current(self, follower: str, stint: str) -> None:
        if self._stints.get(follower) != stint:
            raise Fenced(f"{follower} has not said hello in this stint: it connects anew.")


def request(message: Message) -> Asked | None:
    """The request in a message; None when there is none. Pure.

    An answer goes to the inbox of the user whom the bus let speak, whatever the message asks for.
    """
    words = message.subject.split(".")
    if not 3 <= len(words) <= 4 or words[0] != PREFIX or not message.body:
        return None
    follower = words[1]
    inbox_of = f"_INBOX.{follower}."
    if not message.reply.startswith(inbox_of) or set(message.reply) & set("*> "):
        return None
    return Asked(follower, words[2], words[3] if len(words) == 4 else "", message.reply, message.body)


def _lane(word: str) -> Lane:
    try:
        return Lane(word)
    except ValueError as error:
        raise BadInput(f"There is no lane {word[:40]!r}: install the same mra on all nodes.") from error
