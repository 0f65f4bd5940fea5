"""The daemon with producers inside: what a kill meets when watchers and facts are busy.

    python -m tests.harness.loaded_agent --config FILE --ledger DIRECTORY --lane events ...

Apart from its producers it is `mra run`: SIGTERM stops it in order. It goes on running when its count is reached.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import trio

from mra import log
from mra.app import run_agent
from mra.errors import OutboxFull, StoreBroken
from tests.harness.ledger import LedgerWriter
from tests.harness.offers import PAUSE_WHEN_FULL_SECONDS, Group, Load

if TYPE_CHECKING:
    from mra.outbox.outbox import Outbox
    from mra.outbox.record import Lane

PRODUCERS_PER_LANE = 4  # so that commits carry groups of several


async def main(load: Load) -> None:
    """Run the agent and its producers until SIGTERM."""
    stop = trio.Event()
    ledger = LedgerWriter(load.ledger)
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as agent:
            outbox: Outbox = await agent.start(run_agent, load.settings(), stop)
            async with trio.open_nursery() as producers:
                for lane in list(load.lanes) * PRODUCERS_PER_LANE:
                    producers.start_soon(produce, outbox, load, lane, ledger)
                await anext(signals)
                producers.cancel_scope.cancel()
            stop.set()


async def produce(outbox: Outbox, load: Load, lane: Lane, ledger: LedgerWriter) -> None:
    """One producer: group after group, each in the ledger once it was accepted."""
    for group in load.groups(lane):
        await _offer(outbox, group, ledger)
        await trio.sleep(load.pause)


async def _offer(outbox: Outbox, group: Group, ledger: LedgerWriter) -> None:
    rows, drafts = group
    while True:
        try:
            await outbox.append_many(drafts)
        except OutboxFull:
            await trio.sleep(PAUSE_WHEN_FULL_SECONDS)
        except StoreBroken:
            return  # accepted or not, nobody can tell
        else:
            ledger.accepted(rows)
            return


if __name__ == "__main__":
    log.set_up("info")
    trio.run(main, Load.parse())
