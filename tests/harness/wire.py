"""A small NATS client of the tests' own, so that what counts the messages shares no code with what sent them.

It speaks the client protocol over one Trio socket, one question at a time, with no background task: it answers the
server's pings whenever it reads. `read_stream` fetches a whole stream with batched direct gets (ADR-31 of the NATS
architecture notes), tens of thousands of messages a second.
"""

from __future__ import annotations

import itertools
import json
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from tests.harness.protocol import Failure, Info, Message, Parser, Ping, Pong, encode

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

ANSWER_SECONDS = 20
BATCH = 1_000
BATCH_BYTES = 8 << 20
READ_BYTES = 1 << 18


class WireError(Exception):
    """The server said no, or closed the connection."""


class NoResponders(WireError):
    """Nothing answers on that subject."""


class ApiError(WireError):
    """A JetStream answer with an error in it."""

    def __init__(self, subject: str, error: Mapping[str, Any]) -> None:
        super().__init__(f"{subject}: {error.get('description')} ({error.get('err_code')})")
        self.code = int(error.get("err_code", 0))


@dataclass(frozen=True, slots=True)
class Stored:
    """One message as a stream holds it."""

    sequence: int
    subject: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """One message of an atomic batch, before it is sent."""

    subject: str
    body: bytes
    headers: Mapping[str, str]


class Wire:
    """One authenticated connection. Calls must not overlap; a cancelled call makes the connection useless."""

    def __init__(self, stream: trio.abc.Stream, inbox: str) -> None:
        self._stream = stream
        self._parser = Parser()
        self._inbox = f"{inbox}.{secrets.token_hex(8)}"
        self._questions = itertools.count(1)

    async def _hello(self, prove: Callable[[Info], Mapping[str, str]], tls: ssl.SSLContext | None, host: str) -> None:
        info = await self._next()
        if not isinstance(info, Info):
            raise WireError(f"the server began with {info!r} instead of INFO")
        if tls is not None:  # NATS begins in the clear, and turns to TLS after its first line
            self._stream = trio.SSLStream(self._stream, tls, server_hostname=host)
        options = {**prove(info), "verbose": False, "pedantic": False, "headers": True}
        options |= {"no_responders": True, "lang": "tests", "version": "1", "protocol": 1}
        await self._stream.send_all(f"CONNECT {json.dumps(options)}\r\nSUB {self._inbox}.* 1\r\n".encode())
        await self.flush()

    async def _next(self) -> Info | Message | Pong:
        """The next thing the server says, its pings answered on the way."""
        while True:
            said = self._parser.next_event()
            if said is None:
                data = await self._stream.receive_some(READ_BYTES)
                if not data:
                    raise WireError("the server closed the connection")
                self._parser.feed(data)
            elif isinstance(said, Ping):
                await self._stream.send_all(b"PONG\r\n")
            elif isinstance(said, Failure):
                raise WireError(said.text)
            else:
                return said

    async def flush(self) -> None:
        """Return once the server has taken everything sent so far; raises `WireError` with its complaint otherwise."""
        with trio.fail_after(ANSWER_SECONDS):
            await self._stream.send_all(b"PING\r\n")
            while not isinstance(await self._next(), Pong):
                pass

    async def publish(
        self, subject: str, body: bytes, headers: Mapping[str, str] | None = None, *, reply: str = ""
    ) -> None:
        """Send without waiting for an answer; with `reply` whoever answers does so there."""
        await self._stream.send_all(encode(subject, body, headers or {}, reply))

    async def request(self, subject: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Message:
        """Send and wait for one answer. Raises `NoResponders` where nobody listens, `trio.TooSlowError` in silence."""
        inbox = self._new_inbox()
        with trio.fail_after(ANSWER_SECONDS):
            await self._stream.send_all(encode(subject, body, headers or {}, inbox))
            return await self._answer(subject, inbox)

    async def _answer(self, question: str, inbox: str) -> Message:
        while True:
            said = await self._next()
            if isinstance(said, Message) and said.subject == inbox:
                if said.status == 503:
                    raise NoResponders(f"nothing answers on {question}")
                return said

    def _new_inbox(self) -> str:
        return f"{self._inbox}.{next(self._questions)}"

    async def ask(self, subject: str, question: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask a JetStream API; raises `ApiError` when the answer is an error."""
        answer = await self.request(subject, json.dumps(question).encode() if question is not None else b"")
        return self._checked(subject, answer)

    @staticmethod
    def _checked(subject: str, answer: Message) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(answer.body)
        if "error" in said:
            raise ApiError(subject, said["error"])
        return said

    async def stream_info(self, stream: str) -> dict[str, Any]:
        """Configuration and state of one stream."""
        return await self.ask(f"$JS.API.STREAM.INFO.{stream}")

    async def subscribe(self, subject: str) -> None:
        """Have messages on a subject delivered too; raises `WireError` when the server forbids it."""
        await self._stream.send_all(f"SUB {subject} {next(self._questions) + 1}\r\n".encode())
        await self.flush()

    async def heard(self) -> list[Message]:
        """What was delivered unasked, up to now."""
        found: list[Message] = []
        with trio.fail_after(ANSWER_SECONDS):
            await self._stream.send_all(b"PING\r\n")
            while not isinstance(said := await self._next(), Pong):
                if isinstance(said, Message):
                    found.append(said)
        return found

    async def store(self, subject: str, body: bytes, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Publish one message into the stream that listens there; the server's acknowledgement."""
        return self._checked(subject, await self.request(subject, body, headers))

    async def store_batch(self, parts: Sequence[Part]) -> dict[str, Any]:
        """Publish an atomic batch (ADR-50) in one write; the server's acknowledgement of the whole."""
        batch, inbox = secrets.token_hex(16), self._new_inbox()
        sent = bytearray()
        for number, part in enumerate(parts, start=1):
            headers = {**part.headers, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            last = number == len(parts)
            if last:
                headers["Nats-Batch-Commit"] = "1"
            sent += encode(part.subject, part.body, headers, inbox if last else "")
        with trio.fail_after(ANSWER_SECONDS):
            await self._stream.send_all(sent)
            return self._checked(parts[-1].subject, await self._answer(parts[-1].subject, inbox))

    async def read_stream(self, stream: str) -> list[Stored]:
        """Every message that the stream holds now, in order."""
        state = (await self.stream_info(stream))["state"]
        stored: list[Stored] = []
        sequence, last = max(1, state["first_seq"]), state["last_seq"]
        while state["messages"] and sequence <= last:
            batch = await self._read_batch(stream, sequence)
            if not batch:
                break
            stored += batch
            sequence = batch[-1].sequence + 1
        return stored

    async def _read_batch(self, stream: str, sequence: int) -> list[Stored]:
        subject, inbox = f"$JS.API.DIRECT.GET.{stream}", self._new_inbox()
        question = {"seq": sequence, "next_by_subj": ">", "batch": BATCH, "max_bytes": BATCH_BYTES}
        batch: list[Stored] = []
        with trio.fail_after(ANSWER_SECONDS):
            await self._stream.send_all(encode(subject, json.dumps(question).encode(), {}, inbox))
            while True:
                answer = await self._answer(subject, inbox)
                if answer.status in (204, 404):  # the batch ends; nothing from there on
                    return batch
                if answer.status is not None:
                    raise WireError(f"{subject} answered {answer.status} {answer.description}")
                batch.append(_stored(answer))


def _stored(answer: Message) -> Stored:
    """The message inside a direct get's answer, without the headers that the get added."""
    headers = dict(answer.headers)
    sequence, subject = int(headers.pop("Nats-Sequence")), headers.pop("Nats-Subject")
    for added in ("Nats-Stream", "Nats-Time-Stamp", "Nats-Num-Pending", "Nats-Last-Sequence"):
        headers.pop(added, None)
    return Stored(sequence, subject, headers, answer.body)


@asynccontextmanager
async def open_wire(
    port: int,
    user: str,
    password: str,
    *,
    host: str = "127.0.0.1",
    inbox: str = "_INBOX",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Wire]:
    """Connect for the length of the block. Raises `OSError` without a server, `WireError` when it refuses."""
    login = {"user": user, "pass": password}
    async with open_proven_wire(port, lambda _: login, host=host, inbox=inbox, tls=tls) as wire:
        yield wire


@asynccontextmanager
async def open_proven_wire(
    port: int,
    prove: Callable[[Info], Mapping[str, str]],
    *,
    host: str = "127.0.0.1",
    inbox: str = "_INBOX",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Wire]:
    """Connect as whoever `prove` shows the server that we are, for the length of the block; encrypted with `tls`."""
    async with await trio.open_tcp_stream(host, port) as stream:
        wire = Wire(stream, inbox)
        with trio.fail_after(ANSWER_SECONDS):
            await wire._hello(prove, tls, host)
        yield wire
