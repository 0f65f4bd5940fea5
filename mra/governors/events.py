"""What became of a slot, as a lifecycle event (section 4.4 of the reference). (pure)

Where Choria publishes governor events bare, on a subject tree of wrapped ones, they are wrapped here like all others;
its consumers accept both.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final, Literal

from mra.events import cloud_event
from mra.outbox.record import new_id

if TYPE_CHECKING:
    from mra.outbox.record import Draft

_SOURCE: Final = "io.choria.lifecycle"
_PROTOCOL: Final = "io.choria.lifecycle.v1.governor"
_NO_SUBJECT: Final = re.compile(r"[^A-Za-z0-9_-]+", re.ASCII)

What = Literal["enter", "exit", "timeouts", "eviction"]


def governor_event(
    identity: str, component: str, governor: str, sequence: int, event: What, wall_ns: int | None = None
) -> Draft:
    """`component` is the machine that took, left or did not get a slot; `sequence` is 0 when there was none."""
    wall_ns = time.time_ns() if wall_ns is None else wall_ns
    id_ = new_id()
    data = {
        "protocol": _PROTOCOL,
        "id": id_,
        "identity": identity,
        "component": component,
        "timestamp": wall_ns // 10**9,
        "governor": governor,
        "sequence": sequence,
        "event_type": event,
    }
    return cloud_event(
        type_=_PROTOCOL,
        source=_SOURCE,
        identity=identity,
        data=data,
        wall_ns=wall_ns,
        subject=f"lifecycle.event.governor.{_NO_SUBJECT.sub('_', component)}",
        id_=id_,
    )
