"""NATS JWTs, version 2: the claims around every kind, their text, and whom they are accepted from.

A server takes the claims of an account from its operator, of a user from its account or one of the account's signing
keys, and follows the `sub` of each: the key that the claims describe. Format: the jwt package of NATS, version 2.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cryptography.hazmat.primitives import hashes

from mra.errors import Refused
from mra.tokens import compact, nkey
from mra.tokens.nkey import KeyPair, Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ALGORITHM = "ed25519-nkey"


class Type(StrEnum):
    """What claims describe."""

    OPERATOR = "operator"
    ACCOUNT = "account"
    USER = "user"
    GENERIC = "generic"
    ACTIVATION = "activation"
    AUTHORIZATION_REQUEST = "authorization_request"
    AUTHORIZATION_RESPONSE = "authorization_response"


# Whose signature can stand under claims of each type.
_SIGNERS: dict[Type, tuple[Kind, ...]] = {
    Type.OPERATOR: (Kind.OPERATOR,),
    Type.ACCOUNT: (Kind.OPERATOR,),
    Type.USER: (Kind.ACCOUNT,),
    Type.GENERIC: (Kind.OPERATOR, Kind.ACCOUNT),
    Type.ACTIVATION: (Kind.ACCOUNT,),
    Type.AUTHORIZATION_REQUEST: (Kind.SERVER,),
    Type.AUTHORIZATION_RESPONSE: (Kind.ACCOUNT,),
}


@dataclass(frozen=True)
class Claims:
    """What a token says.

    Attributes:
        type: what is described.
        subject: public key of what is described; free text for generic claims.
        nats: the part that the type defines, as it stands in the token, without `type` and `version`.
        name: for people, and `{{name()}}` in the permissions of a user.
        expires: second since 1970 from which on it is refused; None for never.
        audience: for whom it is, where the type has one.
        issuer, issued_at, id: set by `encode`.
    """

    type: Type
    subject: str
    nats: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    expires: int | None = None
    not_before: int | None = None
    audience: str = ""
    issuer: str = ""
    issued_at: int = 0
    id: str = ""

    @property
    def issuer_account(self) -> str:
        """The account that a user or a response belongs to, whichever of its keys signed."""
        named = self.nats.get("issuer_account")
        return named if isinstance(named, str) and named else self.issuer


def encode(claims: Claims, signer: KeyPair, now: float) -> str:
    """The token of `claims`, signed by `signer` at `now`. Raises Refused for a key that cannot sign this type."""
    if signer.kind not in _SIGNERS[claims.type]:
        raise Refused(f"A key of kind {signer.kind.name.lower()} cannot sign {claims.type.value} claims.")
    body: dict[str, Any] = {"iat": int(now), "iss": signer.public, "sub": claims.subject}
    optional = {"aud": claims.audience, "name": claims.name, "exp": claims.expires, "nbf": claims.not_before}
    body |= {key: value for key, value in optional.items() if value}
    body["nats"] = {**claims.nats, "type": claims.type.value, "version": 2}
    body["jti"] = _id(msgspec.json.encode(body))
    return compact.join({"typ": "JWT", "alg": ALGORITHM}, msgspec.json.encode(body), signer.sign)


def _id(body: bytes) -> str:
    digest = hashes.Hash(hashes.SHA512_256())
    digest.update(body)
    return base64.b32encode(digest.finalize()).rstrip(b"=").decode()


_Second = Annotated[int, msgspec.Meta(ge=0, le=compact.LATEST)]


class _Body(msgspec.Struct):
    iss: str
    sub: str
    nats: dict[str, Any]
    iat: _Second = 0
    exp: _Second = 0
    nbf: _Second = 0
    name: str = ""
    aud: str = ""
    jti: str = ""


def decode(token: str | bytes) -> Claims:
    """What a token says, once its own issuer's signature is proven; who that is, and the time, are yours to judge.

    Raises Refused for anything but a NATS JWT of version 2, intact and signed by a key of a fitting kind.
    """
    parts = compact.split(token, "NATS token")
    if parts.algorithm != ALGORITHM:
        raise Refused(f"This NATS token is signed with {parts.algorithm[:40]!r}: only {ALGORITHM} is accepted.")
    body = compact.read(parts.claims, _Body, "NATS token")
    kind, version = body.nats.get("type"), body.nats.get("version")
    if not isinstance(kind, str) or kind not in set(Type) or version != 2:
        raise Refused("This NATS token is of a type or version that is not known here: ask for another.")
    type_ = Type(kind)
    if nkey.kind_of(body.iss) not in _SIGNERS[type_]:
        raise Refused(f"These {type_.value} claims are signed by {body.iss}, a key of the wrong kind.")
    nkey.verify(body.iss, parts.signed, parts.signature)
    rest = {key: value for key, value in body.nats.items() if key not in ("type", "version")}
    return Claims(
        type_, body.sub, rest, body.name, body.exp or None, body.nbf or None, body.aud, body.iss, body.iat, body.jti
    )


def verify(token: str | bytes, type_: Type, *, issuers: Collection[str], now: float) -> Claims:
    """What a token says, when it is of `type_`, by one of `issuers` (keys) and valid at `now`. Raises Refused."""
    claims = decode(token)
    if claims.type is not type_:
        raise Refused(f"This NATS token holds {claims.type.value} claims instead of {type_.value} claims.")
    if claims.issuer not in issuers:
        raise Refused(f"The {type_.value} claims of {claims.subject[:60]} are signed by a stranger, {claims.issuer}.")
    compact.check_window(f"{type_.value} token", now, not_before=claims.not_before, expires=claims.expires)
    return claims
