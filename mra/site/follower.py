"""A follower's way to its leader: finds the one of the highest term, tells it what is settled, and hears the others."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import trio

from mra.aio.session import Access, Session, open_session
from mra.errors import Fenced, LinkLost, MraError, Unavailable
from mra.log import logger
from mra.outbox import drain
from mra.outbox.record import Lane
from mra.site import terms
from mra.site.link import BusLink
from mra.site.words import PREFIX, Hello, Noted, Report, Welcome, answer, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import msgspec

    from mra.outbox.outbox import Outbox
    from mra.site.status import SiteStatus
    from mra.site.terms import Stint

T = TypeVar("T", bound="msgspec.Struct")

log = logger("site")
LOOK_ROUND_SECONDS = 20.0
REPORT_SECONDS = 10.0
_SOON = 0.05  # between a settlement and the word of it: a busy lane says it with its next batch
_AGAIN = 1.0  # after a report that was not taken
_PATIENCE = 5.0


@dataclass(frozen=True)
class _Place:
    """Where the follower is: its stint, and what its leader takes in one message."""

    stint: Stint
    max_payload: int


class Follower:
    """Keeps one node with its leader. `connect`, `link` and the services beside are for `run_uplink`."""

    def __init__(self, name: str, outbox: Outbox, status: SiteStatus) -> None:
        self._name = name
        self._outbox = outbox
        self._status = status
        self._place: _Place | None = None

    @asynccontextmanager
    async def connect(self, access: Access) -> AsyncIterator[Session]:
        """A session with the leader of the highest term among those at `access.urls`, as part of a stint.

        Raises LinkLost when none is there that may be joined (in a group, as `open_session` does).
        """
        async with open_session(replace(access, urls=(await self._best(access),))) as session:
            self._place = await self._introduce(session)
            stint = self._place.stint
            self._status.term, self._status.leader = stint.term, stint.leader
            log.info("joined a leader", leader=stint.leader, term=stint.term, stint=stint.stint)
            yield session

    def link(self, session: Session, patience: Callable[[Lane], float]) -> BusLink:
        """The link of a session that `connect` has made."""
        assert self._place is not None
        place = self._place
        return BusLink(session, self._name, place.stint, self._outbox, place.max_payload, patience=patience)

    async def report(self, session: Session) -> None:
        """Tell the leader what is settled, soon after it is, and how much waits, now and then."""
        assert self._place is not None
        stint = self._place.stint
        told: dict[Lane, int] = {}
        told_at = float("-inf")
        while True:
            progress = self._outbox.progress()
            states = [await self._outbox.read(drain.state, lane) for lane in Lane]
            settled = {state.name: state.checkpoint_seq for state in states}
            if settled != told or trio.current_time() - told_at >= REPORT_SECONDS:
                word = Report(stint.stint, settled, {state.name: state.waiting for state in states})
                try:
                    await _ask(session, f"{PREFIX}.{self._name}.report", word, Noted)
                except Fenced:
                    session.lost.set()  # the leader began anew, or is one no more: so do we
                    return
                except Unavailable as reason:  # it has no room, or too much to do: its lanes are told the same
                    log.once_per(60, "the leader does not take the report", reason=reason.sentence)
                    await trio.sleep(_AGAIN)
                    continue
                told, told_at = settled, trio.current_time()
            with trio.move_on_after(REPORT_SECONDS):
                await progress.wait()
            await trio.sleep(_SOON)

    async def look_round(self, access: Access, session: Session) -> None:
        """Now and then, hear the other nodes that may lead: earlier leaders are told where their stint ended, and a
        leader of a higher term is joined."""
        assert self._place is not None
        while True:
            for url in access.urls:
                welcome = None if url.endswith(f"//{session.address}") else await self._greet(access, url)
                if welcome and welcome.term > self._place.stint.term:
                    log.info("there is a newer leader", leader=welcome.leader, term=welcome.term)
                    session.lost.set()
                    return
            await trio.sleep(LOOK_ROUND_SECONDS)

    async def bid_farewell(self, access: Access) -> None:
        """Tell earlier leaders where their stints ended, for a node that follows nobody any more; never returns.

        Until it has heard, such a leader does not know whether the last batches are its own to deliver.
        """
        while await self._outbox.read(terms.ended):
            for url in access.urls:
                await self._greet(access, url)
            await trio.sleep(LOOK_ROUND_SECONDS)
        await trio.sleep_forever()

    async def _best(self, access: Access) -> str:
        if len(access.urls) == 1:
            return access.urls[0]
        heard: dict[str, Welcome] = {}

        async def greet(url: str) -> None:
            if welcome := await self._greet(access, url):
                heard[url] = welcome

        async with trio.open_nursery() as nursery:
            for url in access.urls:
                nursery.start_soon(greet, url)
        leading = [url for url, welcome in heard.items() if welcome.term]
        if not leading:
            raise LinkLost(f"No node leads at {', '.join(access.urls)}.")
        return max(leading, key=lambda url: heard[url].term)

    async def _greet(self, access: Access, url: str) -> Welcome | None:
        """Say hello and leave; None when nobody answers."""
        found: Welcome | None = None
        try:
            async with open_session(replace(access, urls=(url,))) as session:
                found = await self._say_hello(session, await self._outbox.read(terms.current))
        except* MraError as group:
            log.debug("no leader answers", url=url, reason=repr(group.exceptions[0]))
        return found

    async def _introduce(self, session: Session) -> _Place:
        """Say hello, and join. Raises LinkLost when this is no leader, or one that was replaced."""
        before = await self._outbox.read(terms.current)
        welcome = await self._say_hello(session, before)
        if not welcome.term:
            raise LinkLost(f"{welcome.leader} does not lead.")
        stint = await self._outbox.run_unit(terms.join, welcome.term, welcome.leader)
        if stint != before:
            welcome = await self._say_hello(session, stint)
        return _Place(stint, welcome.max_payload)

    async def _say_hello(self, session: Session, stint: Stint | None) -> Welcome:
        """Say what is known, until the leader knows how each stint of ours stands."""
        strange: list[str] = []
        while True:
            known = await self._outbox.read(terms.known)
            ended = await self._outbox.read(terms.ended)
            word = Hello(known.term, known.leader, stint.stint if stint else "", ended, strange)
            welcome = await _ask(session, f"{PREFIX}.{self._name}.hello", word, Welcome)
            if welcome.heard:
                await self._outbox.run_unit(terms.heard, welcome.heard)
            ours = {mark.stint for mark in ended}
            strange = [stint for stint in welcome.open if stint not in ours]
            if not strange:
                return welcome


async def _ask(session: Session, subject: str, word: msgspec.Struct, kind: type[T]) -> T:
    message = await session.request(subject, encode(word), patience=_PATIENCE)
    if message.status:
        raise LinkLost("The bus of the site stands, and its leader is not there.")
    return answer(message.body, kind)
