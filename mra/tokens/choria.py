"""Provisioning tokens with Choria's claim names: what a site gets with the wheel, and nothing secret needs to stand in.

`choria jwt provisioning` with an Ed25519 issuer makes the same. Whoever lets a node in verifies the issuer's signature;
the node itself cannot know the issuer and takes the token as settings (`read`). Facts: Choria's tokens package.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from mra.errors import Refused
from mra.tokens import compact, ed25519
from mra.tokens.ksuid import ksuid

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mra.tokens.ed25519 import SigningKey

ALGORITHM = "EdDSA"
PURPOSE = "choria_provisioning"
ISSUER = "Choria Tokens Package"
_WHAT = "provisioning token"


@dataclass(frozen=True)
class Provisioning:
    """What a provisioning token says; in brackets the claim. Secrets stay out of `repr`.

    Attributes:
        urls: where to enrol (`chu`); exactly one of `urls` and `srv_domain` is set.
        srv_domain: domain whose SRV records say where (`chsrv`).
        extensions: free for the SaaS, such as customer and role (`extensions`).
        organization: whose issuer signed it (`ou`).
        secret: what Choria's provisioning actions ask for (`cht`); nothing here rests on it.
        by_default: enrol although no configuration says so (`chpd`).
        secure: Choria's protocol security (`chs`).
        id: a KSUID (`jti`), by which a token is revoked or used once.
    """

    urls: tuple[str, ...] = ()
    srv_domain: str = ""
    extensions: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    organization: str = "choria"
    secret: str = field(default="", repr=False)
    by_default: bool = True
    secure: bool = True
    protocol_v2: bool = True
    update: bool = False
    registration: str = ""
    facts: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    id: str = ""
    issued_at: int = 0
    not_before: int = 0
    expires: int = 0

    def extension(self, name: str) -> str:
        """One of the extensions as text; empty where it is absent or something else."""
        found = self.extensions.get(name)
        return found if isinstance(found, str) else ""


_Second = Annotated[int, msgspec.Meta(ge=0, le=compact.LATEST)]


class _Claims(msgspec.Struct, omit_defaults=True):
    sub: str = ""
    iss: str = ""
    purpose: str = ""
    iat: _Second = 0
    nbf: _Second = 0
    exp: _Second = 0
    jti: str = ""
    ou: str = ""
    cht: str = ""
    chs: bool = False
    chpd: bool = False
    chu: str = ""
    chsrv: str = ""
    chrd: str = ""
    chf: str = ""
    chusr: str = ""
    chpwd: str = ""
    v2: bool = False
    update: bool = False
    tcs: str = ""
    extensions: dict[str, Any] | None = None


def read(token: str | bytes) -> Provisioning:
    """What a token says, its signature unproven: for the node that it was given to. Raises Refused."""
    return _read(compact.split(token, _WHAT))


def verify(token: str | bytes, *, issuers: Collection[str], now: float) -> Provisioning:
    """What a token says, when one of `issuers` (hex keys) signed it and it is valid at `now`. Raises Refused."""
    parts = compact.split(token, _WHAT)
    provisioning = _read(parts)
    if not ed25519.is_by_any(issuers, parts.signed, parts.signature):
        raise Refused(f"This {_WHAT} is signed by nobody who may: ask the SaaS for one.")
    compact.check_window(_WHAT, now, not_before=provisioning.not_before, expires=provisioning.expires)
    return provisioning


def mint(provisioning: Provisioning, issuer: SigningKey, *, now: float, validity: float, random: bytes) -> str:
    """A token for `validity` seconds from `now`; `random` are 16 bytes for its id. Raises Refused for no place to go.

    `id` and the times of `provisioning` are set here and need not be given.
    """
    if bool(provisioning.urls) == bool(provisioning.srv_domain):
        raise Refused(f"A {_WHAT} names either addresses or an SRV domain: give one of the two.")
    second = int(now)
    claims = _Claims(
        sub=PURPOSE, iss=ISSUER, purpose=PURPOSE, iat=second, nbf=second, exp=int(second + validity),
        jti=ksuid(second, random), ou=provisioning.organization, cht=provisioning.secret, chs=provisioning.secure,
        chpd=provisioning.by_default, chu=",".join(provisioning.urls), chsrv=provisioning.srv_domain,
        chrd=provisioning.registration, chf=provisioning.facts, chusr=provisioning.username,
        chpwd=provisioning.password, v2=provisioning.protocol_v2, update=provisioning.update,
        extensions=dict(provisioning.extensions),
    )  # fmt: skip
    body = {"cht": "", "chs": False, "chpd": False, **msgspec.to_builtins(claims)}  # Choria writes these always
    return compact.join({"alg": ALGORITHM, "typ": "JWT"}, msgspec.json.encode(body), issuer.sign)


def _read(parts: compact.Parts) -> Provisioning:
    if parts.algorithm != ALGORITHM:
        raise Refused(f"This {_WHAT} is signed with {parts.algorithm[:40]!r}: only {ALGORITHM} (Ed25519) is accepted.")
    claims = compact.read(parts.claims, _Claims, _WHAT)
    if claims.sub != PURPOSE or claims.purpose not in ("", PURPOSE):  # early tokens are known by `sub` alone
        raise Refused(f"This token is for {(claims.purpose or claims.sub)[:40]!r}, not for provisioning.")
    if claims.tcs:
        raise Refused(f"This {_WHAT} is issued through a chain: only the organization's own issuer may sign one.")
    if not claims.exp or not claims.jti:
        raise Refused(f"This {_WHAT} has no end or no id, so that it could never be withdrawn: ask for another.")
    urls = tuple(url for url in (part.strip() for part in claims.chu.split(",")) if url)
    if bool(urls) == bool(claims.chsrv):
        raise Refused(f"This {_WHAT} must name either addresses or an SRV domain, and names both or none.")
    return Provisioning(
        urls, claims.chsrv, MappingProxyType(claims.extensions or {}), claims.ou, claims.cht, claims.chpd, claims.chs,
        claims.v2, claims.update, claims.chrd, claims.chf, claims.chusr, claims.chpwd, claims.jti, claims.iat,
        claims.nbf, claims.exp,
    )  # fmt: skip
