"""The directory of one SaaS: its keys, tokens, server configuration and customers. Blocking.

    DIR/saas.json           what the SaaS is: operator, accounts, address; written once, the others follow it
        keys/               seeds: of the operator, its signing key, the accounts' signing keys, the issuer of tokens
        creds/              who the tools and the provisioner are
        accounts/           claims of the fixed accounts, as the server starts with them
        customers/          see `mra.saas.registry`
        operator.conf       generated;  saas.conf  includes it, and is yours to edit
        issuer.pub          what provisioning tokens are verified against
        jwt/  jetstream/    the server's own

The accounts' own keys are made and forgotten: the operator's word is enough to change an account, and what does not
exist cannot be stolen. Everything secret has mode 0600 below directories of mode 0700.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from mra.credentials import read_secret, read_text
from mra.durable import replace_file
from mra.errors import BadInput, Refused
from mra.tokens.ed25519 import SigningKey
from mra.tokens.nkey import KeyPair, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Charter(msgspec.Struct, frozen=True):
    """What the SaaS is.

    Attributes:
        operator: public key.
        accounts: SYS, BACKEND, PROVISIONING -> public key.
        server: address that the tools connect to.
        tls_ca: file of certificates to judge the server by, where it uses a private authority.
    """

    operator: str
    accounts: dict[str, str]
    server: str
    tls_ca: str = ""


class Directory:
    """Paths and keys; everything is read when asked for, and raises BadInput where it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def charter(self) -> Charter:
        """What the SaaS is. Raises BadInput before `mra saas init`."""
        file = self.path / "saas.json"
        if not file.exists():
            raise BadInput(f"{self.path} holds no SaaS: run `mra saas init {self.path}` first.")
        try:
            return msgspec.json.decode(read_text(file).encode(), type=Charter)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise BadInput(f"{file} is damaged ({error}): restore it from a backup.") from error

    @contextmanager
    def locked(self, what: str = "change") -> Iterator[None]:
        """Keep other tools from a `change` of this directory, or a `push` from it, during a block.

        Waits for them; not to be nested. Raises BadInput.
        """
        try:
            descriptor = os.open(self.path / f".{what}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BadInput(f"Cannot lock {self.path} ({error.strerror}): check its owner and its disk.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def key_file(self, name: str) -> Path:
        """Where a seed rests."""
        return self.path / "keys" / f"{name}.seed"

    def creds_file(self, name: str) -> Path:
        """Where a user's credentials rest."""
        return self.path / "creds" / f"{name}.creds"

    def key(self, name: str, kind: Kind) -> KeyPair:
        """A key by its file's name: `operator`, `operator-signing` or an account's. Raises BadInput."""
        file = self.key_file(name)
        return read_key(file, kind)

    def account_signer(self, account: str) -> KeyPair:
        """The key that signs users of SYS, BACKEND or PROVISIONING. Raises BadInput."""
        return self.key(account.lower(), Kind.ACCOUNT)

    def operator_signer(self) -> KeyPair:
        """The key that signs accounts. Raises BadInput."""
        return self.key("operator-signing", Kind.OPERATOR)

    def issuer(self) -> SigningKey:
        """The key that signs provisioning tokens. Raises BadInput."""
        file = self.key_file("issuer")
        try:
            return SigningKey.from_seed(read_secret(file))
        except BadInput:
            raise
        except Refused as error:
            raise BadInput(f"{file}: {error.sentence}") from error


def read_key(file: Path, kind: Kind) -> KeyPair:
    """The key of a seed's file. Raises BadInput."""
    try:
        key = KeyPair.from_seed(read_secret(file))
    except BadInput:
        raise
    except Refused as error:
        raise BadInput(f"{file}: {error.sentence}") from error
    if key.kind is not kind:
        raise BadInput(f"{file} holds the key of another kind: restore the {kind.name.lower()}'s from a backup.")
    return key


def make_directory(path: Path) -> None:
    """`path` with mode 0700, where it is missing. Raises BadInput."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"Cannot make {path} ({error.strerror}): choose another place.") from error


def write(path: Path, text: str) -> bool:
    """Make a file of mode 0600 hold `text`; whether it did not before. Raises BadInput when it cannot be written."""
    data = text.encode()
    try:
        if path.exists() and path.read_bytes() == data:
            return False
        replace_file(path, data)
    except OSError as error:
        raise BadInput(f"Cannot write {path} ({error.strerror}): check its owner and its disk.") from error
    return True
