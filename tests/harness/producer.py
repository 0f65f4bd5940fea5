"""A process that offers rows by writing into the database file, beside a daemon that runs or not.

    python -m tests.harness.producer --config FILE --ledger DIRECTORY --lane events ...

It ends with status 0 when its count is reached. An error of the database ends it with a traceback in its log, as the
count of unanswered rows then tells.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from mra.clock import now
from mra.errors import MraError, OutboxFull
from mra.outbox.outbox import prepare
from mra.outbox.store import Request, accept
from tests.harness.ledger import LedgerWriter
from tests.harness.offers import PAUSE_WHEN_FULL_SECONDS, Load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mra.outbox import Draft
    from mra.outbox.sqlite import Connection
    from mra.outbox.store import Outcome
    from mra.settings import Settings


def main() -> None:
    """Offer groups of every lane in turn."""
    load = Load.parse()
    settings = load.settings()
    ledger = LedgerWriter(load.ledger)
    with closing(prepare(settings.database, settings.outbox)) as connection:
        for turn in zip(*(load.groups(lane) for lane in load.lanes), strict=True):
            for rows, drafts in turn:
                while isinstance(outcome := _offer(connection, settings, drafts), OutboxFull):
                    time.sleep(PAUSE_WHEN_FULL_SECONDS)
                if isinstance(outcome, MraError):
                    raise outcome
                ledger.accepted(rows)
            time.sleep(load.pause)


def _offer(connection: Connection, settings: Settings, drafts: Sequence[Draft]) -> Outcome:
    [outcome] = accept(connection, settings.database, [Request(drafts)], settings.outbox, now())
    return outcome


if __name__ == "__main__":
    main()
