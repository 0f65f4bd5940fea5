"""CloudEvents 1.0, structured JSON: what every report of the agent is wrapped in. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mra.clock import NANOSECONDS
from mra.outbox.record import Draft, Lane, new_id

if TYPE_CHECKING:
    from collections.abc import Mapping

LIFECYCLE: Final = "io.choria.lifecycle"  # the source of lifecycle events


def rfc3339(wall_ns: int) -> str:
    """Wall-clock nanoseconds as CloudEvents want a time."""
    return datetime.fromtimestamp(wall_ns / 1e9, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def cloud_event(
    *,
    type_: str,
    source: str,
    identity: str,
    data: Mapping[str, Any],
    wall_ns: int,
    subject: str,
    lane: Lane = Lane.EVENTS,
    id_: str | None = None,
) -> Draft:
    """An event with an id and a time of its own, ready for the outbox under the relative `subject`."""
    id_ = id_ or new_id()
    body = {
        "specversion": "1.0",
        "id": id_,
        "source": source,
        "type": type_,
        "subject": identity,
        "time": rfc3339(wall_ns),
        "datacontenttype": "application/json",
        "data": data,
    }
    return Draft(lane, subject, json.dumps(body, separators=(",", ":")).encode(), id=id_)


def lifecycle_event(
    type_: str, *, identity: str, component: str, wall_ns: int, subject: str, extra: Mapping[str, Any]
) -> Draft:
    """A lifecycle event as Choria's are (section 4 of the reference); one id stands in the envelope and in `data`.

    `subject` is the part below `lifecycle.event`; `extra` follows the keys that all types have.
    """
    protocol = f"{LIFECYCLE}.v1.{type_}"
    id_ = new_id()
    data = {
        "protocol": protocol,
        "id": id_,
        "identity": identity,
        "component": component,
        "timestamp": wall_ns // NANOSECONDS,
        **extra,
    }
    return cloud_event(
        type_=protocol,
        source=LIFECYCLE,
        identity=identity,
        data=data,
        wall_ns=wall_ns,
        subject=f"lifecycle.event.{subject}",
        id_=id_,
    )
