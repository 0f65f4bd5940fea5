"""Which specification is older: what a node remembers, and what it therefore refuses. (pure)

The signature of a specification covers neither time nor version, so whoever can write the bucket can put an old
specification back, with its old and valid signature. Bucket revisions do not help: the same writer makes those, and
they start again when a bucket is recreated. Two rules do, and `accept` applies both:

* *Memory.* The digests of specifications that were accepted and then replaced are remembered, the last `REMEMBERED` of
  them, and refused when they return. This needs nothing from the signer, so it protects users of Choria's own tools
  too. It cannot judge what this node never saw; and nothing can judge the first specification that a node ever sees.
* *Serial.* A document with a signed serial is refused when a greater one was accepted, and so is a second, different
  list under the same serial. Once a serial was accepted, documents without one are refused, or stripping it would be
  the way around. A greater serial is accepted whatever its list, which is how a roll-back is published.

The memory belongs to one key: with another key configured, history starts anew. Save it **before** acting on what was
accepted, so that a crash in between cannot leave a node with a newer deployment than it remembers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

import msgspec
import trio

from mra.durable import replace_file
from mra.errors import BadInput, Refused

if TYPE_CHECKING:
    from pathlib import Path

    from mra.machines.spec import Specification

REMEMBERED = 256

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Superseded(Refused):
    """The specification is genuine, but older than one that was accepted before."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The last accepted specification, and the digests of those it replaced, oldest first."""

    key: str
    digest: Digest
    serial: Annotated[int, msgspec.Meta(ge=0)] | None = None
    superseded: tuple[Digest, ...] = ()

    def encode(self) -> bytes:
        """The record as JSON."""
        return msgspec.json.encode(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> Accepted:
        """Read what `encode` wrote; BadInput when it is anything else."""
        try:
            return msgspec.json.decode(raw, type=cls)
        except (msgspec.MsgspecError, ValueError, RecursionError) as cause:
            raise BadInput(f"the record of accepted specifications is unreadable ({cause})") from cause


def accept(specification: Specification, last: Accepted | None) -> Accepted:
    """What to remember once `specification` is accepted after `last`.

    An unsigned specification is vouched for by nobody, so its age is not judged.

    Raises:
        Superseded: it is older than `last`.
    """
    digest, serial = specification.digest, specification.serial
    if last is None or last.key != specification.key:
        return Accepted(specification.key, digest, serial)
    if specification.key:
        _refuse_older(digest, serial, last)
    if digest == last.digest:
        return Accepted(last.key, digest, serial, last.superseded)
    superseded = (*(known for known in last.superseded if known != digest), last.digest)
    return Accepted(last.key, digest, serial, superseded[-REMEMBERED:])


def _refuse_older(digest: str, serial: int | None, last: Accepted) -> None:
    cure = "sign it with a greater serial"
    if serial is None:
        if last.serial is not None:
            raise Superseded(f"specification has no serial, but serial {last.serial} was accepted before; {cure}")
        if digest in last.superseded:
            raise Superseded("specification was replaced by a newer one before; sign it with a serial to bring it back")
    elif last.serial is not None:
        if serial < last.serial:
            raise Superseded(f"specification has serial {serial}, but {last.serial} was accepted before; {cure}")
        if serial == last.serial and digest != last.digest:
            raise Superseded(f"specification differs from the one accepted under its serial {serial}; {cure}")


class Memory(Protocol):
    """Where the record is kept. `save` returns once the record survives power loss."""

    async def load(self) -> Accepted | None: ...
    async def save(self, accepted: Accepted) -> None: ...


@dataclass(frozen=True, slots=True)
class FileMemory:
    """A `Memory` in one file, replaced as a whole.

    An unreadable file is BadInput rather than an empty memory: forgetting is what an attacker would want.
    """

    path: Path

    async def load(self) -> Accepted | None:
        """The record, or None where none was ever saved."""
        try:
            raw = await trio.to_thread.run_sync(self.path.read_bytes)
        except FileNotFoundError:
            return None
        try:
            return Accepted.decode(raw)
        except BadInput as cause:
            raise BadInput(f"{cause} in {self.path}; remove that file to start anew") from cause

    async def save(self, accepted: Accepted) -> None:
        """Replace the record; not cancellable once begun."""
        await trio.to_thread.run_sync(replace_file, self.path, accepted.encode())
