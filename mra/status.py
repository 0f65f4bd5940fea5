"""What `mra status` shows, as one document: built by the daemon from what it sees, or from the file alone."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import trio

from mra import __version__, clock
from mra.outbox import inspection, sqlite

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from mra.config.mirror import MirrorStatus
    from mra.governors.governors import Governors
    from mra.governors.holding import Claim
    from mra.machines.picture import MachinePicture
    from mra.outbox.outbox import Outbox
    from mra.settings import Settings
    from mra.supervise import Supervisor
    from mra.uplink.service import LinkStatus


def from_file(settings: Settings) -> dict[str, Any]:
    """The status of an agent whose daemon is down. Raises BadInput when there is no outbox yet."""
    connection = sqlite.connect_readonly(settings.database)
    try:
        lanes = inspection.lane_reports(connection, clock.now())
        outbox = inspection.file_report(connection, settings.database)
    finally:
        connection.close()
    return {
        "agent": settings.name,
        "version": __version__,
        "running": False,
        "link": {"state": "down", "last_error": "the daemon is not running"},
        "durability": settings.durability,
        "sqlite": sqlite.library_version(),
        "lanes": {report["lane"]: report for report in lanes},
        "outbox": {**outbox, "max_bytes": settings.outbox.max_bytes},
    }


async def from_daemon(
    settings: Settings,
    outbox: Outbox,
    link: LinkStatus,
    supervisor: Supervisor,
    started: float,
    version: str = __version__,
    desired: MirrorStatus | None = None,
    pictures: Callable[[], Sequence[MachinePicture]] = tuple,
    governors: Governors | None = None,
    site: Callable[[], Awaitable[dict[str, Any] | None]] | None = None,
) -> dict[str, Any]:
    """The status as the running daemon sees it."""
    lanes = await outbox.read(inspection.lane_reports, clock.now())
    document = {report["lane"]: report for report in lanes}
    for lane, live in link.lanes.items():
        document[lane.value].update(
            state=live.state, mode=live.mode, rate=round(live.rate(), 1), last_error=live.last_error
        )
    return {
        "agent": settings.name,
        "version": version,
        "running": True,
        "pid": os.getpid(),
        "uptime": round(trio.current_time() - started, 1),
        "link": link_report(link),
        "durability": settings.durability,
        "sqlite": sqlite.library_version(),
        "lanes": document,
        "outbox": {
            **await outbox.read(inspection.file_report, settings.database),
            "max_bytes": settings.outbox.max_bytes,
            "ballast": outbox.ballast.is_set,
        },
        "site": await site() if site else None,
        "desired": _desired_report(desired),
        "machines": _machines_report(pictures()),
        "governors": _governors_report(governors),
        "services": {name: asdict(status) for name, status in supervisor.services.items()},
    }


def _desired_report(desired: MirrorStatus | None) -> dict[str, Any] | None:
    """How the copy of desired state stands; None for an agent that follows none."""
    if desired is None:
        return None
    checked = None if desired.checked_at is None else round(trio.current_time() - desired.checked_at, 1)
    return {
        "state": desired.state,
        "keys": desired.keys,
        "revision": desired.revision,
        "checked": checked,  # seconds ago
        "last_error": desired.last_error,
    }


def _machines_report(pictures: Sequence[MachinePicture]) -> dict[str, Any]:
    """How many machines there are in each condition, and what is wrong with which."""
    return {
        "conditions": dict(Counter(picture.condition.value for picture in pictures)),
        "problems": {picture.name: picture.problem for picture in pictures if picture.problem},
    }


def _governors_report(governors: Governors | None) -> dict[str, Any]:
    """Who holds a slot of which governor, and who waits for one."""
    return {
        "held": _claims(governors.held if governors else ()),
        "waiting": _claims(governors.waiting if governors else ()),
    }


def _claims(claims: Sequence[Claim]) -> list[dict[str, str]]:
    return [{"governor": claim.governor, "holder": claim.holder} for claim in claims]


def link_report(link: LinkStatus) -> dict[str, Any]:
    """How the connection to the SaaS stands."""
    return {
        "state": link.state,
        "server": link.server,
        "for": round(trio.current_time() - link.since, 1),
        "attempts": link.attempts,
        "connections": link.connections,
        "last_error": link.last_error,
    }


def brief(link: LinkStatus, started: float) -> dict[str, Any]:
    """What machines may know of the agent that runs them; asks nobody."""
    return {"uptime": round(trio.current_time() - started, 1), "link": link_report(link)}


def task_tree(task: trio.lowlevel.Task | None = None) -> dict[str, Any]:
    """The live tree of tasks and nurseries, from the root."""
    task = task or trio.lowlevel.current_root_task()
    if task is None:
        return {"name": "none", "children": []}
    return {
        "name": task.name,
        "children": [task_tree(child) for nursery in task.child_nurseries for child in _by_name(nursery)],
    }


def _by_name(nursery: trio.Nursery) -> list[trio.lowlevel.Task]:
    return sorted(nursery.child_tasks, key=lambda task: task.name)
