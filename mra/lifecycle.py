"""What the agent says of itself: CloudEvents on lane `events`, below `lifecycle.event.<type>.<component>`.

The component is `server`, or `provision_mode_server` while the node is not enrolled.

    startup    once per run, when the agent runs
    upgraded   with it, when the last run of this state directory was of another version
    alive      first after a random whole number of minutes below 30, then every 30 minutes
    provisioned  when an enrolment has been accepted and kept
    shutdown   when the agent stops in order, as the last event of the run

Types, subjects and data are Choria's. Unlike there, where one `alive` object is made at the start and sent again and
again, every event has a time of its own and an id of its own, which stands in the envelope and in `data` alike.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import trio

from mra import clock, events
from mra.errors import MraError
from mra.log import logger

if TYPE_CHECKING:
    from mra.outbox.outbox import Outbox
    from mra.outbox.record import Draft
    from mra.outbox.sqlite import Connection

log = logger("agent")
COMPONENT: Final = "server"
UNPROVISIONED: Final = "provision_mode_server"
ALIVE_SECONDS: Final = 30 * 60.0
LATEST_FIRST_MINUTE: Final = 30
SHUTDOWN_SECONDS: Final = 2.0
_VERSION: Final = "agent_version"  # in table `meta`: the version that ran last


def lifecycle_event(type_: str, identity: str, wall_ns: int, component: str = COMPONENT, **extra: str) -> Draft:
    """One event; `extra` follows the keys that all types have."""
    subject = f"{type_}.{component}"
    return events.lifecycle_event(
        type_, identity=identity, component=component, wall_ns=wall_ns, subject=subject, extra=extra
    )


class Lifecycle:
    """The life of one run of the agent."""

    def __init__(
        self,
        outbox: Outbox,
        identity: str,
        version: str,
        dice: random.Random | None = None,
        *,
        component: str = COMPONENT,
    ) -> None:
        self._outbox = outbox
        self._identity = identity
        self._version = version
        self._component = component
        self._dice = dice or random.Random()  # noqa: S311 - spreads load, keeps no secret
        self._announced = False

    async def run(self) -> None:
        """Tell the start, then every now and then that the agent is alive, until cancelled.

        Raises MraError when the start cannot be accepted; run it again for another attempt. It is told once.
        """
        await self.announce()
        await trio.sleep(60.0 * self._dice.randrange(LATEST_FIRST_MINUTE))
        due = trio.current_time()
        while True:
            try:
                await self._outbox.append(self._event("alive", version=self._version))
            except MraError as error:
                log.once_per(3600, "a sign of life was not accepted", reason=error.sentence)
            due += ALIVE_SECONDS
            await trio.sleep_until(due)

    async def announce(self) -> None:
        """Tell the start, and a change of version; the version is remembered in the same transaction."""
        if self._announced:
            return
        before = await self._outbox.read(_last_version)
        drafts = [self._event("startup", version=self._version)]
        if before not in (None, self._version):
            log.info("upgraded", before=before, now=self._version)
            drafts.append(self._event("upgraded", version=str(before), new_version=self._version))
        self._announced = True  # now: when the agent stops while this commits, the shutdown has to follow
        try:
            await self._outbox.append_many(drafts, also=self._remember)
        except MraError:
            self._announced = False
            raise

    async def tell_provisioned(self) -> None:
        """Tell that the node is enrolled. Raises MraError when that cannot be accepted."""
        await self._outbox.append(self._event("provisioned"))

    async def close(self) -> None:
        """Tell that the agent stops. Takes two seconds at most and raises nothing but cancellation."""
        if not self._announced:
            return
        with trio.move_on_after(SHUTDOWN_SECONDS) as bound:
            try:
                await self._outbox.append(self._event("shutdown"))
            except MraError as error:
                log.warning("the shutdown was not accepted", reason=error.sentence)
        if bound.cancelled_caught:
            log.warning("the shutdown was not accepted in time")

    def _event(self, type_: str, **extra: str) -> Draft:
        return lifecycle_event(type_, self._identity, clock.now().wall, self._component, **extra)

    def _remember(self, connection: Connection) -> None:
        connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (_VERSION, self._version))


def _last_version(connection: Connection) -> str | None:
    found = connection.execute("SELECT value FROM meta WHERE name = ?", (_VERSION,)).fetchone()
    return None if found is None else str(found[0])
