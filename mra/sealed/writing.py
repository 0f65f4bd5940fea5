"""Writes a sealed file: header, batches, end. Blocking."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import msgspec

from mra.outbox.record import Lane
from mra.sealed.chunks import Sealer, derive
from mra.sealed.contents import LARGEST_HEADER, MAGIC, VERSION, End, Header, encode_rows, signed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import BinaryIO

    from mra.outbox.record import Row
    from mra.sealed.contents import Part
    from mra.sealed.keys import SealingKey
    from mra.tokens.ed25519 import SigningKey


class SealedWriter:
    """A file in the making. What it wrote can be read only after `close`."""

    def __init__(
        self,
        out: BinaryIO,
        reader: SealingKey,
        *,
        file: str,
        agent: str,
        customer: str,
        parts: Sequence[Part],
        signer: SigningKey | None = None,
    ) -> None:
        """Write the header. Raises OSError, BadInput for a weak key."""
        shared, once = reader.agree()
        header = Header(
            file=file, agent=agent, customer=customer, made=time.time_ns(), reader=reader.box.hex(), once=once.hex(),
            signer=signer.public if signer else None, lanes=list(parts),
        )  # fmt: skip
        raw = msgspec.json.encode(header)
        assert len(raw) <= LARGEST_HEADER
        preamble = MAGIC + VERSION + len(raw).to_bytes(4, "big") + raw
        out.write(preamble)
        self._signer = signer
        self._digest = hashlib.sha256(preamble)
        self._sealer = Sealer(out, derive(shared, once, reader.box), self._digest.digest())
        self._counts: dict[Lane, int] = {part.lane: 0 for part in parts}

    def write(self, lane: Lane, rows: Sequence[Row]) -> None:
        """Add a batch. Lanes come in the order of the parts, rows in that of their numbers. Raises OSError."""
        self._counts[lane] += len(rows)
        self._write(encode_rows(lane, rows))

    def close(self) -> dict[Lane, int]:
        """End the file; returns the rows of each lane. Raises OSError."""
        signature = self._signer.sign(signed(self._digest.digest())) if self._signer else None
        self._write(msgspec.msgpack.encode(End(self._counts, signature)))
        self._sealer.close()
        return self._counts

    def _write(self, record: bytes) -> None:
        framed = len(record).to_bytes(4, "big") + record
        self._digest.update(framed)
        self._sealer.write(framed)


def parts_in_order(parts: Iterable[Part]) -> list[Part]:
    """Parts as a file has them: in the order of the lanes."""
    return sorted(parts, key=lambda part: list(Lane).index(part.lane))
