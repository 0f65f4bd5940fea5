"""The events of machines, as the outbox holds them: no daemon is asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mra.outbox.sqlite import Connection

_NEWEST = "SELECT seq, wall, subject, body FROM row_events WHERE seq <= ? ORDER BY seq DESC"
_BEHIND = "SELECT seq, wall, subject, body FROM row_events WHERE seq > ? ORDER BY seq"


def last_row(connection: Connection) -> int:
    """The sequence of the newest row of lane `events`; 0 when there is none."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM row_events").fetchone()[0])


def newest(connection: Connection, name: str | None, limit: int) -> list[dict[str, Any]]:
    """The last `limit` events of a machine (None: of all) that are still here, oldest first."""
    found: list[dict[str, Any]] = []
    for row in connection.execute(_NEWEST, (last_row(connection),)):
        if (event := _event(row, name)) is not None:
            found.append(event)
            if len(found) == limit:
                break
    return found[::-1]


def behind(connection: Connection, name: str | None, seq: int) -> Iterator[dict[str, Any]]:
    """The events of a machine (None: of all) behind a row, oldest first."""
    for row in connection.execute(_BEHIND, (seq,)):
        if (event := _event(row, name)) is not None:
            yield event


def _event(row: tuple[int, int, str, bytes], name: str | None) -> dict[str, Any] | None:
    """The row as an event; None when it is none, or another machine's. Bodies are whatever producers wrote."""
    seq, wall, subject, body = row
    if not subject.startswith("machine."):
        return None
    try:
        data = json.loads(body)["data"]
        machine = data["machine"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if name is not None and machine != name:
        return None
    return {"seq": seq, "wall": wall, "subject": subject, "data": data}


def sentence(event: dict[str, Any]) -> str:
    """What happened, in a few words."""
    data = event["data"]
    if event["subject"] == "machine.transition":
        return f"{data.get('from_state')} -> {data.get('to_state')} ({data.get('transition')})"
    outcome = data.get("state") or data.get("status") or data.get("previous_outcome") or ""
    return f"{data.get('name')} [{data.get('type')}] {outcome}".rstrip()
