"""The outbox: where everything the agent has to say rests until the SaaS provably holds it.

Promise: `append` returns after a commit with `synchronous=FULL`; from then on the record survives `kill -9`, an
operating-system crash and power loss, and leaves only because the SaaS holds it, because a stated policy shed it
(recorded in `loss`), or because it was parked (kept in `parked` with the reason).

    append, append_many --> tickets --> one writer task --> one transaction --> receipts      (group.py)
                                            |                  |
                                      group commit        store.py: the SQL, plain functions over one connection
                                                               |
    `mra submit`, `mra outbox ...` --------------------------- '   (other processes use the same functions)

Modules, pure ones first:

    record.py       Lane, Draft, Row, Receipt
    policy.py       how a lane is bounded, what overflow does
    sqlite.py       opening a connection the one right way; naming SQLite's errors
    schema.py       migrations
    opening.py      what may be opened: refuses foreign, newer and half-salvaged files before a byte changes
    store.py        accept: rules and rows in one transaction
    bounds.py       how much may wait, and what gives way before a record is refused
    shedding.py     rows that go undelivered, by policy
    drain.py        what the uplink does to rows: claim, settle, rewind
    parking.py      dead letters
    exports.py      rows that left in a sealed file, until the SaaS answers
    upkeep.py       ages, replay window, bounds of the file
    ledger.py       losses and audit
    operator.py     what a person may change by hand
    pages.py        records straight from the pages of a file, where SQLite no longer finds them
    salvage.py      a damaged file becomes a new one, row by row; the old one is kept
    books.py        marks and counters that agree with what a salvage found
    doubt.py        whether somebody met damage that was not examined since
    ballast.py      disk space set aside, so that a full disk cannot stop the draining
    group.py        group commit: producers wait for the transaction that carries their records
    outbox.py       the Trio side: units of work, waking the uplink, mending
    service.py      the daemon's tasks: upkeep, other writers, reports of losses
    inspection.py   questions for people: lanes, rows
    verification.py whether pages, books and checksums are right

Invariants:
  * per lane, `accepted = delivered + waiting + parked + shed` (a CHECK constraint, and `mra outbox verify` recounts);
  * sequence numbers of a lane are gapless when given and never given twice, because `lane.next_seq` only grows;
  * a row at or below `claimed_through` may be in flight and is never shed; only the uplink moves that mark;
  * a row at or below `exported_through` may be in a sealed file and is not shed for `outbox.export_hold`;
  * a row is written once and deleted once; where it stands is told by the marks in `lane`.
"""

from __future__ import annotations

from mra.outbox.record import Draft, Lane, Receipt

__all__ = ["Draft", "Lane", "Receipt"]
