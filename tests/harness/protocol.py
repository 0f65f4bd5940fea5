"""The NATS client protocol as bytes in, events out; no I/O.

Source: the protocol reference at docs.nats.io/reference/reference-protocols/nats-protocol and ADR-4 for headers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class ProtocolError(Exception):
    """The other side sent what is no NATS."""


@dataclass(frozen=True, slots=True)
class Info:
    """What the server says of itself."""

    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """A delivered message; `status` and `description` come from the first header line."""

    subject: str
    reply: str
    headers: Mapping[str, str]
    body: bytes
    status: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """The server's complaint."""

    text: str


class Ping:
    """The server asks for a PONG."""


class Pong:
    """The server took everything sent before our PING."""


Event = Info | Message | Failure | Ping | Pong


def encode(subject: str, body: bytes, headers: Mapping[str, str], reply: str = "") -> bytes:
    """One PUB, or HPUB when there are headers."""
    address = f"{subject} {reply}" if reply else subject
    if not headers:
        return f"PUB {address} {len(body)}\r\n".encode() + body + b"\r\n"
    block = ("NATS/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n").encode()
    return f"HPUB {address} {len(block)} {len(block) + len(body)}\r\n".encode() + block + body + b"\r\n"


def _read_headers(block: bytes) -> tuple[dict[str, str], int | None, str]:
    first, *lines = block.decode().removesuffix("\r\n\r\n").split("\r\n")
    version, _, status = first.partition(" ")
    if version != "NATS/1.0":
        raise ProtocolError(f"headers that begin with {first!r}")
    code, _, description = status.strip().partition(" ")
    pairs = (line.partition(":") for line in lines)
    return {name: value.strip() for name, _, value in pairs}, int(code) if code else None, description


class Parser:
    """Feed it what arrives; take events until it has none."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Add what arrived."""
        del self._buffer[: self._at]
        self._at = 0
        self._buffer += data

    def next_event(self) -> Event | None:
        """The next complete event, or None until more has arrived. Raises `ProtocolError`."""
        end = self._buffer.find(b"\r\n", self._at)
        if end < 0:
            return None
        operation, _, rest = self._buffer[self._at : end].decode().partition(" ")
        operation = operation.upper()
        if operation in ("MSG", "HMSG"):
            return self._message(operation == "HMSG", rest.split(), end + 2)
        self._at = end + 2
        match operation:
            case "INFO":
                return Info(json.loads(rest))
            case "PING":
                return Ping()
            case "PONG":
                return Pong()
            case "-ERR":
                return Failure(rest.strip().strip("'"))
            case "+OK":
                return self.next_event()
        raise ProtocolError(f"unknown operation {operation[:40]!r}")

    def _message(self, has_headers: bool, fields: list[str], start: int) -> Message | None:
        subject, sizes = fields[0], 2 if has_headers else 1
        reply = fields[2] if len(fields) == 3 + sizes else ""
        total = int(fields[-1])
        end = start + total
        if len(self._buffer) < end + 2:
            return None
        body_at = start + (int(fields[-2]) if has_headers else 0)
        self._at = end + 2
        if not has_headers:
            return Message(subject, reply, {}, bytes(self._buffer[start:end]))
        headers, status, description = _read_headers(bytes(self._buffer[start:body_at]))
        return Message(subject, reply, headers, bytes(self._buffer[body_at:end]), status, description)
