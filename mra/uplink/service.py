"""The uplink's task: connect, drain every lane, lose the link, back off with full jitter, again, for ever."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from mra.aio.session import Access, CredentialsRefused, Session, Silent, open_session
from mra.backoff import full_jitter
from mra.errors import LinkLost, MraError
from mra.groups import first
from mra.log import logger
from mra.outbox.record import Lane
from mra.uplink.jetstream import JetStreamLink
from mra.uplink.lane import LaneDrain
from mra.uplink.pace import Patience, Shares
from mra.uplink.reach import CutOff, Reach
from mra.uplink.sending import LaneMemory
from mra.uplink.status import LinkStatus

if TYPE_CHECKING:
    from mra.outbox.outbox import Outbox
    from mra.uplink.link import Link

log = logger("uplink")
_STAY = 2  # times the patience: longer than a cluster takes to agree on new leaders


@dataclass(frozen=True)
class UplinkSettings:
    """How the uplink behaves. `retry_cap`: the most that a returning SaaS, or one of its streams, waits, in seconds.

    A whole fleet loses a restarted SaaS at one moment, and its first attempts fall within `retry_first` of that. With
    the defaults a SaaS that greets 500 connections a second is not overrun by 10,000 agents, however short or long it
    was away (tests/uplink/test_herd.py); a few agents can do with a shorter first pause.
    """

    retry_first: float = 20.0
    retry_cap: float = 30.0
    patience: float = 10.0


Connect = Callable[[Access], AbstractAsyncContextManager[Session]]
Beside = Callable[[Session], Awaitable[None]]
LinkOf = Callable[[Session, Callable[[Lane], float]], "Link"]


async def run_uplink(
    outbox: Outbox,
    access: Access,
    settings: UplinkSettings,
    status: LinkStatus,
    *,
    connect: Connect = open_session,
    beside: Sequence[Beside] = (),
    link_of: LinkOf | None = None,
) -> None:
    """Drain `outbox` into the SaaS until cancelled. Never raises for anything that the SaaS or the network does.

    `beside` are services that share the connection: each is called with every new session, and cancelled with it. One
    that fails is called again, and disturbs neither the others nor the lanes. `link_of` makes the link of a session and
    the patience of each lane; that of JetStream is the default.
    """
    memory = {lane: LaneMemory(patience=Patience(settings.patience), retry_cap=settings.retry_cap) for lane in Lane}
    # A link of another kind leads to one place, however many addresses there are: the others are other places.
    may_leave = len(access.urls) > 1 and link_of is None
    reach = Reach(settings.patience * _STAY if may_leave else math.inf)
    at = left = ""
    delays = full_jitter(settings.retry_first, settings.retry_cap)
    while True:
        connected_at = math.inf
        is_refused = False
        try:
            async with connect(_without(left, access)) as session:
                _note_connected(status, session)
                reach.connected()
                at, connected_at = session.address, trio.current_time()
                await _run_session(session, outbox, access, settings, status, memory, reach, beside, link_of)
        except* LinkLost as group:
            left = at if group.subgroup(CutOff) else ""
            if group.subgroup(Silent):
                for lane in memory.values():
                    lane.fell_silent()
            _note_lost(status, access, first(group))
        except* MraError as group:
            is_refused = True
            if group.subgroup(CredentialsRefused):
                status.refused.set()
            _note_lost(status, access, first(group))
        except* Exception as group:
            # A bug in a client library must not end the draining for good; the next session starts afresh.
            log.failure("the session failed in an unexpected way", group)
            _note_lost(status, access, first(group))
        if trio.current_time() - connected_at > settings.retry_cap:
            delays = full_jitter(settings.retry_first, settings.retry_cap)
        # Refused credentials change when somebody changes them; until then the SaaS is not asked in haste.
        await trio.sleep(next(full_jitter(settings.retry_cap, settings.retry_cap) if is_refused else delays))


async def _run_session(
    session: Session,
    outbox: Outbox,
    access: Access,
    settings: UplinkSettings,
    status: LinkStatus,
    memory: Mapping[Lane, LaneMemory],
    reach: Reach,
    beside: Sequence[Beside],
    link_of: LinkOf | None,
) -> None:
    def patience(lane: Lane) -> float:
        return memory[lane].patience.seconds

    link = link_of(session, patience) if link_of else JetStreamLink(session, access.name, patience=patience)
    silence = max(access.ping_seconds, *(lane.patience.seconds for lane in memory.values()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain_lanes, outbox, link, status, memory, reach)
        for service in beside:
            nursery.start_soon(_run_beside, service, session, settings.retry_cap)
        reason = await session.keep_alive(silence)
        nursery.cancel_scope.cancel()
    raise reason


async def _run_beside(service: Beside, session: Session, pause: float) -> None:
    while True:
        try:
            await service(session)
        except* MraError as group:
            log.once_per(60, "a service beside the lanes failed", reason=str(first(group)))
        except* Exception as group:
            log.failure("a service beside the lanes crashed", group)
        await trio.sleep(pause)


async def drain_lanes(
    outbox: Outbox,
    link: Link,
    status: LinkStatus,
    memory: Mapping[Lane, LaneMemory] | None = None,
    reach: Reach | None = None,
) -> None:
    """Drain every lane over `link` until it is lost; raises LinkLost (in a group)."""
    shares = Shares({lane: outbox.settings.lanes[lane].weight for lane in Lane})
    async with trio.open_nursery() as nursery:
        for lane in Lane:
            remembered = memory[lane] if memory else None
            drain = LaneDrain(lane, outbox, link, shares, status.lanes[lane], remembered, reach)
            nursery.start_soon(drain.run, name=f"lane {lane}")


def _without(address: str, access: Access) -> Access:
    """Access to the servers other than the one at `address`, if there are any."""
    others = tuple(url for url in access.urls if urlsplit(url).netloc != address)
    return replace(access, urls=others or access.urls)


def _note_connected(status: LinkStatus, session: Session) -> None:
    status.become("connected")
    status.server = session.server
    status.attempts = 0
    status.connections += 1
    status.last_error = None
    if status.refused.is_set():  # else somebody may be waiting for this very event
        status.refused = trio.Event()
    log.info("connected", server=session.server)


def _note_lost(status: LinkStatus, access: Access, error: BaseException) -> None:
    if status.state == "connected":
        log.warning("link lost", reason=str(error))
    elif status.attempts == 0:
        log.warning(f"{access.peer} is not reachable; it is tried again", reason=str(error))
    status.become("down")
    status.attempts += 1
    status.last_error = str(error)
    for lane in status.lanes.values():
        lane.state = "offline"


__all__ = ["LinkStatus", "UplinkSettings", "drain_lanes", "run_uplink"]
