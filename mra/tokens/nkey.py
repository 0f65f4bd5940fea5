"""NATS keys: Ed25519 keys as text that says what they are for.

The text is unpadded base32 of a prefix, the 32 bytes and their CRC-16 (XMODEM, little endian). A public key starts with
the letter of its kind (`O`, `A`, `U`, `N`), a seed with `S` and that letter. Format: the nkeys package of NATS.
"""

from __future__ import annotations

import base64
import binascii
import os
from enum import Enum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mra.errors import Refused

_SEED = 18 << 3


class Kind(Enum):
    """What a key is for; the value is the prefix byte of its public half."""

    OPERATOR = 14 << 3
    ACCOUNT = 0
    USER = 20 << 3
    SERVER = 13 << 3


class KeyPair:
    """A key that signs. Its `repr` shows the public half; the seed is given only when asked for by name."""

    def __init__(self, kind: Kind, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._raw = seed
        self.kind = kind
        self.public = _encode(bytes([kind.value]) + self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, kind: Kind) -> KeyPair:
        """A new key from the system's randomness."""
        return cls(kind, os.urandom(32))

    @classmethod
    def from_seed(cls, text: str) -> KeyPair:
        """The key of a seed's text. Raises Refused, in words that do not repeat it."""
        raw = _decode(text.strip(), "seed", 34)
        if raw[0] & 0xF8 != _SEED:
            raise Refused("This nkey seed does not start with S: it is a public key, or something else.")
        return cls(_kind((raw[0] & 7) << 5 | raw[1] >> 3), raw[2:])

    @property
    def seed(self) -> str:
        """The secret, as text for a file that only its owner can read."""
        prefix = self.kind.value
        return _encode(bytes([_SEED | prefix >> 5, (prefix & 31) << 3]) + self._raw)

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of an Ed25519 signature."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"KeyPair({self.public})"


def kind_of(public: str) -> Kind:
    """What a public key is for. Raises Refused for a text that is none."""
    return _kind(_decode(public, "key", 33)[0])


def check_public(public: str, kind: Kind) -> str:
    """`public`, if it is a public key of that kind. Raises Refused."""
    if (found := kind_of(public)) is not kind:
        raise Refused(f"{public} is the key of {_article(found)}, not of {_article(kind)}: name the right one.")
    return public


def verify(public: str, message: bytes, signature: bytes) -> None:
    """Return when `signature` over `message` is by the owner of `public`. Raises Refused."""
    raw = _decode(public, "key", 33)
    _kind(raw[0])
    try:
        Ed25519PublicKey.from_public_bytes(raw[1:]).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Refused(f"The signature is not by {public}: what it signs was changed, or made by another.") from None


def crc16(data: bytes) -> int:
    """CRC-16 as XMODEM computes it (polynomial 0x1021, initial value 0)."""
    return binascii.crc_hqx(data, 0)


def _encode(data: bytes) -> str:
    return base64.b32encode(data + crc16(data).to_bytes(2, "little")).rstrip(b"=").decode()


def _decode(text: str, what: str, length: int) -> bytes:
    """The bytes of a text without its checksum. A seed's text is not repeated in the sentence."""
    try:
        data = base64.b32decode(text + "=" * (-len(text) % 8)) if len(text) <= 64 else b""
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != length + 2 or _encode(data[:-2]) != text:
        shown = "This" if what == "seed" else repr(text[:60])
        raise Refused(f"{shown} is no nkey {what}: a character is missing, wrong or too many.")
    return data[:-2]


def _kind(prefix: int) -> Kind:
    try:
        return Kind(prefix)
    except ValueError:
        raise Refused("This nkey is of a kind that is not used here: operator, account, user or server.") from None


def _article(kind: Kind) -> str:
    name = kind.name.lower()
    return f"an {name}" if name[0] in "aou" and kind is not Kind.USER else f"a {name}"
