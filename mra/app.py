"""The agent on one page: what runs, in which order it starts and stops, and who is handed what.

    settings -> lock -> outbox -> uplink     links:     drain what the outbox holds into the SaaS
                           ^
                           '---- producers  (facts, machines, submissions): each knows one verb, outbox.append

Stopping goes from the inside out: producers first, then a short flush, then the links, then the storage. The flush is
a courtesy; correctness comes from the commit in `append`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from mra import status, systemd
from mra.config.mirror import Mirror
from mra.control import run_control
from mra.facts import Newest, run_facts
from mra.governors.governors import Governors
from mra.lifecycle import Lifecycle
from mra.lock import daemon_lock
from mra.log import logger
from mra.machinery import build_fleet
from mra.options import Options, Running
from mra.outbox.outbox import Outbox, open_outbox
from mra.outbox.service import run_upkeep, run_watch
from mra.submit import run_intake
from mra.supervise import Supervisor
from mra.uplink.service import LinkStatus, run_uplink
from mra.verbs import machine_verbs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mra.machines.fleet import Fleet
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
    started = trio.current_time()
    link = LinkStatus()
    supervisor = Supervisor()
    keep = supervisor.keep_running

    with daemon_lock(settings.lock):
        async with open_outbox(settings.database, settings.outbox) as outbox, trio.open_nursery() as links:
            start = partial(_start, links)
            mirror = Mirror(outbox, settings.customer) if settings.customer else None
            governors = Governors()
            beside = [governors.serve, mirror.follow] if mirror else [governors.serve]
            start("uplink", keep, partial(run_uplink, outbox, settings.access, settings.uplink, link, beside=beside))
            start("upkeep", keep, partial(run_upkeep, outbox, settings.name))
            start("watch", keep, partial(run_watch, outbox))
            start("watchdog", keep, partial(systemd.run_watchdog, partial(_prove_alive, outbox)))

            async with trio.open_nursery() as producers:
                facts = _Facts()
                brief = partial(status.brief, link, started)
                fleet = build_fleet(settings, options, outbox, mirror, governors, facts, brief)
                look = partial(status.from_daemon, settings, outbox, link, supervisor, started)
                answers = {
                    **machine_verbs(fleet),
                    "facts": facts.tell,
                    "status": partial(look, options.version, mirror.status if mirror else None),
                    "tree": _tree,
                    "wake": partial(_wake, outbox),
                }
                await producers.start(run_control, settings.socket, answers, name="control")
                start = partial(_start, producers)
                life = Lifecycle(outbox, settings.name, options.version)
                start("lifecycle", keep, life.run)
                if settings.facts:
                    node = replace(settings.facts.node, options=options.build)
                    told = replace(settings.facts, node=node)
                    start("facts", keep, partial(run_facts, told, outbox.append, options.facts, task_status=facts))
                if settings.takes_submissions:
                    start("submissions", keep, partial(run_intake, settings.submit, outbox.append))
                if settings.machines.enabled:
                    start("machines", keep, partial(_run_machines, fleet, facts if settings.facts else None))
                if options.ready:
                    producers.start_soon(
                        _tell_ready, options.ready, Running(settings, outbox.append, facts), name="ready"
                    )
                log.info("running", agent=settings.name, outbox=str(settings.database))
                systemd.notify("READY=1")
                task_status.started(outbox)
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
    log.info("stopped")


async def _run_machines(fleet: Fleet, facts: _Facts | None) -> None:
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


class _Facts:
    """The newest facts, whichever run of their task gathered them; a `task_status` for that task."""

    def __init__(self) -> None:
        self._newest: Newest | None = None
        self.known = trio.Event()  # set once there is something, if only what the last run of the agent kept

    def started(self, newest: Newest | None = None) -> None:
        self._newest = newest
        self.known.set()

    def __call__(self) -> Mapping[str, Any]:
        return self._newest.facts if self._newest else {}

    async def tell(self) -> object:
        await trio.lowlevel.checkpoint()
        return self()


def _start(nursery: trio.Nursery, name: str, keep: object, service: object) -> None:
    nursery.start_soon(keep, name, service, name=name)  # type: ignore[arg-type]


async def _prove_alive(outbox: Outbox) -> None:
    await outbox.read(lambda connection: connection.execute("SELECT 1").fetchone())


async def _tree() -> object:
    await trio.lowlevel.checkpoint()
    return status.task_tree()


async def _wake(outbox: Outbox) -> bool:
    await trio.lowlevel.checkpoint()
    outbox.wake()
    return True
