"""Who an enrolled node is on the bus of its site, and what its own bus believes. Blocking.

Everything is read again when it is asked for, so that a renewal counts without a restart.
"""

from __future__ import annotations

import hashlib
import ssl
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mra.aio.connection import Access
from mra.durable import replace_file
from mra.enrol.enrolment import load_enrolment
from mra.enrol.keys import load_keys
from mra.errors import BadInput, Misconfigured
from mra.tokens import nats

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mra.enrol.keys import NodeKeys
    from mra.enrol.shapes import SiteGrant

SERVER = "bus.pem"


def access(urls: Sequence[str], name: str, identity: Path, *, leads: bool) -> Access:
    """How the node whose enrolment is in `identity` reaches a bus of its site. Raises Misconfigured, Unavailable."""
    site, _ = _load(identity)
    try:
        tls = ssl.create_default_context(cadata=site.authority)
    except (ssl.SSLError, ValueError) as error:
        raise Misconfigured(f"The site's authority in the enrolment is none ({error}): ask the SaaS.") from error

    def token() -> bytes:
        site, _ = _load(identity)
        return (site.leader if leads else site.user).encode()

    def sign(nonce: bytes) -> bytes:
        return _load(identity)[1].bus_user.sign(nonce)

    return Access(tuple(urls), name, tls=tls, user_jwt=token, sign=sign, peer="the site's leader", connect_seconds=3.0)


def admission(identity: Path, directory: Path) -> str:
    """The part of the server's configuration that says who it is and whom it lets in; its key goes into `directory`.

    Raises BadInput for a node that may not lead, or whose directory takes no file; Misconfigured, Unavailable.
    """
    site, keys = _load(identity)
    if not site.certificate:
        raise BadInput("This node's enrolment does not let it lead: the SaaS has to say where its bus listens.")
    content = _key_file(keys) + site.certificate.encode()
    file = directory / SERVER
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists() or file.read_bytes() != content:
            replace_file(file, content)
    except OSError as error:
        raise BadInput(f"Cannot write {file} ({error.strerror}): check its owner and its disk.") from error
    preload = ", ".join(f"{nats.decode(account).subject}: {account}" for account in site.accounts)
    # The comment makes the configuration another one whenever the certificate is, so that the server reads it again.
    return f"""tls {{ cert_file: "{file}", key_file: "{file}", timeout: 5 }} # {hashlib.sha256(content).hexdigest()}
authorization {{ timeout: 5 }}
operator: {site.operator}
resolver: MEMORY
resolver_preload: {{ {preload} }}"""


def _load(identity: Path) -> tuple[SiteGrant, NodeKeys]:
    enrolment, keys = load_enrolment(identity), load_keys(identity)
    if enrolment is None or keys is None or enrolment.grant.site is None:
        raise Misconfigured(f"The enrolment in {identity} says nothing of a site: it will be renewed.")
    return enrolment.grant.site, keys


def _key_file(keys: NodeKeys) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(keys.bus_server.seed))
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
