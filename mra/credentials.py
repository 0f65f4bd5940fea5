"""A user's token and key in files, for connections to the SaaS.

The token is read again for every connection, so that a renewed file counts without a restart; the key is read once and
never leaves the object. Files that others can read are refused: whoever has the seed is the user.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mra.errors import BadInput, Misconfigured, MraError, Refused
from mra.tokens import creds, nats
from mra.tokens.nkey import KeyPair, Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

_LARGEST = 512 * 1024


class Credentials(NamedTuple):
    """What a connection needs of its user.

    Attributes:
        user_jwt: reads the token; raises Misconfigured when the file is gone or damaged.
        sign: the server's nonce -> signature.
        account: public key of the user's account; the customer's id in subjects.
        public: public key of the user.
        name: the name in the token, which the permissions of its inbox follow.
        expires: second since 1970 when the token read first ends; None for never.
    """

    user_jwt: Callable[[], bytes]
    sign: Callable[[bytes], bytes]
    account: str
    public: str
    name: str
    expires: int | None


def from_files(token_file: Path, seed_file: Path) -> Credentials:
    """A token and a seed in files of their own. Raises BadInput."""
    key = _judge(seed_file, lambda: KeyPair.from_seed(read_secret(seed_file)))
    return _credentials(key, lambda: read_text(token_file).strip(), token_file)


def from_creds(file: Path) -> Credentials:
    """Both in one credentials file of NATS. Raises BadInput."""
    key = _judge(file, lambda: creds.parse(read_secret(file)).key)
    return _credentials(key, lambda: creds.parse(read_secret(file)).token, file)


def read_text(file: Path) -> str:
    """The text of a small file. Raises BadInput."""
    try:
        with file.open("rb") as source:
            return source.read(_LARGEST).decode("ascii")
    except OSError as error:
        raise BadInput(f"Cannot read {file} ({error.strerror}): check the path and its owner.") from error
    except UnicodeDecodeError:
        raise BadInput(f"{file} holds something else: tokens and seeds are plain text.") from None


def read_secret(file: Path) -> str:
    """The text of a file that only its owner can read. Raises BadInput for any other."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise BadInput(f"Cannot read {file} ({error.strerror}): check the path and its owner.") from error
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise BadInput(f"The secret in {file} can be read by others: keep it in a regular file and `chmod 600` it.")
    return read_text(file)


def _credentials(key: KeyPair, read: Callable[[], str], file: Path) -> Credentials:
    claims = _judge(file, lambda: nats.decode(read()))
    if claims.type is not nats.Type.USER or key.kind is not Kind.USER:
        raise BadInput(f"{file} holds {claims.type.value} claims or another kind of key: a user's are needed.")
    if claims.subject != key.public:
        raise BadInput(f"The token in {file} is not for the key {key.public} beside it: they belong together.")

    def again() -> bytes:
        try:
            return read().encode()
        except MraError as error:
            raise Misconfigured(error.sentence) from error

    return Credentials(again, key.sign, claims.issuer_account, key.public, claims.name, claims.expires)


def _judge(file: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except BadInput:
        raise
    except Refused as error:
        raise BadInput(f"{os.fspath(file)}: {error.sentence}") from error
