"""Ed25519 keys as Choria writes them: 64 hex digits for a seed and for a public key, nothing around them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mra.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEX = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)


class SigningKey:
    """A key that signs. Its `repr` shows the public half; the seed is given only when asked for by name."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._raw = seed
        self.public = self._key.public_key().public_bytes_raw().hex()

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key from the system's randomness."""
        return cls(os.urandom(32))

    @classmethod
    def from_seed(cls, text: str) -> SigningKey:
        """The key of a seed in hex; white space around it does not matter. Raises Refused without repeating it."""
        if not _HEX.fullmatch(text.strip()):
            raise Refused("This is no Ed25519 seed: it holds 64 hex digits and nothing else.")
        return cls(bytes.fromhex(text.strip()))

    @property
    def seed(self) -> str:
        """The secret in hex, without a newline, as Choria's tools read it from a file."""
        return self._raw.hex()

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of an Ed25519 signature."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey({self.public})"


def check_public(text: str) -> str:
    """The public key in lower-case hex. Raises Refused for anything else."""
    if not _HEX.fullmatch(text.strip()):
        raise Refused(f"{text[:70]!r} is no Ed25519 public key: write its 64 hex digits.")
    return text.strip().lower()


def verify(public: str, message: bytes, signature: bytes) -> None:
    """Return when `signature` over `message` is by the owner of `public` (hex). Raises Refused."""
    raw = bytes.fromhex(check_public(public))
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Refused(f"The signature is not by {public}: what it signs was changed, or made by another.") from None


def is_by_any(publics: Iterable[str], message: bytes, signature: bytes) -> bool:
    """Whether the owner of one of the keys (hex) signed `message`; a text that is no key has signed nothing."""
    for public in publics:
        try:
            verify(public, message, signature)
        except Refused:
            continue
        return True
    return False
