"""The agent on one page: what runs, in which order it starts and stops, and who is handed what.

    settings -> lock -> outbox -> uplink     links:     drain what the outbox holds into the SaaS
                           ^
                           '---- producers  (facts, machines, submissions): each knows one verb, outbox.append

A node that is to be enrolled runs the same producers before it is (`mra.enrolled`), and then all of this.

Stopping goes from the inside out: producers first, then a short flush, then the links, then the storage. The flush is
a courtesy; correctness comes from the commit in `append`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from mra import status, systemd
from mra.config.mirror import Mirror
from mra.enrolled import run_enrolled
from mra.governors.governors import Governors
from mra.lifecycle import Lifecycle
from mra.lock import daemon_lock
from mra.log import logger
from mra.machinery import build_fleet
from mra.membership import take_place
from mra.options import Options, Running
from mra.outbox.outbox import Outbox, open_outbox
from mra.outbox.service import run_upkeep, run_watch
from mra.producers import Agent, NewestFacts, Once, start_producers, until_any
from mra.supervise import Supervisor
from mra.uplink.status import LinkStatus
from mra.verbs import machine_verbs

if TYPE_CHECKING:
    from mra.control import Answers
    from mra.enrolled import Keeper
    from mra.machines.fleet import Fleet
    from mra.membership import Place
    from mra.options import Ready
    from mra.settings import Settings

log = logger("agent")
FLUSH_SECONDS = 3.0
STOP_SECONDS = 10.0
FACTS_SECONDS = 5.0


async def run_agent(
    settings: Settings,
    stop: trio.Event,
    options: Options | None = None,
    *,
    task_status: trio.TaskStatus[Outbox] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the agent until `stop` is set, then stop in order. Raises Busy when another daemon runs here."""
    options = options or Options()
    with daemon_lock(settings.lock):
        async with open_outbox(settings.database, settings.outbox) as outbox, trio.open_nursery() as storage:
            agent = Agent(options, outbox, Supervisor(), trio.current_time())
            agent.start(storage, "upkeep", partial(run_upkeep, outbox, settings.name))
            agent.start(storage, "watch", partial(run_watch, outbox))
            agent.start(storage, "watchdog", partial(systemd.run_watchdog, partial(_prove_alive, outbox)))
            if settings.enrol is None:
                await run_provisioned(agent, settings, stop, task_status=task_status)
            else:
                await run_enrolled(agent, settings, stop, run_provisioned, task_status=task_status)
            storage.cancel_scope.cancel()
    log.info("stopped")


async def run_provisioned(
    agent: Agent,
    settings: Settings,
    stop: trio.Event,
    keeper: Keeper | None = None,
    *,
    task_status: trio.TaskStatus[Outbox],
) -> None:
    """Run an agent that knows its SaaS, in its place in the site, until `stop` is set."""
    once = Once(task_status)
    while not stop.is_set():
        place = await take_place(agent.outbox, settings)
        await until_any((stop, place.changed), partial(_run_in_place, agent, settings, place, keeper, once))


async def _run_in_place(
    agent: Agent, settings: Settings, place: Place, keeper: Keeper | None, once: Once, stop: trio.Event
) -> None:
    options, outbox = agent.options, agent.outbox
    link = LinkStatus()
    async with trio.open_nursery() as links:
        mirror = Mirror(outbox, settings.customer) if settings.customer else None
        governors = Governors()
        for name, service in place.services(link, mirror, governors):
            agent.start(links, name, service)

        async with trio.open_nursery() as producers:
            facts = NewestFacts()
            fleet = build_fleet(
                settings, options, outbox, mirror, governors, facts, partial(status.brief, link, agent.started)
            )
            look = partial(status.from_daemon, settings, outbox, link, agent.supervisor, agent.started)
            desired = mirror.status if mirror else None
            answers: Answers = {
                **machine_verbs(fleet),
                "status": partial(look, options.version, desired, fleet.pictures, governors, place.report),
                "site": place.report,
                "site.deliver": place.deliver,
                **({"provision": keeper.tell, "renew": keeper.renew} if keeper else {}),
            }
            life = Lifecycle(outbox, settings.name, options.version)
            await start_producers(producers, agent, settings, answers, life, facts)
            if keeper:
                agent.start(producers, "enrolment", partial(keeper.run, link))
            if settings.machines.enabled:
                agent.start(producers, "machines", partial(_run_machines, fleet, facts if settings.facts else None))
            if options.ready:
                producers.start_soon(_tell_ready, options.ready, Running(settings, outbox.append, facts), name="ready")
            log.info("running", agent=settings.name, outbox=str(settings.database))
            systemd.notify("READY=1")
            once.started(outbox)
            await stop.wait()
            log.info("stopping")
            systemd.notify("STOPPING=1")
            producers.cancel_scope.cancel()

        await life.close()
        links.cancel_scope.deadline = trio.current_time() + STOP_SECONDS
        if link.state == "connected":
            with trio.move_on_after(FLUSH_SECONDS):
                await governors.wait_returned()
                await outbox.wait_empty()
        links.cancel_scope.cancel()


async def _run_machines(fleet: Fleet, facts: NewestFacts | None) -> None:
    """Machines start with facts, if only with those of the last run; without any after a moment."""
    if facts:
        with trio.move_on_after(FACTS_SECONDS):
            await facts.known.wait()
    await fleet.run()


async def _tell_ready(ready: Ready, running: Running) -> None:
    try:
        await ready(running)
    except Exception as failure:  # a builder's code costs nothing but itself
        log.failure("the ready hook failed", failure)


async def _prove_alive(outbox: Outbox) -> None:
    await outbox.read(lambda connection: connection.execute("SELECT 1").fetchone())
