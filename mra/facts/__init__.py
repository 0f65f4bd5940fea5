"""Facts: what this node is, gathered from the host, kept for machines and told to the SaaS.

    sources (threads) --.
    tokens' fingerprints +--> snapshot.compose --> Snapshot --> <state>/facts.json, 0600      for machines
    the builder's hook -'                            |    '---> Newest                        for other tasks
                                                     '--------> outbox.append, lane `nodes`   for the SaaS

Groups and names follow what Choria's machines look up: `host`, `network`, `partition`, `cpu`, `memory` (with `swap`)
and `machine_room`.

Modules, pure ones first:

    snapshot.py   merge, stable bytes, change digest, difference
    cleaning.py   any Python value becomes plain JSON, without secrets
    settings.py   what is gathered, how often, and what the node says of itself
    sources.py    the host's answers, through psutil and /proc; blocking
    gather.py     runs the sources in threads, each with a time limit
    node.py       the `machine_room` block and the builder's hook
    keeping.py    the file on disk
    report.py     task: refresh, keep, report

Invariants:
  * a report is always made: what cannot be read is absent, and `machine_room.problems` says why;
  * no token, seed or password is in the facts, whoever put it there: tokens are named by their fingerprint;
  * the change digest moves only when something other than a counter, a clock or a load moved;
  * a report never exceeds `max_bytes`: the largest group gives way, and the problems say so.
"""

from __future__ import annotations

from mra.facts.report import Newest, run_facts, take_snapshot
from mra.facts.settings import FactsSettings, Hook
from mra.facts.snapshot import Snapshot

__all__ = ["FactsSettings", "Hook", "Newest", "Snapshot", "run_facts", "take_snapshot"]
