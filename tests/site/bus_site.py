"""A leader and its followers in one process: a real bus with its TLS and keys, and an outbox for each node."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - a dataclass has it
from typing import TYPE_CHECKING

import msgspec
import trio

from mra.aio.session import Access, Session, open_session
from mra.config.mirror import Mirror
from mra.errors import LinkLost
from mra.outbox.outbox import Outbox, open_outbox
from mra.outbox.policy import OutboxSettings
from mra.site import keys, terms
from mra.site.bus import BusSettings, run_bus
from mra.site.desired import VERB as DESIRED
from mra.site.desired import DesiredDesk
from mra.site.governors import VERB as GOVERNOR
from mra.site.governors import SlotDesk
from mra.site.inbox import Content
from mra.site.leader import Leader
from mra.site.link import BusLink
from mra.site.status import SiteStatus
from mra.site.words import PREFIX, Hello, Welcome, answer, encode
from tests.harness.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mra.outbox.record import Lane
    from mra.outbox.sqlite import Connection
    from mra.site.terms import Stint

SETTINGS = OutboxSettings(ballast=0, min_free=0)
READY_SECONDS = 20


@dataclass
class BusSite:
    """What a story acts on: the leader's outbox, and the first follower with its outbox, session and link."""

    leader: Outbox
    outbox: Outbox
    session: Session
    link: BusLink
    stint: Stint
    url: str
    directory: Path
    mirror: Mirror  # the leader's
    slots: SlotDesk
    status: SiteStatus = field(default_factory=lambda: SiteStatus("leader"))


def ids_at_leader(connection: Connection, follower: str, lane: Lane) -> list[str]:
    """Ids of a follower's rows at the leader, in order: those that it has settled, then those that it has not."""
    rows = connection.execute(
        f"SELECT id FROM row_{lane.value} WHERE headers LIKE 'Mra-Origin: ' || ? || '-%' ORDER BY seq", (follower,)
    )
    found: list[str] = [id_ for (id_,) in rows]
    batches = connection.execute(
        "SELECT rows FROM site_batch WHERE follower = ? AND lane = ? ORDER BY number", (follower, lane.value)
    )
    for (body,) in batches:
        found += [row.id for row in msgspec.msgpack.decode(body, type=Content).rows]
    return found


def access_of(site: BusSite, name: str) -> Access:
    """How a follower reaches the bus."""
    return keys.access([site.url], name, site.directory / f"{name}-keys", keys.FOLLOWER)


async def wait_listening(port: int) -> None:
    """Return once the bus takes connections."""
    with trio.fail_after(READY_SECONDS):
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            except OSError:
                await trio.sleep(0.02)
            else:
                return


async def say_hello(session: Session, name: str, stint: str, **said: object) -> Welcome:
    """Introduce a follower."""
    word = Hello(1, "leader", stint, **said)  # type: ignore[arg-type]
    reply = await session.request(f"{PREFIX}.{name}.hello", encode(word), patience=10)
    return answer(reply.body, Welcome)


@asynccontextmanager
async def open_bus_site(directory: Path, *names: str, settings: OutboxSettings = SETTINGS) -> AsyncIterator[BusSite]:
    """A leader with its bus, and one follower for each name; the first one is connected, in a stint."""
    customer = "acme"
    at_leader = directory / "leader-keys"
    keys.make_site(at_leader, ["127.0.0.1"])
    for name in names:
        keys.write_files(directory / f"{name}-keys", keys.add_follower(at_leader, name).files())
    port = free_port()
    url = f"tls://127.0.0.1:{port}"
    status = SiteStatus("leader")
    async with (
        open_outbox(directory / "leader" / "outbox.db", settings) as leader,
        open_outbox(directory / names[0] / "outbox.db", SETTINGS) as outbox,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(run_bus, BusSettings("leader", "127.0.0.1", port, at_leader))
        await leader.run_unit(terms.learn, 1, "leader")
        await wait_listening(port)
        async with (
            open_session(keys.access([url], "leader", at_leader, keys.LEADER)) as own,
            open_session(keys.access([url], names[0], directory / f"{names[0]}-keys", keys.FOLLOWER)) as session,
        ):
            mirror = Mirror(leader, customer)
            desk, slots = DesiredDesk(leader, mirror), SlotDesk(leader, 1)
            answers = {DESIRED: desk.answer, GOVERNOR: slots.answer}
            nursery.start_soon(Leader("leader", 1, leader, status, answers).serve, own)  # type: ignore[arg-type]
            nursery.start_soon(desk.feed, own)
            stint = await outbox.run_unit(terms.join, 1, "leader")
            with trio.fail_after(READY_SECONDS):
                while True:
                    try:
                        welcome = await say_hello(session, names[0], stint.stint)
                        break
                    except LinkLost:  # nobody listens yet
                        await trio.sleep(0.02)
            link = BusLink(session, names[0], stint, outbox, welcome.max_payload, patience=lambda lane: 5)
            yield BusSite(leader, outbox, session, link, stint, url, directory, mirror, slots, status)
            nursery.cancel_scope.cancel()
