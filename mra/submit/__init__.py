"""Submissions: records that other programs of this host hand to the agent.

    program --> submit_over_socket --> <state>/submit.sock --> intake --> Draft --> outbox.append --> receipt
                (client.py)            frames of JSON           |  who is it? the kernel says (SO_PEERCRED)
                                       (protocol.py)            '- may it pass? message.py says

Promise: a receipt means that the record is on disk and will be delivered. Whoever got none may submit again under the
same id: of two submissions of one user with one id only the first is accepted, as long as the outbox remembers it (it
waits, is parked, or was delivered within the replay window).

Modules: `message.py` (what a submission is, and its headers) and `protocol.py` (frames and documents) are pure;
`client.py` blocks and needs nothing but the standard library's sockets; `intake.py` is the daemon's task.

Invariants:
  * identity and sender are written by the daemon, never by the submitter;
  * ids of different users never meet, so nobody can take an id that another program is about to use;
  * a user costs a bounded number of connections, bytes and seconds, whatever is sent.
"""

from __future__ import annotations

from mra.submit.client import submit_over_socket
from mra.submit.intake import IntakeSettings, run_intake
from mra.submit.message import Submission

__all__ = ["IntakeSettings", "Submission", "run_intake", "submit_over_socket"]
