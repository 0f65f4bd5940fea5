"""Server tokens with Choria's claim names: who an enrolled node is, by the SaaS's issuer.

Choria's have no place for the customer; here the extensions name customer and role. Expiry is the reader's to judge:
a node that was away for longer proves with its key who it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from mra.errors import Refused
from mra.tokens import compact, ed25519
from mra.tokens.ksuid import ksuid

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mra.tokens.ed25519 import SigningKey

ALGORITHM = "EdDSA"
PURPOSE = "choria_server"
ISSUER = "Choria Tokens Package"
_WHAT = "server token"
_Second = Annotated[int, msgspec.Meta(ge=0, le=compact.LATEST)]


@dataclass(frozen=True)
class Server:
    """What a server token says.

    Attributes:
        account: public key of the customer's account; names of customers can be used again.
        public_key: Ed25519, in hex; only its owner may present the token.
        site: that it was enrolled into by its token, if by any.
        permissions: Choria's: `streams`, `submission`, `governor`, `service_host`.
    """

    identity: str
    public_key: str
    customer: str
    role: str
    account: str = ""
    organization: str = "choria"
    collectives: tuple[str, ...] = ("choria",)
    permissions: Mapping[str, bool] | None = None
    pub_subjects: tuple[str, ...] = ()
    id: str = ""
    issued_at: int = 0
    expires: int = 0
    site: str = ""


class _Claims(msgspec.Struct, omit_defaults=True):
    identity: str
    public_key: str
    purpose: str
    exp: _Second
    jti: str
    iss: str = ""
    iat: _Second = 0
    nbf: _Second = 0
    ou: str = ""
    collectives: list[str] = msgspec.field(default_factory=list)
    pub_subjects: list[str] = msgspec.field(default_factory=list)
    permissions: dict[str, bool] | None = None
    tcs: str = ""
    extensions: dict[str, Any] = msgspec.field(default_factory=dict)


def mint(server: Server, issuer: SigningKey, *, now: float, expires: int, random: bytes) -> str:
    """A token until `expires`; `random` are 16 bytes for its id, which is set here like the times."""
    second = int(now)
    claims = _Claims(
        server.identity, server.public_key, PURPOSE, expires, ksuid(second, random), ISSUER, second, second,
        server.organization, list(server.collectives), list(server.pub_subjects),
        dict(server.permissions) if server.permissions else None,
        extensions={
            "customer": server.customer, "account": server.account, "role": server.role,
            **({"site": server.site} if server.site else {}),
        },
    )  # fmt: skip
    return compact.join({"alg": ALGORITHM, "typ": "JWT"}, msgspec.json.encode(claims), issuer.sign)


def verify(token: str | bytes, *, issuers: Collection[str]) -> Server:
    """What a token says, whether expired or not, when one of `issuers` (hex keys) signed it. Raises Refused."""
    parts = compact.split(token, _WHAT)
    server = _read(parts)
    if not ed25519.is_by_any(issuers, parts.signed, parts.signature):
        raise Refused(f"This {_WHAT} is signed by nobody who may: enrol with a provisioning token.")
    return server


def read(token: str | bytes) -> Server:
    """What a token says, its signature unproven: for the node that got it in a signed answer. Raises Refused."""
    return _read(compact.split(token, _WHAT))


def purpose_of(token: str | bytes) -> str:
    """What a token says that it is for, its signature unproven. Raises Refused."""
    claims = compact.split(token, "token").claims
    found = claims.get("purpose") or claims.get("sub")
    return found if isinstance(found, str) else ""


def _read(parts: compact.Parts) -> Server:
    if parts.algorithm != ALGORITHM:
        raise Refused(f"This {_WHAT} is signed with {parts.algorithm[:40]!r}: only {ALGORITHM} (Ed25519) is accepted.")
    claims = compact.read(parts.claims, _Claims, _WHAT)
    if claims.purpose != PURPOSE:
        raise Refused(f"This token is for {claims.purpose[:40]!r}, not for a server.")
    found = [claims.extensions.get(name, "") for name in ("customer", "account", "role", "site")]
    customer, account, role, site = (value if isinstance(value, str) else "" for value in found)
    if not customer or not all(isinstance(value, str) for value in found):
        raise Refused(f"This {_WHAT} names no customer: it was made for another system.")
    return Server(
        claims.identity, ed25519.check_public(claims.public_key), customer, role, account, claims.ou,
        tuple(claims.collectives), claims.permissions, tuple(claims.pub_subjects), claims.jti, claims.iat, claims.exp,
        site,
    )  # fmt: skip
