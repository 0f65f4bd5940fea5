"""The SaaS's sealing key: an X25519 pair that opens files, and an Ed25519 pair that signs answers. Pure.

Both travel as one text each: a word that says what it is, 64 bytes in hex, and the beginning of their SHA-256, so
that a mistyped key is noticed before a file is sealed to nobody.
"""

from __future__ import annotations

import hashlib
import os
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from mra.errors import BadInput, Refused

_PUBLIC, _SECRET = "mra-seal-1", "MRA-SEAL-SECRET-1"
_TEXT = re.compile(r"([A-Za-z0-9-]+):([0-9a-f]{128})-([0-9a-f]{8})", re.ASCII)


class SealingKey:
    """The public half: what a site seals to, and verifies answers with."""

    def __init__(self, raw: bytes) -> None:
        self.box, self._verifier = raw[:32], raw[32:]

    @classmethod
    def parse(cls, text: str) -> SealingKey:
        """The key of its text. Raises BadInput."""
        return cls(_decode(text, _PUBLIC, "sealing key"))

    def agree(self) -> tuple[bytes, bytes]:
        """A shared secret for one file, and the public key by which the SaaS finds the same. Raises BadInput."""
        once = X25519PrivateKey.generate()
        try:
            return once.exchange(X25519PublicKey.from_public_bytes(self.box)), once.public_key().public_bytes_raw()
        except ValueError:
            raise BadInput("This sealing key is a weak one: ask the SaaS for another.") from None

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return when the SaaS signed `message`. Raises Refused."""
        try:
            Ed25519PublicKey.from_public_bytes(self._verifier).verify(signature, message)
        except (InvalidSignature, ValueError):
            raise Refused(
                "The signature is not by the SaaS of `saas.sealing_key`: another made it, or it was changed."
            ) from None

    def __str__(self) -> str:
        return _encode(_PUBLIC, self.box + self._verifier)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SealingKey) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


class SealingSecret:
    """The secret half. Its `repr` shows the public one; the text is given only when asked for by name."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._box = X25519PrivateKey.from_private_bytes(raw[:32])
        self._signer = Ed25519PrivateKey.from_private_bytes(raw[32:])
        self.public = SealingKey(
            self._box.public_key().public_bytes_raw() + self._signer.public_key().public_bytes_raw()
        )

    @classmethod
    def generate(cls) -> SealingSecret:
        """A new one from the system's randomness."""
        return cls(os.urandom(64))

    @classmethod
    def parse(cls, text: str) -> SealingSecret:
        """The key of its text. Raises BadInput, in words that do not repeat it."""
        return cls(_decode(text, _SECRET, "secret of a sealing key"))

    @property
    def text(self) -> str:
        """For a file that only its owner can read."""
        return _encode(_SECRET, self._raw)

    def agree(self, once: bytes) -> bytes:
        """The secret shared with the maker of a file. Raises Refused for a public key that is none."""
        try:
            return self._box.exchange(X25519PublicKey.from_public_bytes(once))
        except ValueError:
            raise Refused("The file names no usable X25519 key: it was changed, or made by something else.") from None

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of an Ed25519 signature."""
        return self._signer.sign(message)

    def __repr__(self) -> str:
        return f"SealingSecret({self.public})"


def _encode(word: str, raw: bytes) -> str:
    return f"{word}:{raw.hex()}-{hashlib.sha256(raw).hexdigest()[:8]}"


def _decode(text: str, word: str, what: str) -> bytes:
    found = _TEXT.fullmatch(text.strip())
    if found is None or found[1] != word:
        raise BadInput(f"This is no {what}: it begins with `{word}:`; `mra saas sealing-key` makes one.")
    raw = bytes.fromhex(found[2])
    if hashlib.sha256(raw).hexdigest()[:8] != found[3]:
        raise BadInput(f"This {what} has a wrong or missing character: copy it again.")
    return raw
