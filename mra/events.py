"""CloudEvents 1.0, structured JSON: what every report of the agent is wrapped in. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mra.outbox.record import Draft, Lane, new_id

if TYPE_CHECKING:
    from collections.abc import Mapping


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
