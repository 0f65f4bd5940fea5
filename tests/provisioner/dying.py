"""`mra`, ended by SIGKILL at a step that is named: `python -m tests.provisioner.dying STEP saas provisioner ...`.

A step is `before:NAME` or `after:NAME` of one of STEPS, the first time that it is reached.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import wraps
from typing import Any

from mra.cli.main import invoke
from mra.enrol import messages
from mra.provisioner import admission, authority, decision, ledger
from mra.provisioner.rules import Rules

STEPS: dict[str, tuple[Any, str]] = {
    "admit": (admission, "admit"),
    "nonce": (admission, "make_nonce"),
    "check": (ledger, "check"),
    "helper": (Rules, "__call__"),
    "grant": (decision, "grant"),
    "commit": (ledger, "commit"),
    "seal": (messages, "seal_answer"),
}


def arm(step: str) -> None:
    """Have the process end there."""
    when, _, name = step.partition(":")
    owner, attribute = STEPS[name]
    function = getattr(owner, attribute)

    @wraps(function)
    def dying(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        found = function(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(owner, attribute, dying)


if __name__ == "__main__":
    assert authority.grant is decision.grant
    arm(sys.argv[1])
    sys.exit(invoke(sys.argv[2:]))
