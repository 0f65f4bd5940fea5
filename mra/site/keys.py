"""The site's authority, certificates, keys, and who may follow. Blocking; for commands and for enrolment.

A directory of the leader:                          of a follower:

    ca.pem         whom the site's nodes trust          ca.pem
    ca.key         certifies further servers            follower.seed
    server.pem     the bus's certificate and key
    leader.seed    the leader's own key on the bus
    followers/     a file each: the public key

A node that may lead later has both, without `ca.key`.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mra.aio.connection import Access
from mra.credentials import read_secret, read_text
from mra.durable import replace_file
from mra.errors import BadInput, Refused
from mra.tokens.nkey import KeyPair, Kind, check_public

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_PEM = serialization.Encoding.PEM
_YEARS = 20
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip
CA, CA_KEY, SERVER, LEADER, FOLLOWER, ROSTER = (
    "ca.pem", "ca.key", "server.pem", "leader.seed", "follower.seed", "followers",
)  # fmt: skip
_SECRETS = frozenset({CA_KEY, SERVER, LEADER, FOLLOWER})


class FollowerKeys(NamedTuple):
    """What a follower needs: whom to trust, and its seed unless it has made its key itself."""

    ca: bytes
    seed: bytes | None

    def files(self) -> dict[str, bytes]:
        """Contents by name, for the follower's directory."""
        return {CA: self.ca} | ({FOLLOWER: self.seed} if self.seed else {})


def make_site(directory: Path, hosts: Sequence[str]) -> list[str]:
    """Make an authority and a leader's keys in `directory`; return the files made. What is there already stays.

    `hosts` are names and addresses by which followers reach the leader. Raises BadInput.
    """
    made: dict[str, bytes] = {}
    if not (directory / CA).exists():
        key = ec.generate_private_key(ec.SECP256R1())
        made[CA], made[CA_KEY] = _authority(key), _private(key)
        _write(directory, made)
    if not (directory / SERVER).exists():
        made[SERVER] = _server(directory, hosts)
    if not (directory / LEADER).exists():
        made[LEADER] = KeyPair.generate(Kind.USER).seed.encode()
    (directory / ROSTER).mkdir(mode=0o700, exist_ok=True)
    _write(directory, made)
    return sorted(made)


def add_follower(directory: Path, name: str, public: str | None = None) -> FollowerKeys:
    """Let `name` follow, under `public` or a new key. The running leader notices. Raises BadInput."""
    _check_name(name)
    seed = None
    if public is None:
        key = KeyPair.generate(Kind.USER)
        public, seed = key.public, key.seed.encode()
    try:
        check_public(public, Kind.USER)
    except Refused as error:
        raise BadInput(error.sentence) from error
    _write(directory / ROSTER, {name: public.encode() + b"\n"})
    return FollowerKeys(_read(directory / CA), seed)


def remove_follower(directory: Path, name: str) -> None:
    """Let `name` follow no more; a running leader drops its connection. Raises BadInput when it did not follow."""
    try:
        (directory / ROSTER / _check_name(name)).unlink()
    except OSError as error:
        raise BadInput(f"{name} is no follower in {directory} ({error.strerror}): `mra site ls` lists them.") from error


def prepare_leader(directory: Path, hosts: Sequence[str]) -> dict[str, bytes]:
    """Contents by name of the directory of a node that may lead after this one; `followers/` is copied beside it."""
    return {
        CA: _read(directory / CA),
        SERVER: _server(directory, hosts),
        LEADER: KeyPair.generate(Kind.USER).seed.encode(),
    }


def roster(directory: Path) -> Mapping[str, str]:
    """Who may follow: name -> public key. A file that holds none is left out."""
    found = {}
    for file in sorted((directory / ROSTER).glob("*")):
        try:
            found[_check_name(file.name)] = check_public(read_text(file).strip(), Kind.USER)
        except Refused:
            continue
    return found


def write_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write contents by name into a directory that only its owner may enter. Raises BadInput."""
    _write(directory, files)


def access(urls: Sequence[str], name: str, directory: Path, seed: str) -> Access:
    """How a node reaches the bus with a key of its directory. Raises BadInput."""
    try:
        key = KeyPair.from_seed(read_secret(directory / seed))
        tls = ssl.create_default_context(cafile=str(directory / CA))
    except (OSError, ssl.SSLError, Refused) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"The keys in {directory} are of no use ({error}): make them with `mra site`.") from error
    return Access(
        tuple(urls), name, tls=tls, sign=key.sign, nkey=key.public, peer="the site's leader", connect_seconds=3.0
    )


def leader_key(directory: Path) -> str:
    """The public key of the leader's own user."""
    return KeyPair.from_seed(read_secret(directory / LEADER)).public


def _check_name(name: str) -> str:
    if not (0 < len(name) <= 64 and name.isascii() and name.replace("-", "").replace("_", "").isalnum()):
        raise BadInput(f"{name[:40]!r} is no name of a node: use 1 to 64 letters, digits, dashes or underscores.")
    return name


def _authority(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of a site of mra")])
    return _certificate(name, name, key, key, x509.BasicConstraints(ca=True, path_length=0), _SIGNS_CERTIFICATES)


def _server(directory: Path, hosts: Sequence[str]) -> bytes:
    """Certificate and key for a bus. Raises BadInput where the authority's key is not."""
    authority = x509.load_pem_x509_certificate(_read(directory / CA))
    issuer = serialization.load_pem_private_key(read_secret(directory / CA_KEY).encode(), None)
    assert isinstance(issuer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([_general_name(host) for host in dict.fromkeys([*hosts, "localhost"])])
    return _private(key) + _certificate(x509.Name([]), authority.subject, key, issuer, names)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    *extensions: x509.ExtensionType,
) -> bytes:
    """The extensions are critical. Beside them stand both keys' identifiers, which Python 3.13 asks for."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=365))  # for nodes whose clock is late
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(_PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _read(file: Path) -> bytes:
    return read_text(file).encode()


def _write(directory: Path, files: Mapping[str, bytes]) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in files.items():
            replace_file(directory / name, content, mode=0o600 if name in _SECRETS else 0o644)
    except OSError as error:
        raise BadInput(f"Cannot write into {directory} ({error.strerror}): choose another directory.") from error
