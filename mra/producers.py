"""What the agent runs whether it is enrolled or not: its control socket, its facts, and what others submit."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from mra import status
from mra.control import run_control
from mra.facts import Newest, run_facts
from mra.outbox import doubt
from mra.submit import run_intake

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from mra.control import Answers
    from mra.lifecycle import Lifecycle
    from mra.options import Options
    from mra.outbox.outbox import Outbox
    from mra.settings import Settings
    from mra.supervise import Supervisor


class NewestFacts:
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


@dataclass(frozen=True)
class Agent:
    """What lasts from the start of the daemon to its end, enrolled or not."""

    options: Options
    outbox: Outbox
    supervisor: Supervisor
    started: float  # Trio time

    def start(self, nursery: trio.Nursery, name: str, service: Callable[[], Awaitable[None]]) -> None:
        """Run a service under supervision."""
        nursery.start_soon(self.supervisor.keep_running, name, service, name=name)


class Once:
    """Tells the first start and no other: the agent may start again within one run of the daemon."""

    def __init__(self, task_status: trio.TaskStatus[Outbox]) -> None:
        self._task_status: trio.TaskStatus[Outbox] | None = task_status

    def started(self, value: Outbox | None = None) -> None:
        told, self._task_status = self._task_status, None
        if told is not None and value is not None:
            told.started(value)


async def until_any(events: Sequence[trio.Event], run: Callable[[trio.Event], Awaitable[None]]) -> None:
    """Run something that stops by itself when the event it is given is set: as soon as any of `events` is."""
    ended = trio.Event()

    async def pass_on(event: trio.Event) -> None:
        await event.wait()
        ended.set()

    async with trio.open_nursery() as nursery:
        for event in events:
            nursery.start_soon(pass_on, event)
        await run(ended)
        nursery.cancel_scope.cancel()


async def start_producers(
    nursery: trio.Nursery, agent: Agent, settings: Settings, answers: Answers, life: Lifecycle, facts: NewestFacts
) -> None:
    """Start them; the control socket answers when this returns, also what both kinds of agent can be asked.

    Raises BadInput when there can be no control socket.
    """
    outbox = agent.outbox
    every = {
        "facts": facts.tell,
        "tree": _tree,
        "wake": partial(_wake, outbox),
        "examine": partial(_examine, outbox),
        **answers,
    }
    await nursery.start(run_control, settings.socket, every, name="control")
    agent.start(nursery, "lifecycle", life.run)
    if settings.facts:
        node = replace(settings.facts.node, options=agent.options.build)
        told = replace(settings.facts, node=node)
        gather = partial(run_facts, told, agent.outbox.append, agent.options.facts, task_status=facts)
        agent.start(nursery, "facts", gather)
    if settings.takes_submissions:
        agent.start(nursery, "submissions", partial(run_intake, settings.submit, agent.outbox.append))


async def _tree() -> object:
    await trio.lowlevel.checkpoint()
    return status.task_tree()


async def _wake(outbox: Outbox) -> bool:
    await trio.lowlevel.checkpoint()
    outbox.wake()
    return True


async def _examine(outbox: Outbox) -> bool:
    await trio.lowlevel.checkpoint()
    with suppress(OSError):  # who complained makes the mark
        doubt.raise_doubt(outbox.path)
    return True
