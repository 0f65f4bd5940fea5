"""A follower and several nodes that may lead, in one process and without a bus: all but the wire is the real code.

Requests go straight to the leader's code, and can be lost before or after they took effect. Each leader has a SaaS in
memory of its own, so that it shows who delivered what.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from mra.aio.session import Message
from mra.clock import now
from mra.errors import LinkLost
from mra.outbox import drain
from mra.outbox.record import Draft, Lane
from mra.outbox.store import Request, accept
from mra.site import inbox, terms
from mra.site.follower import Follower
from mra.site.leader import Leader, request
from mra.site.link import BusLink
from mra.site.status import SiteStatus
from mra.site.words import PREFIX, Noted, Report, answer, encode
from mra.uplink.lane import LaneDrain
from mra.uplink.pace import Shares
from mra.uplink.sending import LaneMemory
from mra.uplink.status import LaneStatus
from tests.fakes import Crash, DirectOutbox, FakeSaas
from tests.uplink.site import QUIET_SECONDS, ROOMY, Site

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from mra.site.terms import Stint

LANE = Lane.EVENTS
FOLLOWER = "f"


class LeaderOutbox(DirectOutbox):
    """The part of `Outbox` that a leader uses."""

    async def append_many(self, drafts: Any, also: Any = None) -> Any:
        await trio.lowlevel.checkpoint()
        crashes = False
        if self.breaks_at is not None:
            self.breaks_at -= 1
            crashes = self.breaks_at < 0
        if crashes and not self.late:
            raise Crash
        (outcome,) = accept(self.connection, self.path, [Request(drafts, also)], self.settings, now())
        if isinstance(outcome, Exception):
            raise outcome
        if crashes:
            raise Crash
        self.wake()
        return outcome


class FollowerOutbox(DirectOutbox):
    """One whose disk may be slow, so that the leader has the next batch before this one is settled."""

    is_slow = False

    async def run_unit(self, unit: Any, /, *args: Any, **kwargs: Any) -> Any:
        if self.is_slow:
            await trio.sleep(1)
        return await super().run_unit(unit, *args, **kwargs)


class Circuit:
    """One connection of the follower to a leader; at request `breaks_at` it is lost, after taking effect if `late`."""

    max_payload = 1 << 20

    def __init__(self, leader: Leader, breaks_at: int | None = None, late: bool = False) -> None:
        self._leader = leader
        self._left = breaks_at
        self._late = late
        self._answers: list[bytes] = []
        self.lost = trio.Event()

    @contextmanager
    def reply(self, asks: str = "") -> Iterator[Any]:
        yield SimpleNamespace(subject=f"_INBOX.{FOLLOWER}.x.1", receive=self._receive)

    async def send(self, wire: bytes) -> None:
        line, _, rest = wire.partition(b"\r\n")
        _, subject, reply, size = line.decode().split(" ")
        await self._ask(subject, reply, rest[: int(size)])

    async def request(self, subject: str, body: bytes, *, patience: float) -> Message:
        await self._ask(subject, f"_INBOX.{FOLLOWER}.x.1", body)
        return await self._receive(patience)

    async def _receive(self, _: float) -> Message:
        await trio.lowlevel.checkpoint()
        return Message("", self._answers.pop(), {}, "")

    async def _ask(self, subject: str, reply: str, body: bytes) -> None:
        breaks = False
        if self._left is not None:
            self._left -= 1
            breaks = self._left < 0
        if breaks and not self._late:
            raise LinkLost("the circuit is broken")
        asked = request(Message(subject, body, {}, "", reply))
        assert asked is not None
        said = encode(await self._leader.answer(asked))
        if breaks:
            self._late = False
            raise LinkLost("the circuit broke before the answer came")
        self._answers.append(said)


class Node:
    """A node that may lead, with what it stores and delivers."""

    def __init__(self, name: str) -> None:
        self.name, self.term = name, 0
        self.saas = FakeSaas()
        self.site = Site(self.saas, ROOMY, lane=LANE, name=name)
        self.site.outbox.close()
        self.site.outbox = LeaderOutbox(self.site.outbox.path, ROOMY)
        self.restart()

    def lead(self, term: int) -> None:
        self.term = term
        terms.learn(self.site.outbox.connection, term, self.name)
        self.restart()

    def lose_disk(self) -> None:
        """It begins again with nothing; what it had delivered is forgotten by the count, too."""
        self.site.outbox.close()
        for file in self.site.folder.iterdir():
            file.unlink()
        self.site.outbox = LeaderOutbox(self.site.outbox.path, ROOMY)
        self.saas.wipe()
        self.lead(self.term)

    def restart(self) -> None:
        self.site.restart()
        self.leader = Leader(self.name, self.term, self.site.outbox, SiteStatus("leader"))  # type: ignore[arg-type]

    def deliver(self) -> None:
        """Drain its own outbox into the SaaS."""
        self.site.drain()

    def numbers(self) -> list[int]:
        """The follower's rows that this node has delivered, by their bodies."""
        return [int(row.body) for row in self.saas.lane(LANE).rows]

    def unsettled(self) -> int:
        return sum(one["unsettled"] for one in inbox.followers(self.site.outbox.connection).values())


class ShortCircuit:
    """The whole site; times and tasks are those of one thread with a mock clock."""

    def __init__(self, leaders: int = 2) -> None:
        self.nodes = [Node(f"n{number}") for number in range(1, leaders + 1)]
        self.follower = Site(FakeSaas(), ROOMY, lane=LANE, name=FOLLOWER)
        self.follower.outbox.close()
        self.follower.outbox = FollowerOutbox(self.follower.outbox.path, ROOMY)
        self._numbers = itertools.count(1)
        self.accepted: list[int] = []

    def close(self) -> None:
        for site in (self.follower, *(node.site for node in self.nodes)):
            site.close()

    def take_over(self, index: int) -> None:
        """A node begins to lead in the next term; those before it still believe that they lead."""
        self.nodes[index].lead(1 + max(node.term for node in self.nodes))

    def accept(self, count: int) -> None:
        """Rows at the follower."""
        numbers = [next(self._numbers) for _ in range(count)]
        drafts = [Draft(LANE, "model.row", b"%d" % number) for number in numbers]
        outbox = self.follower.outbox
        (outcome,) = accept(outbox.connection, outbox.path, [Request(drafts)], ROOMY, now())
        assert isinstance(outcome, list), outcome
        self.accepted += numbers
        outbox.wake()

    def drain(
        self,
        index: int,
        *,
        breaks_at: int | None = None,
        crashes_at: int | None = None,
        late: bool = False,
        reports: bool = True,
        slow: bool = False,
        leader_crashes_at: int | None = None,
    ) -> None:
        """A session of the follower with one node: until it breaks, its process crashes, or nothing happens."""
        outbox = self.follower.outbox
        outbox.breaks_at, outbox.late = crashes_at, late
        outbox.is_slow = slow  # type: ignore[attr-defined]
        node = self.nodes[index]
        node.site.outbox.breaks_at, node.site.outbox.late = leader_crashes_at, late
        circuit = Circuit(node.leader, breaks_at, late)

        async def session() -> None:
            follower = Follower(FOLLOWER, outbox, SiteStatus("follower"))  # type: ignore[arg-type]
            place = await follower._introduce(circuit)  # type: ignore[arg-type]
            link = BusLink(circuit, FOLLOWER, place.stint, outbox, place.max_payload)  # type: ignore[arg-type]
            memory = LaneMemory()
            memory.pace.limit(4)  # two rows a batch, so that one is settled while the next is on its way
            shares = Shares(dict.fromkeys(Lane, 1))
            lane = LaneDrain(LANE, outbox, link, shares, LaneStatus(), memory)  # type: ignore[arg-type]
            with trio.move_on_after(QUIET_SECONDS):
                await lane.run()
            if reports:
                await self._report(circuit, place.stint)

        self._run(session)
        outbox.breaks_at = None
        if crashes_at is not None:
            self.follower.restart()
        if leader_crashes_at is not None:
            node.restart()

    async def _report(self, circuit: Circuit, stint: Stint) -> None:
        settled = (await self.follower.outbox.read(drain.state, LANE)).checkpoint_seq
        word = Report(stint.stint, {LANE: settled}, {})
        answer((await circuit.request(f"{PREFIX}.{FOLLOWER}.report", encode(word), patience=1)).body, Noted)

    def greet(self, index: int, *, breaks_at: int | None = None, late: bool = False) -> None:
        """The follower says hello to a node that it does not drain into, and leaves."""
        circuit = Circuit(self.nodes[index].leader, breaks_at, late)

        async def session() -> None:
            outbox = self.follower.outbox
            follower = Follower(FOLLOWER, outbox, SiteStatus("follower"))  # type: ignore[arg-type]
            await follower._say_hello(circuit, await outbox.read(terms.current))  # type: ignore[arg-type]

        self._run(session)

    def finish(self) -> None:
        """Everybody is there: the newest leader is drained into, the others are greeted, all deliver."""
        newest = max(range(len(self.nodes)), key=lambda index: self.nodes[index].term)
        self.drain(newest)
        for index, node in enumerate(self.nodes):
            if index != newest:
                self.greet(index)
            node.deliver()

    def delivered(self) -> list[int]:
        """The follower's rows that stand at the SaaS, whoever brought them."""
        return sorted(itertools.chain.from_iterable(node.numbers() for node in self.nodes))

    def check(self) -> None:
        """No row twice, each node's in order, and all books balanced."""
        delivered = self.delivered()
        assert len(delivered) == len(set(delivered)), "a row is delivered twice"
        for node in self.nodes:
            assert node.numbers() == sorted(node.numbers()), f"{node.name} delivered out of order"
            node.site.check_books()
        self.follower.check_books()

    @staticmethod
    def _run(session: Callable[[], Awaitable[None]]) -> None:
        async def contained() -> None:
            with suppress(Crash):
                try:
                    await session()
                except* LinkLost:
                    pass
                except* Crash:
                    pass

        trio.run(contained, clock=trio.testing.MockClock(autojump_threshold=0))
