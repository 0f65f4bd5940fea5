"""A node's place in its site: where its uplink goes, and what runs beside it.

    alone      no `[site]`: the uplink goes to the SaaS
    leader     the same, and the bus with the leader's service
    former     a leader that was replaced: the same, but followers are only told that; its backlog goes to the SaaS.
               Also a follower of which rows may be in flight to the SaaS, until it knows better
    follower   the uplink goes to the leader

Which one it is follows from the configuration and from the highest term known, which the desired-state key
`site.leader` raises (see `mra.site.orders`). When that changes a node's place, the agent starts anew in it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from mra.aio.session import open_session
from mra.errors import BadInput, LinkLost, MraError, Unavailable
from mra.log import logger
from mra.site import granted, inbox, keys, terms
from mra.site.bus import BusSettings, run_bus
from mra.site.desired import VERB as DESIRED
from mra.site.desired import BusBucket, DesiredDesk
from mra.site.follower import Follower
from mra.site.governors import VERB as GOVERNOR
from mra.site.governors import BusSlots, SlotDesk
from mra.site.leader import Leader
from mra.site.orders import leader_key, read_order
from mra.site.relay import run_relay
from mra.site.settings import FOLLOWER, LEADER
from mra.site.status import SiteStatus
from mra.uplink.service import run_uplink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import msgspec

    from mra.aio.session import Access, Session
    from mra.config.mirror import Mirror
    from mra.governors.governors import Governors
    from mra.outbox.outbox import Outbox
    from mra.settings import Settings
    from mra.site.settings import SiteSettings
    from mra.uplink.status import LinkStatus

    Verb = Callable[[str, bytes], Awaitable[msgspec.Struct]]
    Service = Callable[[], Awaitable[None]]
    OnSession = Callable[[Session], Awaitable[None]]

log = logger("site")
FORMER = "former"
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - named to be replaced
_RETRY_SECONDS = 0.2
_BUS_RETRY = 0.5  # seconds; the followers of one site are few, and need not spread as all agents of a SaaS do


class Place:
    """One node's place for as long as it keeps it; see `take_place`."""

    def __init__(self, settings: Settings, outbox: Outbox, role: str, term: terms.Term) -> None:
        self._settings = settings
        self._outbox = outbox
        self._term = term
        self.role = role
        self.status = SiteStatus(role or "alone", term.term, term.leader)
        self.changed = trio.Event()  # set when the place is another one
        self._leader: Leader | None = None

    def services(self, link: LinkStatus, mirror: Mirror | None, governors: Governors) -> list[tuple[str, Service]]:
        """What has to run, by name; each under supervision."""
        if self.role == FOLLOWER:
            services = [("uplink", self._follow(link, mirror, governors))]
        elif self.role and _of(self._settings).listen:
            services = self._lead(link, mirror, governors)
        else:  # alone, or without a bus of its own
            beside = [governors.serve, mirror.follow] if mirror else [governors.serve]
            services = [("uplink", self._uplink(link, beside))]
        if self.role and mirror:
            services.append(("site orders", partial(self._obey, mirror)))
        if self.role == FORMER and _wanted(self._settings) == FOLLOWER:
            services.append(("last rows to the SaaS", self._wait_settled))
        return services

    async def report(self) -> dict[str, Any] | None:
        """For `mra status` and `mra site ls`; None for a node that stands alone."""
        if not self.role:
            return None
        return self.status.report(await self._outbox.read(inbox.followers))

    async def deliver(self, follower: str) -> int:
        """For `mra site deliver`. Raises BadInput at a node without a bus."""
        if self._leader is None:
            raise BadInput("This node holds nothing of followers: ask the leader that does.")
        return await self._leader.deliver_unsettled(follower)

    def _uplink(self, link: LinkStatus, beside: Sequence[OnSession]) -> Service:
        settings = self._settings
        return partial(run_uplink, self._outbox, settings.access, settings.uplink, link, beside=beside)

    def _follow(self, link: LinkStatus, mirror: Mirror | None, governors: Governors) -> Service:
        name, site = self._settings.name, _of(self._settings)
        access = _access(site, site.urls, name, leads=False)
        follower = Follower(name, self._outbox, self.status)
        beside: list[OnSession] = [
            follower.report,
            partial(follower.look_round, access),
            lambda session: governors.serve_with(BusSlots(session, name)),
        ]
        if mirror:
            beside.append(lambda session: mirror.keep_up(BusBucket(session, name)))
        uplink = self._settings.uplink
        return partial(
            run_uplink, self._outbox, access, replace(uplink, retry_first=min(_BUS_RETRY, uplink.retry_first)), link,
            connect=follower.connect, beside=beside, link_of=follower.link,
        )  # fmt: skip

    def _lead(self, link: LinkStatus, mirror: Mirror | None, governors: Governors) -> list[tuple[str, Service]]:
        """The bus and what is said there; a former leader hands out no slots, and passes no orders on."""
        name, leads = self._settings.name, self.role == LEADER
        slots = SlotDesk(self._outbox, self._term.term) if leads else None
        desk = DesiredDesk(self._outbox, mirror) if leads and mirror else None
        answers: dict[str, Verb] = {}
        beside: list[OnSession] = [mirror.follow] if mirror else []
        services: list[tuple[str, Service]] = []
        if slots:
            answers[GOVERNOR] = slots.answer
            beside.append(slots.serve_saas)
            services.append(("governors", partial(governors.serve_with, slots)))
        if desk:
            answers[DESIRED] = desk.answer
        self._leader = Leader(name, self._term.term if leads else 0, self._outbox, self.status, answers)
        on_bus: list[OnSession] = [self._leader.serve, *([desk.feed] if desk else [])]
        return [*services, ("uplink", self._uplink(link, beside)), *self._host(on_bus)]

    def _host(self, on_bus: Sequence[OnSession]) -> list[tuple[str, Service]]:
        name, site = self._settings.name, _of(self._settings)
        assert site.listen is not None
        host, port = site.listen
        own = "localhost" if host in _EVERYWHERE else host
        access = _access(site, [f"tls://{own}:{port}"], name, leads=True)
        services: list[tuple[str, Service]] = [
            ("bus", partial(run_bus, BusSettings(name, host, port, site.directory, site.identity))),
            ("site", partial(_serve_bus, access, on_bus, self.status)),
        ]
        if site.relay:
            services.append(("relay", partial(run_relay, site.relay, self._settings.access.urls)))
        if site.urls and (site.identity or (site.directory / keys.FOLLOWER).exists()):
            follower = Follower(name, self._outbox, self.status)
            once = _access(site, site.urls, name, leads=False)
            services.append(("farewell", partial(follower.bid_farewell, once)))
        return services

    async def _wait_settled(self) -> None:
        """Follow as soon as nothing is in flight to the SaaS; never returns."""
        while True:
            progress = self._outbox.progress()
            if not await self._outbox.read(terms.in_flight_to_the_saas):
                self.changed.set()
            await progress.wait()

    async def _obey(self, mirror: Mirror) -> None:
        """Watch who shall lead; never returns."""
        while True:
            changed = mirror.changed()
            try:
                found = await mirror.get(leader_key(_of(self._settings).name))
                if found is not None:
                    order = read_order(found.value)
                    newest = await self._outbox.run_unit(terms.learn, order.term, order.leader)
                    if newest != self._term and _role(self._settings, newest) != self.role:
                        log.warning("the site has another leader", leader=newest.leader, term=newest.term)
                        self.changed.set()
            except Unavailable:
                pass  # nothing is known yet
            except BadInput as error:
                log.error("who leads the site is not understood", reason=error.sentence)
            await changed.wait()


async def take_place(outbox: Outbox, settings: Settings) -> Place:
    """The place of this node as it is now; where it drains into follows."""
    site = settings.site
    if site is None:
        await _leave(outbox)
        return Place(settings, outbox, "", terms.Term(0, ""))
    term = await outbox.read(terms.known)
    if _wanted(settings) == LEADER and site.term > term.term:
        term = await outbox.run_unit(terms.learn, site.term, settings.name)
    role = _role(settings, term)
    in_flight = await outbox.read(terms.in_flight_to_the_saas)
    if role == FOLLOWER and in_flight and settings.access.urls:
        role = FORMER
    if role != FOLLOWER:
        await _leave(outbox)
    log.info("place in the site", role=role, term=term.term, leader=term.leader)
    return Place(settings, outbox, role, term)


async def _leave(outbox: Outbox) -> None:
    if await outbox.read(terms.current):
        await outbox.run_unit(terms.leave)


def _access(site: SiteSettings, urls: Sequence[str], name: str, *, leads: bool) -> Access:
    if site.identity:
        return granted.access(urls, name, site.identity, leads=leads)
    return keys.access(urls, name, site.directory, keys.LEADER if leads else keys.FOLLOWER)


def _role(settings: Settings, term: terms.Term) -> str:
    site = _of(settings)
    may_lead = site.listen is not None and bool(settings.access.urls)
    if may_lead and term.leader == settings.name:
        return LEADER
    return FORMER if _wanted(settings) == LEADER else FOLLOWER


def _wanted(settings: Settings) -> str:
    """The role by configuration or enrolment."""
    return _of(settings).role or settings.role


def _of(settings: Settings) -> SiteSettings:
    assert settings.site is not None
    return settings.site


async def _serve_bus(access: Access, services: Sequence[OnSession], status: SiteStatus) -> None:
    """Run the leader's services on its own bus, and again when the bus was away; never returns."""
    while True:
        try:
            async with open_session(access) as session, trio.open_nursery() as nursery:
                status.bus = session.address
                for service in services:
                    nursery.start_soon(service, session)
                raise await session.keep_alive(access.ping_seconds)
        except* LinkLost as group:
            log.debug("the bus is not there", reason=repr(group))
        except* MraError as group:
            log.once_per(30, "the bus cannot be served", reason=repr(group))
        status.bus = None
        await trio.sleep(_RETRY_SECONDS)
