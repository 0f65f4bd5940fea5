"""What nodes last said of themselves, from the stream of their reports.

Reports are other people's data: whatever a site stores on its subjects is read here, and what is no report of a node is
passed over.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from mra.aio.session import frame
from mra.config.index import parse_time
from mra.errors import Refused
from mra.saas.streams import call_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from mra.aio.session import Message, Session

STREAM = "MACHINE_ROOM_NODES"
_FULL, _HEARTBEAT = "mra.node.v1.facts", "mra.node.v1.heartbeat"
_SUBJECTS = 200  # asked for at once; the server gives the last of at most 1024 subjects
_PATIENCE = 15.0


@dataclass
class Node:
    """The newest of one node.

    Attributes:
        customer: its id.
        heard: ns since 1970, by the clock of the SaaS, when anything of it was stored last.
        reported: by the same clock, when its facts were stored.
        facts: as it reported them; None when only a heartbeat is left.
        problems: how many facts it could not tell.
    """

    customer: str
    name: str
    heard: int = 0
    reported: int = 0
    facts: dict[str, Any] | None = None
    problems: int = 0


class _Event(msgspec.Struct):
    type: str
    data: dict[str, Any]


async def newest(session: Session, customer: str | None = None) -> list[Node]:
    """Every node of a customer, or of all, by customer and name. Raises Unavailable, Refused, LinkLost."""
    found: dict[tuple[str, str], Node] = {}
    subjects = await _subjects(session, f"machine_room.nodes.{customer or '*'}.>")
    for start in range(0, len(subjects), _SUBJECTS):
        async for message in _last(session, subjects[start : start + _SUBJECTS]):
            _take(found, message)
    return [found[key] for key in sorted(found)]


async def _subjects(session: Session, pattern: str) -> list[str]:
    """The subjects of the stream, without those of checkpoints; the server gives them in pages."""
    found: list[str] = []
    while True:
        request = {"subjects_filter": pattern, "offset": len(found)}
        info = await call_api(session, f"STREAM.INFO.{STREAM}", request)
        page = info["state"].get("subjects") or {}
        found += page
        if not page or len(found) >= info.get("total", 0):
            return sorted(subject for subject in found if subject.split(".")[3] != "checkpoint")


async def _last(session: Session, subjects: Iterable[str]) -> AsyncIterator[Message]:
    """The last message on each subject (ADR-31)."""
    body = json.dumps({"multi_last": list(subjects), "batch": 2 * _SUBJECTS}).encode()
    with session.reply() as reply:
        await session.send(frame(f"$JS.API.DIRECT.GET.{STREAM}", reply.subject, b"", body))
        while True:
            answer = await reply.receive(_PATIENCE)
            if answer.status in ("204", "404"):
                return
            if answer.status:
                raise Refused(f"Stream {STREAM} cannot be read ({answer.status}): check allow_direct and the account.")
            yield answer


def _take(found: dict[tuple[str, str], Node], message: Message) -> None:
    customer, name = message.headers.get("Nats-Subject", "..").split(".")[2:4]
    try:
        event = msgspec.json.decode(message.body, type=_Event)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return
    if event.type not in (_FULL, _HEARTBEAT):
        return
    node = found.setdefault((customer, name), Node(customer, name))
    stored = parse_time(message.headers.get("Nats-Time-Stamp", ""))
    if stored >= node.heard:
        node.heard = stored
        node.problems = _problems(event)
    facts = event.data.get("facts")
    if event.type == _FULL and isinstance(facts, dict):
        node.reported, node.facts = stored, facts


def _problems(event: _Event) -> int:
    """A heartbeat counts them, a full report names them."""
    if event.type == _HEARTBEAT:
        count = event.data.get("problems")
        return count if isinstance(count, int) else 0
    named = fact({"facts": event.data.get("facts")}, "facts.machine_room.problems")
    return len(named) if isinstance(named, dict) else 0


def fact(facts: dict[str, Any] | None, path: str) -> Any:
    """One fact by its dotted path; None where it is absent."""
    found: Any = facts
    for word in path.split("."):
        found = found.get(word) if isinstance(found, dict) else None
    return found
