"""What a node keeps of its enrolment: one file, written whole, is the only thing that says "enrolled".

`server.jwt` and `nats.creds` stand beside it for other programs. They are copies, made again at every start, so it
does not matter between which two writes the node was killed.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from mra.durable import replace_file, sync_directory
from mra.enrol.keys import PREVIOUS_FILE, load_keys
from mra.enrol.shapes import Grant  # noqa: TC001 - msgspec reads it
from mra.errors import Unavailable
from mra.log import logger

if TYPE_CHECKING:
    from pathlib import Path

    from mra.enrol.keys import NodeKeys

log = logger("enrol")
FILE, REQUEST_FILE = "enrolment.json", "request"
SERVER_JWT_FILE, CREDS_FILE = "server.jwt", "nats.creds"
RENEW_AFTER: Final = 0.6  # of the validity: the rest is for a SaaS that is away
_LARGEST = 1024 * 1024


class Enrolment(msgspec.Struct, frozen=True):
    """A grant, the keys that it is for, and where it came from."""

    grant: Grant
    public_key: str
    public_nkey: str
    provisioner_urls: tuple[str, ...]
    issuer: str  # hex: the key that signed the grant, and must sign the next
    request: str
    ca: str = ""  # PEM: who vouches for the provisioner's server
    token: str = ""  # id of the provisioning token that lay beside the configuration; another one is to be used
    via: tuple[str, ...] = ()  # relays that lead to it, for a node that cannot reach it

    @property
    def due(self) -> float:
        """Second since 1970 from which on it is to be renewed."""
        return self.grant.issued_at + RENEW_AFTER * self.validity

    @property
    def validity(self) -> float:
        """Seconds."""
        return float(max(0, self.grant.expires - self.grant.issued_at))

    def __repr__(self) -> str:
        return f"Enrolment({self.grant!r})"


class Standing(StrEnum):
    """How an enrolment stands."""

    MISSING = "missing"  # there is none, or none that can be read
    MISMATCHED = "mismatched"  # it is for other keys than those that are here
    EXPIRED = "expired"
    DUE = "due"  # valid, and to be renewed
    VALID = "valid"

    @property
    def usable(self) -> bool:
        """Whether the agent can run on it, if only until it is renewed."""
        return self not in (Standing.MISSING, Standing.MISMATCHED)


def judge(enrolment: Enrolment | None, keys: NodeKeys | None, now: float) -> Standing:
    """How an enrolment stands at `now`, seconds since 1970."""
    if enrolment is None:
        return Standing.MISSING
    if keys is None or (keys.identity.public, keys.user.public) != (enrolment.public_key, enrolment.public_nkey):
        return Standing.MISMATCHED
    if now >= enrolment.grant.expires:
        return Standing.EXPIRED
    return Standing.DUE if now >= enrolment.due else Standing.VALID


def load_enrolment(directory: Path) -> Enrolment | None:
    """What the file says; None when there is none, or none that makes sense. Raises Unavailable for a sick disk."""
    file = directory / FILE
    try:
        with file.open("rb") as opened:
            return msgspec.json.decode(opened.read(_LARGEST), type=Enrolment)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        log.warning("the enrolment cannot be understood; the node enrols again", file=str(file), reason=str(error))
        return None
    except OSError as error:
        raise Unavailable(f"Cannot read {file} ({error.strerror}): check the disk and the owner.") from error


def keep_enrolment(directory: Path, enrolment: Enrolment) -> None:
    """Make `enrolment` the one that counts, and forget the request and the key that led to it. Raises Unavailable."""
    try:
        replace_file(directory / FILE, msgspec.json.encode(enrolment))
        for name in (REQUEST_FILE, PREVIOUS_FILE):
            (directory / name).unlink(missing_ok=True)
        sync_directory(directory)
    except OSError as error:
        raise Unavailable(f"Cannot keep the enrolment in {directory} ({error.strerror}): check the disk.") from error


def write_copies(directory: Path, enrolment: Enrolment) -> None:
    """Bring `server.jwt` and `nats.creds` to what the enrolment says. Nothing of the agent reads them."""
    keys = load_keys(directory)
    if keys is None:
        return
    copies = {
        SERVER_JWT_FILE: enrolment.grant.server_jwt.encode(),
        CREDS_FILE: _CREDENTIALS.format(jwt=enrolment.grant.nats_jwt, seed=keys.user.seed).encode(),
    }
    for name, content in copies.items():
        file = directory / name
        try:
            if not file.exists() or file.read_bytes() != content:
                replace_file(file, content)
        except OSError as error:
            log.warning("a copy for other programs cannot be written", file=str(file), reason=error.strerror)


def request_id(directory: Path) -> str:
    """The id of the request that is under way, on disk before it is used: after a kill the same one is asked again."""
    file = directory / REQUEST_FILE
    try:
        found = file.read_text(encoding="ascii", errors="replace")
    except OSError:
        found = ""
    if len(found) == 32 and all(digit in "0123456789abcdef" for digit in found):
        return found
    made = os.urandom(16).hex()
    try:
        replace_file(file, made.encode())
    except OSError as error:
        raise Unavailable(f"Cannot write {file} ({error.strerror}): check the disk and the owner.") from error
    return made


_CREDENTIALS = """-----BEGIN NATS USER JWT-----
{jwt}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""
