"""Boxes that only one reader can open: X25519, HKDF-SHA256 and ChaCha20-Poly1305, with a key of their own each. Pure.

A box is the sender's one-time public key (32 bytes) and the ciphertext. Both public keys go into the derivation, and
`context` is authenticated, so a box cannot be passed on to another reader or another exchange.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mra.errors import Refused

_PUBLIC_BYTES = 32
_ONCE = bytes(12)  # a nonce may be constant where every message has a key of its own
_PURPOSE = b"mra enrolment answer v1"


class Reader:
    """Opens boxes; made for one exchange and then forgotten."""

    def __init__(self) -> None:
        self._key = X25519PrivateKey.generate()
        self.public = self._key.public_key().public_bytes_raw().hex()

    def open(self, box: bytes, context: bytes) -> bytes:
        """What is in the box. Raises Refused when it is not for this reader and context, or was changed."""
        sender, ciphertext = box[:_PUBLIC_BYTES], box[_PUBLIC_BYTES:]
        try:
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(sender))
            key = _derive(shared, sender, bytes.fromhex(self.public))
            return ChaCha20Poly1305(key).decrypt(_ONCE, ciphertext, context)
        except (InvalidTag, ValueError):
            raise Refused("The answer cannot be opened: it is for another node, or was changed on its way.") from None


def seal(reader: str, content: bytes, context: bytes) -> bytes:
    """A box for the owner of the X25519 key `reader` (hex). Raises Refused for a key that is none."""
    once = X25519PrivateKey.generate()
    sender = once.public_key().public_bytes_raw()
    try:
        shared = once.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(reader)))
    except ValueError:
        raise Refused("The request names no X25519 key to answer to.") from None
    key = _derive(shared, sender, bytes.fromhex(reader))
    return sender + ChaCha20Poly1305(key).encrypt(_ONCE, content, context)


def _derive(shared: bytes, sender: bytes, reader: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=sender + reader, info=_PURPOSE).derive(shared)
