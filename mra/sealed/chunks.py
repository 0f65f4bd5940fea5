"""Authenticated encryption of a stream in chunks: constant memory, and no byte is believed before its chunk verifies.

The STREAM construction on ChaCha20-Poly1305: 11 bytes of the nonce count the chunks, the twelfth says whether this is
the last one. A stream that is cut off has no last chunk, and one that is extended has two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mra.errors import Refused

if TYPE_CHECKING:
    from typing import BinaryIO

CHUNK = 64 * 1024  # bytes of plaintext
TAG = 16
_PURPOSE = b"mra sealed file v1"


def derive(shared: bytes, once: bytes, reader: bytes) -> bytes:
    """The key of one file, from the secret of its exchange and the two public keys that made it."""
    return HKDF(algorithm=SHA256(), length=32, salt=once + reader, info=_PURPOSE).derive(shared)


def _nonce(number: int, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])


class Sealer:
    """Writes what it is given as chunks into `file`; nothing can be read of it before `close`."""

    def __init__(self, file: BinaryIO, key: bytes, bound: bytes) -> None:
        self._file = file
        self._cipher = ChaCha20Poly1305(key)
        self._bound = bound  # authenticated with every chunk
        self._buffer = bytearray()
        self._number = 0

    def write(self, data: bytes) -> None:
        """Add to the stream. Raises OSError."""
        self._buffer += data
        while len(self._buffer) > CHUNK:  # never empties it: the last chunk is written as such
            self._seal(bytes(self._buffer[:CHUNK]), is_last=False)
            del self._buffer[:CHUNK]

    def close(self) -> None:
        """End the stream; the file stays open. Raises OSError."""
        self._seal(bytes(self._buffer), is_last=True)
        self._buffer.clear()

    def _seal(self, plain: bytes, *, is_last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, is_last), plain, self._bound))
        self._number += 1


class Opener:
    """Reads a stream of chunks from `file`, which stands at the first."""

    def __init__(self, file: BinaryIO, key: bytes, bound: bytes) -> None:
        self._file = file
        self._cipher = ChaCha20Poly1305(key)
        self._bound = bound
        self._ahead = file.read(CHUNK + TAG)
        self._number = 0
        self._buffer = bytearray()
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether everything was read, the last chunk included. Raises Refused."""
        while not self._buffer and not self._is_over:
            self._open()
        return not self._buffer

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises Refused for a stream that was changed, or has fewer left."""
        while len(self._buffer) < size:
            if self._is_over:
                raise Refused("The file ends in the middle of a record: it was made by something else.")
            self._open()
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    def _open(self) -> None:
        sealed, self._ahead = self._ahead, self._file.read(CHUNK + TAG)
        is_last = not self._ahead
        try:
            self._buffer += self._cipher.decrypt(_nonce(self._number, is_last), sealed, self._bound)
        except InvalidTag:
            raise Refused(
                f"The file was changed or cut off on its way (chunk {self._number + 1} does not verify): copy it again,"
                " or let the site export again."
            ) from None
        self._number += 1
        self._is_over = is_last
