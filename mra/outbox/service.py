"""The outbox's own tasks in the daemon: upkeep, noticing other writers, telling the SaaS about losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from mra import clock
from mra.errors import Unavailable
from mra.events import cloud_event
from mra.log import logger
from mra.outbox import ledger, upkeep

if TYPE_CHECKING:
    from mra.outbox.outbox import Outbox
    from mra.outbox.sqlite import Connection

log = logger("outbox")
UPKEEP_SECONDS = 15.0
WATCH_SECONDS = 1.0


async def run_upkeep(outbox: Outbox, identity: str) -> None:
    """At once and every few seconds: shed what is too old, close the replay window, give space back, report losses."""
    while True:
        try:
            await keep_up(outbox)
            await report_losses(outbox, identity)
        except Unavailable as reason:
            log.once_per(60, "upkeep is put off", reason=str(reason))
        await trio.sleep(UPKEEP_SECONDS)


async def keep_up(outbox: Outbox) -> None:
    """One round of upkeep, slice by slice; other work gets its turn between the slices."""
    while await outbox.run_unit(upkeep.shed_aged, outbox.settings, clock.now()):
        await trio.lowlevel.checkpoint()
    while await outbox.run_unit(upkeep.prune, outbox.settings, clock.now()):
        await trio.lowlevel.checkpoint()
    await outbox.run_unit(upkeep.fold_ledger)
    await outbox.run_unit(upkeep.give_back)
    await trio.to_thread.run_sync(outbox.ballast.set_aside)


async def report_losses(outbox: Outbox, identity: str) -> int:
    """Turn unreported losses into events; each event and its mark commit together, so none is told twice."""
    if not await outbox.read(ledger.has_unreported):
        return 0
    losses = await outbox.run_unit(ledger.close_unreported)
    drafts = [
        cloud_event(
            type_="io.mra.outbox.v1.loss",
            source="io.mra.outbox",
            identity=identity,
            subject="outbox.loss",
            wall_ns=loss.wall,
            data={
                "lane": loss.lane,
                "reason": loss.reason,
                "count": loss.rows,
                "bytes": loss.bytes,
                "first_seq": loss.first_seq,
                "last_seq": loss.last_seq,
                "detail": loss.detail,
            },
        )
        for loss in losses
    ]
    numbers = [loss.no for loss in losses]

    def mark(connection: Connection) -> None:
        ledger.mark_reported(connection, numbers)

    await outbox.append_many(drafts, also=mark)
    return len(losses)


async def run_watch(outbox: Outbox) -> None:
    """Notice rows that other processes wrote, and damage that they met. Who can, pokes the daemon's socket."""
    version = None
    while True:
        try:
            await outbox.examine()
            found = await outbox.read(_data_version)
        except Unavailable:
            found = None
        if found != version:
            version = found
            outbox.wake()
        await trio.sleep(WATCH_SECONDS)


def _data_version(connection: Connection) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])
