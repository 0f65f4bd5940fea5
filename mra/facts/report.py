"""Task: looks at the host at intervals, keeps the facts for machines, and tells the SaaS what changed.

Every look ends in exactly one message on lane `nodes`:

    full report   subject and key `<identity>`             at the start, on change, and at least every `full_every`
    heartbeat     subject and key `<identity>.heartbeat`   otherwise; names the full report that is still true

The keys differ, so that during an outage the newest full report waits beside the newest heartbeat. A full report that
the outbox did not take is due again at the next look.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import trio

from mra import clock
from mra.errors import MraError
from mra.events import cloud_event
from mra.facts.cleaning import reason
from mra.facts.gather import Gatherer
from mra.facts.keeping import keep, recall
from mra.facts.node import ask_hook, node_block
from mra.facts.snapshot import VOLATILE, Snapshot, compose, diff
from mra.log import logger
from mra.outbox.record import Draft, Lane

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mra.facts.cleaning import Json
    from mra.facts.settings import FactsSettings, Hook

log = logger("facts")

SOURCE: Final = "mra.node"
FULL: Final = "mra.node.v1.facts"
HEARTBEAT: Final = "mra.node.v1.heartbeat"

Append = Callable[[Draft], Awaitable[object]]
Gather = Callable[[frozenset[str]], Awaitable[tuple[dict[str, "Json"], dict[str, str]]]]


class Newest:
    """The newest facts, as a value that other tasks read at any time."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts = facts
        self.snapshot: Snapshot | None = None
        self._refreshed = trio.Event()

    async def wait_refreshed(self) -> Snapshot:
        """The next snapshot of this run."""
        await self._refreshed.wait()
        assert self.snapshot is not None
        return self.snapshot

    def replace(self, snapshot: Snapshot) -> None:
        """Offer newer facts and wake those who wait for them."""
        self.facts, self.snapshot = snapshot.facts, snapshot
        self._refreshed.set()
        self._refreshed = trio.Event()


@dataclass(frozen=True, slots=True)
class _Told:
    """The last full report that the outbox took."""

    snapshot: Snapshot
    id: str
    at: float


async def run_facts(
    settings: FactsSettings,
    append: Append,
    hook: Hook | None = None,
    *,
    gather: Gather | None = None,
    task_status: trio.TaskStatus[Newest] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Refresh, keep and report facts until cancelled.

    Starts with the facts that the last run kept, so that machines need not wait for a slow host; the first fresh ones
    follow at once. `append` returns once the draft is on disk; when it raises an MraError the report is tried again
    at the next look. Cancelling leaves no file or task behind; a thread that reads the host ends by itself.
    """
    gather = gather or Gatherer(settings.source_seconds).gather
    newest = Newest(await trio.to_thread.run_sync(recall, settings.file, settings.identity))
    task_status.started(newest)
    told: _Told | None = None
    while True:
        due = trio.current_time() + settings.refresh_every
        snapshot = await take_snapshot(settings, hook, gather=gather)
        newest.replace(snapshot)
        await _keep(settings, snapshot)
        told = await _tell(settings, snapshot, told, append)
        await trio.sleep_until(max(due, trio.current_time()))


async def take_snapshot(settings: FactsSettings, hook: Hook | None = None, *, gather: Gather | None = None) -> Snapshot:
    """The facts of this moment. Always succeeds: what is missing is named in `Snapshot.problems`."""
    gather = gather or Gatherer(settings.source_seconds).gather
    groups, problems = await gather(settings.skip)
    room = await trio.to_thread.run_sync(
        node_block, settings.identity, settings.node, clock.now().wall, problems, abandon_on_cancel=True
    )
    additional = await ask_hook(hook, settings.hook_seconds, problems)
    if additional is not None:
        room["additional_facts"] = additional
    if problems:
        room["problems"] = {reason(what): reason(why) for what, why in problems.items()}
    return compose(groups, room, volatile=settings.volatile, max_bytes=settings.max_bytes)


async def _keep(settings: FactsSettings, snapshot: Snapshot) -> None:
    try:
        await trio.to_thread.run_sync(keep, settings.file, snapshot.encoded)
    except OSError as error:
        log.once_per(3600, "facts are not kept on disk", path=str(settings.file), reason=error.strerror)


async def _tell(settings: FactsSettings, snapshot: Snapshot, told: _Told | None, append: Append) -> _Told | None:
    """Send what is due; return the full report that stands."""
    occasion = _full_report_due(settings, snapshot, told, trio.current_time())
    draft = _full(settings, snapshot, told, occasion) if occasion or not told else _heartbeat(settings, snapshot, told)
    try:
        await append(draft)
    except MraError as error:
        log.once_per(600, "a report was not accepted", reason=error.sentence)
        return told
    if not occasion:
        return told
    for what, why in snapshot.problems.items():
        log.once_per(3600, f"facts are missing: {what}", reason=why)
    return _Told(snapshot, str(draft.id), trio.current_time())


def _full_report_due(settings: FactsSettings, snapshot: Snapshot, told: _Told | None, now: float) -> str:
    """Why everything should be told; empty when a heartbeat will do."""
    if told is None:
        return "start"
    if snapshot.digest != told.snapshot.digest:
        return "change"
    return "schedule" if now - told.at >= settings.full_every else ""


def _full(settings: FactsSettings, snapshot: Snapshot, told: _Told | None, occasion: str) -> Draft:
    changed = diff(told.snapshot.facts, snapshot.facts, (*VOLATILE, *settings.volatile)) if told else []
    data = {"occasion": occasion, "changed": changed, "digest": snapshot.digest, "facts": snapshot.facts}
    return _event(settings, FULL, settings.identity, data)


def _heartbeat(settings: FactsSettings, snapshot: Snapshot, told: _Told) -> Draft:
    data = {"digest": told.snapshot.digest, "report": told.id, "problems": len(snapshot.problems)}
    return _event(settings, HEARTBEAT, f"{settings.identity}.heartbeat", data)


def _event(settings: FactsSettings, type_: str, subject: str, data: Mapping[str, Any]) -> Draft:
    wall = clock.now().wall
    common = {"protocol": type_, "identity": settings.identity, "timestamp": wall // clock.NANOSECONDS}
    draft = cloud_event(
        type_=type_, source=SOURCE, identity=settings.identity, data={**common, **data}, wall_ns=wall,
        subject=subject, lane=Lane.NODES,
    )  # fmt: skip
    return draft._replace(key=subject)
