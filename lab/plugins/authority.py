"""A certificate authority made on the fly, and a certificate of it for a server on this machine.

    python lab/plugins/authority.py DIRECTORY [HOST...]

It writes ca.pem, for who connects, and server.pem, key included, for this machine and the names of hosts.

Nothing is done where both are there already. The authority's key is thrown away at once, so nothing else can ever be
certified with it.
"""

from __future__ import annotations

import datetime
import ipaddress
import sys
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM
_DAYS = 365
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip


@dataclass(frozen=True)
class Authority:
    """The two files: certificates to trust, and the server's certificate with its private key."""

    ca_file: Path
    certificate: Path

    @classmethod
    def new(cls, directory: Path, *hosts: str) -> Authority:
        """Make an authority and a certificate for 127.0.0.1, localhost and `hosts`, unless they are there."""
        made = cls(directory / "ca.pem", directory / "server.pem")
        if made.ca_file.exists() and made.certificate.exists():
            return made
        directory.mkdir(parents=True, exist_ok=True)
        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of the lab")])
        ca = _certificate(
            ca_name, ca_name, ca_key, ca_key,
            (x509.BasicConstraints(ca=True, path_length=0), True), (_SIGNS_CERTIFICATES, True),
        )  # fmt: skip
        here = x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *map(x509.DNSName, ("localhost", *hosts))]
        )
        # Python 3.13 looks for the issuer's key in what it verifies.
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        own = _certificate(x509.Name([]), ca_name, key, ca_key, (here, True), (issuer, False))
        private = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        made.certificate.touch(mode=0o600)
        made.certificate.write_bytes(private + own.public_bytes(_PEM))
        made.ca_file.write_bytes(ca.public_bytes(_PEM))
        return made


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    *extensions: tuple[x509.ExtensionType, bool],
) -> x509.Certificate:
    """`extensions` say of themselves whether they are critical."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # for hosts whose clock is late
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())


if __name__ == "__main__":
    Authority.new(Path(sys.argv[1]), *sys.argv[2:])
