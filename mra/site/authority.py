"""The authority of an enrolled site: what its buses and their users are believed by. The SaaS's side; pure.

Everything follows from one seed, so an authority made again is the same one, to the byte. What it signs is judged on
the site's nodes alone, with the SaaS or without.

    authority --certificate--> a node's bus (TLS)
              --operator JWT--> account JWT --user JWT--> a node, under its own name

A node's bus takes any user of the account: it needs no list of nodes, only that of the revoked, which the account JWT
holds. The user that leads may come from the bus's own machine only, so one node that may lead cannot pose as the leader
on another's bus.
"""

from __future__ import annotations

import datetime
import ipaddress
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mra.site.words import FEED, PREFIX
from mra.tokens import claims, nats
from mra.tokens.claims import Limits, Permissions
from mra.tokens.nkey import KeyPair, Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_FIRST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)  # for nodes whose clock is late
_LAST = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
_SIGNED_AT: Final = _FIRST.timestamp()
_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")


class Authority:
    """The authority of one site, from its 32-byte seed. Its buses refuse the users whose keys are `revoked`."""

    def __init__(self, seed: bytes, revoked: Collection[str] = ()) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(_derive(seed, b"mra site authority v1"))
        self._account = KeyPair(Kind.ACCOUNT, _derive(seed, b"mra site account v1"))
        operator = KeyPair(Kind.OPERATOR, _derive(seed, b"mra site operator v1"))
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of a site of mra")])
        system = KeyPair(
            Kind.ACCOUNT, _derive(seed, b"mra site system v1")
        ).public  # a server wants one; nobody is in it
        own = nats.Claims(nats.Type.OPERATOR, operator.public, {"system_account": system}, "site")
        accounts = {"site": self._account.public, "system": system}
        self.certificate = self._sign(self._name, self._key.public_key(), _LAST, is_authority=True)
        self.operator = nats.encode(own, operator, _SIGNED_AT)
        until = dict.fromkeys(sorted(revoked), int(_LAST.timestamp()))
        self.accounts = tuple(
            nats.encode(claims.account(name, public, limits=Limits(), revocations=until), operator, _SIGNED_AT)
            for name, public in accounts.items()
        )

    def follower(self, name: str, public: str, *, now: float, expires: int) -> str:
        """The token of a node: it may say and hear what is its own, and hear the feeds. Raises Refused."""
        allowed = Permissions([f"{PREFIX}.{name}.>"], [f"_INBOX.{name}.>", f"{FEED}.>"])
        return nats.encode(claims.user(name, public, allowed, expires=expires), self._account, now)

    def leader(self, name: str, public: str, listen: str, *, now: float, expires: int) -> str:
        """The token of a node on its own bus, which listens on the host `listen`. Raises Refused."""
        allowed = Permissions(["_INBOX.>", f"{FEED}.>"], [f"{PREFIX}.>", f"_INBOX.{name}.>"])
        user = claims.user(name, public, allowed, expires=expires)
        from_here = {**user.nats, **_sources(listen)}
        return nats.encode(nats.Claims(user.type, public, from_here, name, expires), self._account, now)

    def bus(self, name: str, public: str, hosts: Sequence[str], *, expires: int) -> str:
        """The certificate of a node's bus: for its Ed25519 key (hex), and the hosts by which it is reached."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        until = min(_LAST, datetime.datetime.fromtimestamp(expires, datetime.UTC))
        return self._sign(subject, key, until, hosts=[*dict.fromkeys([*hosts, "localhost"])])

    def _sign(
        self,
        subject: x509.Name,
        key: Ed25519PublicKey,
        until: datetime.datetime,
        *,
        hosts: Sequence[str] = (),
        is_authority: bool = False,
    ) -> str:
        """A certificate with all that a strict verifier asks for (RFC 5280, section 4.2)."""
        own = self._key.public_key()
        serial = int.from_bytes(_derive(key.public_bytes_raw() + str(until).encode(), b"serial")[:16])
        builder = (
            x509.CertificateBuilder(self._name, subject, key, serial or 1, _FIRST, until)
            .add_extension(x509.BasicConstraints(is_authority, 0 if is_authority else None), critical=True)
            .add_extension(_usage(is_authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own), critical=False)
        )
        if not is_authority:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
            server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
            builder = builder.add_extension(server, critical=False)
        return builder.sign(self._key, None).public_bytes(serialization.Encoding.PEM).decode()


def _derive(seed: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(seed)


def _usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority, key_cert_sign=is_authority, crl_sign=is_authority, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _sources(listen: str) -> dict[str, list[str]]:
    """Whence a node reaches its own bus; a name does not tell."""
    try:
        address = ipaddress.ip_address(listen)
    except ValueError:
        return {}
    return {"src": [*_LOOPBACK, *([] if address.is_unspecified else [f"{address}/{address.max_prefixlen}"])]}
