"""What became of a slot, as a lifecycle event (section 4.4 of the reference). (pure)

Where Choria publishes governor events bare, on a subject tree of wrapped ones, they are wrapped here like all others;
its consumers accept both.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final, Literal

from mra.events import lifecycle_event

if TYPE_CHECKING:
    from mra.outbox.record import Draft

_NO_SUBJECT: Final = re.compile(r"[^A-Za-z0-9_-]+", re.ASCII)

What = Literal["enter", "exit", "timeouts", "eviction"]


def governor_event(
    identity: str, component: str, governor: str, sequence: int, event: What, wall_ns: int | None = None
) -> Draft:
    """`component` is the machine that took, left or did not get a slot; `sequence` is 0 when there was none."""
    return lifecycle_event(
        "governor",
        identity=identity,
        component=component,
        wall_ns=time.time_ns() if wall_ns is None else wall_ns,
        subject=f"governor.{_NO_SUBJECT.sub('_', component)}",
        extra={"governor": governor, "sequence": sequence, "event_type": event},
    )
