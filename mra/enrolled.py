"""A node that gets its identity from the SaaS: how it lives before, with, and through changes of its enrolment.

    no usable enrolment --> unprovisioned: takes what others submit, reports facts, asks the SaaS until it is enrolled
            ^                     |
            |                     v
            '---- changed ---- provisioned: everything in `app`, and a task that renews

The outbox stays open all the while. An enrolment that has expired, or that the SaaS refuses, still says what the node
is: the agent runs on it and renews beside, as a node that obeys its last orders is worth more than one that waits.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import trio

from mra import status, systemd
from mra.enrol.enrolment import Standing, write_copies
from mra.enrol.service import Enroller, ShutdownAsked
from mra.errors import MraError
from mra.lifecycle import UNPROVISIONED, Lifecycle
from mra.log import logger
from mra.producers import NewestFacts, Once, start_producers, until_any
from mra.settings.enrolled import usable_enrolment, with_enrolment
from mra.uplink.service import LinkStatus

if TYPE_CHECKING:
    from mra.control import Answers
    from mra.enrol.enrolment import Enrolment
    from mra.outbox.outbox import Outbox
    from mra.producers import Agent
    from mra.settings import Settings

log = logger("enrol")
FACTS_SECONDS = 5.0


class Keeper:
    """Keeps one enrolment good while the agent runs on it."""

    def __init__(self, enroller: Enroller, stop: trio.Event) -> None:
        self._enroller = enroller
        self._stop = stop
        self._asked = trio.Event()
        self.changed = trio.Event()  # set when the agent has to start anew with other settings

    async def run(self, link: LinkStatus) -> None:
        """Renew in time and when asked, until cancelled; stop the agent when the SaaS wants it."""

        async def refused() -> None:
            await until_any((link.refused, self._asked), trio.Event.wait)
            self._asked = trio.Event()

        try:
            await self._enroller.keep(refused, lambda _: self.changed.set())
        except ShutdownAsked as asked:
            log.warning("the SaaS asks this node to stop", reason=asked.sentence)
            self._stop.set()
            await trio.sleep_forever()

    async def renew(self) -> dict[str, Any]:
        """Renew now, for `mra provision renew`; how it went is told by `tell`."""
        self._asked.set()
        return await self.tell()

    async def tell(self) -> dict[str, Any]:
        """For `mra provision status`."""
        await trio.lowlevel.checkpoint()
        return asdict(self._enroller.status)


class RunProvisioned(Protocol):
    """The rest of the agent."""

    async def __call__(
        self,
        agent: Agent,
        settings: Settings,
        stop: trio.Event,
        keeper: Keeper | None = None,
        *,
        task_status: trio.TaskStatus[Outbox],
    ) -> None: ...


async def run_enrolled(
    agent: Agent,
    settings: Settings,
    stop: trio.Event,
    run_provisioned: RunProvisioned,
    *,
    task_status: trio.TaskStatus[Outbox],
) -> None:
    """Run until `stop` is set. Raises BadInput when the configuration contradicts the enrolment."""
    once = Once(task_status)
    while not stop.is_set():
        enrolment, standing = usable_enrolment(settings, time.time())
        if enrolment is None:
            log.info("this node is not enrolled", standing=standing.value)
            enrolment = await _enrol(agent, settings, stop, once)
        elif standing is not Standing.VALID:
            log.warning("the enrolment is to be renewed", standing=standing.value)
        if enrolment is None:
            return
        await _run_on(agent, with_enrolment(settings, enrolment), enrolment, stop, run_provisioned, once)


async def _run_on(
    agent: Agent,
    settings: Settings,
    enrolment: Enrolment,
    stop: trio.Event,
    run_provisioned: RunProvisioned,
    once: Once,
) -> None:
    """Run the agent until it is stopped, or its enrolment says something new."""
    assert settings.enrol is not None
    await trio.to_thread.run_sync(write_copies, settings.enrol.directory, enrolment)
    keeper = Keeper(Enroller(settings.enrol, agent.options.version), stop)

    async def run(ended: trio.Event) -> None:
        await run_provisioned(agent, settings, ended, keeper, task_status=once)

    await until_any((stop, keeper.changed), run)


async def _enrol(agent: Agent, settings: Settings, stop: trio.Event, once: Once) -> Enrolment | None:
    """Be an unprovisioned node until enrolled; None when the agent is stopped before that."""
    assert settings.enrol is not None
    facts = NewestFacts()
    enroller = Enroller(settings.enrol, agent.options.version, facts)
    life = Lifecycle(agent.outbox, settings.name, agent.options.version, component=UNPROVISIONED)
    found: Enrolment | None = None

    async def ask() -> None:
        nonlocal found
        if settings.facts:
            with trio.move_on_after(FACTS_SECONDS):
                await facts.known.wait()
        try:
            found = await enroller.enrol()
            await life.tell_provisioned()
        except ShutdownAsked as asked:
            log.warning("the SaaS asks this node to stop", reason=asked.sentence)
            stop.set()
        except MraError as error:
            log.warning("the enrolment was not told", reason=error.sentence)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        link = partial(_link, enroller)

        async def look() -> dict[str, Any]:
            return await status.from_daemon(
                settings, agent.outbox, link(), agent.supervisor, agent.started, agent.options.version
            )

        answers: Answers = {"status": look, "provision": partial(_tell, enroller), "renew": partial(_tell, enroller)}
        await start_producers(nursery, agent, settings, answers, life, facts)
        systemd.notify("READY=1")
        once.started(agent.outbox)
        nursery.start_soon(ask, name="enrol")
        await stop.wait()
        nursery.cancel_scope.cancel()
    await life.close()
    return found


def _link(enroller: Enroller) -> LinkStatus:
    """How the link stands before there is one."""
    known = enroller.status
    return LinkStatus(state="enrolling", attempts=known.attempts, last_error=known.last_error)


async def _tell(enroller: Enroller) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    return asdict(enroller.status)
