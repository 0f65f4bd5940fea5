"""The keys of a node, made on it and never leaving it: who it is, and its key as a NATS user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mra.durable import replace_file
from mra.errors import Refused, Unavailable
from mra.log import logger
from mra.tokens.ed25519 import SigningKey
from mra.tokens.nkey import KeyPair, Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logger("enrol")
SEED_FILE, NKEY_FILE, PREVIOUS_FILE = "server.seed", "nats.nkey", "server.seed.previous"
K = TypeVar("K", SigningKey, KeyPair)


@dataclass(frozen=True)
class NodeKeys:
    """The keys of a node. Their `repr` shows public halves only.

    `previous` is the key that the node was known by before, while the SaaS is yet to be told of the new one.

    The keys for the bus of its site follow from the user key, so they are there whenever that is. They are others, as
    whoever runs a bus chooses what its users sign: it must not be able to have a nonce of the SaaS's signed.
    """

    identity: SigningKey
    user: KeyPair
    previous: SigningKey | None = None

    @property
    def bus_user(self) -> KeyPair:
        """Who it is on the bus of its site."""
        return KeyPair(Kind.USER, self._derive(b"mra bus user v1"))

    @property
    def bus_server(self) -> SigningKey:
        """The key of its own bus, for the time when it leads."""
        return SigningKey(self._derive(b"mra bus server v1"))

    def _derive(self, purpose: bytes) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(self.user.seed.encode())


def load_keys(directory: Path) -> NodeKeys | None:
    """The keys in `directory`; None when one is missing or unreadable as a key. Raises Unavailable for a sick disk."""
    identity = _load(directory / SEED_FILE, SigningKey.from_seed)
    user = _load(directory / NKEY_FILE, _user_from_seed)
    if identity is None or user is None:
        return None
    return NodeKeys(identity, user, _load(directory / PREVIOUS_FILE, SigningKey.from_seed))


def load_or_make_keys(directory: Path) -> NodeKeys:
    """The keys in `directory`, after making those that are missing; each file is whole or absent, mode 0600.

    A file that holds no key is kept beside the new one. Raises Unavailable when the disk does not take them.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"Cannot make {directory} ({error.strerror}): check the owner of the state.") from error
    return NodeKeys(
        _load_or_make(directory / SEED_FILE, SigningKey.from_seed, SigningKey.generate),
        _load_or_make(directory / NKEY_FILE, _user_from_seed, _new_user),
        _load(directory / PREVIOUS_FILE, SigningKey.from_seed),
    )


def _load_or_make(file: Path, load: Callable[[str], K], make: Callable[[], K]) -> K:
    found = _load(file, load)
    if found is not None:
        return found
    made = make()
    try:
        if file.exists():
            log.warning("a file holds no key; it is put aside and another one is made", file=str(file))
            file.rename(file.with_name(f"{file.name}.damaged"))
        replace_file(file, made.seed.encode())
    except OSError as error:
        raise Unavailable(f"Cannot write {file} ({error.strerror}): check the disk and the owner.") from error
    return made


def _load(file: Path, load: Callable[[str], K]) -> K | None:
    try:
        return load(file.read_bytes()[:256].decode("ascii"))
    except (FileNotFoundError, UnicodeDecodeError, Refused):
        return None
    except OSError as error:
        raise Unavailable(f"Cannot read {file} ({error.strerror}): check the disk and the owner.") from error


def _new_user() -> KeyPair:
    return KeyPair.generate(Kind.USER)


def _user_from_seed(text: str) -> KeyPair:
    pair = KeyPair.from_seed(text)
    if pair.kind is not Kind.USER:
        raise Refused("This nkey is not a user's.")
    return pair


def replace_identity_key(directory: Path) -> NodeKeys:
    """A new key for who the node is; the old one is kept until the SaaS has accepted the change. Raises Unavailable."""
    keys = load_or_make_keys(directory)
    try:
        if keys.previous is None:  # else a change is under way: the SaaS still knows the older key
            replace_file(directory / PREVIOUS_FILE, keys.identity.seed.encode())
        replace_file(directory / SEED_FILE, SigningKey.generate().seed.encode())
    except OSError as error:
        raise Unavailable(f"Cannot write {directory} ({error.strerror}): check the disk and the owner.") from error
    return load_or_make_keys(directory)
