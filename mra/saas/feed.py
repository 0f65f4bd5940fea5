"""Events as they are stored, customer by customer, now and from now on."""

from __future__ import annotations

import json
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from mra.config.index import parse_time
from mra.saas.streams import call_api
from mra.saas.verify import read_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mra.aio.session import Session
    from mra.saas.chain import Message

STREAM = "MACHINE_ROOM_EVENTS"
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Event:
    """One stored event.

    Attributes:
        customer: its id.
        subject: without stream and customer, such as `lifecycle.event.startup.server`.
        stored: ns since 1970 by the clock of the SaaS.
        body: JSON as it was stored, or the text of something else.
    """

    sequence: int
    customer: str
    subject: str
    stored: int
    body: Any

    @property
    def what(self) -> str:
        """Type and origin of a CloudEvent; empty for something else."""
        if not isinstance(self.body, dict):
            return ""
        return f"{self.body.get('type', '')} {self.body.get('subject', '')}".strip()


def pattern(customer: str | None, subject: str = ">") -> str:
    """Subjects of the events of a customer, or of all."""
    return f"machine_room.events.{customer or '*'}.{subject}"


async def since(session: Session, subjects: str, start: str) -> AsyncIterator[Event]:
    """Events on `subjects` from a time (RFC 3339) on, up to now. Raises Unavailable, Refused, LinkLost."""
    messages = read_stream(session, STREAM, since=start, subject=subjects)
    async with aclosing(messages):  # type: ignore[type-var]
        async for message in messages:
            if (event := _event(message)) is not None:
                yield event


async def end(session: Session) -> int:
    """The sequence that the next event will have. Raises like `since`."""
    return int((await call_api(session, f"STREAM.INFO.{STREAM}"))["state"]["last_seq"]) + 1


class Follower:
    """Where a reader of the events stands; it outlives connections."""

    def __init__(self, subjects: str, following: int) -> None:
        self._subjects = subjects
        self.following = following

    async def follow(self, session: Session) -> AsyncIterator[Event]:
        """Events as they come, without end. Raises like `since`; call it again on another session to go on.

        A stream that was wiped, or restored to an earlier state, is read from its beginning.
        """
        while True:
            state = (await call_api(session, f"STREAM.INFO.{STREAM}"))["state"]
            if state["last_seq"] + 1 < self.following:
                self.following = max(1, state["first_seq"])
            if state["last_seq"] >= self.following:
                async with aclosing(self._read(session, state["last_seq"])) as stored:  # type: ignore[type-var]
                    async for event in stored:
                        yield event
            await trio.sleep(_LOOK_SECONDS)

    async def _read(self, session: Session, last: int) -> AsyncIterator[Event]:
        messages = read_stream(session, STREAM, first=self.following, subject=self._subjects)
        async with aclosing(messages):  # type: ignore[type-var]
            async for message in messages:
                self.following = message.stream_seq + 1
                if (event := _event(message)) is not None:
                    yield event
        self.following = max(self.following, last + 1)


def _event(message: Message) -> Event | None:
    """The message as an event; None for a checkpoint."""
    customer, _, subject = message.subject.removeprefix("machine_room.events.").partition(".")
    if subject.startswith("checkpoint."):
        return None
    try:
        body = json.loads(message.body)
    except (ValueError, RecursionError):
        body = message.body.decode("utf-8", "replace")
    stored = parse_time(message.headers.get("Nats-Time-Stamp", ""))
    return Event(message.stream_seq, customer, subject, stored, body)
