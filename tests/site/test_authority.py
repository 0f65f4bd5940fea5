"""The authority of an enrolled site: always the same one, strict verifiers take it, and no token says too much."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mra.enrol.shapes import Statement
from mra.errors import Unavailable
from mra.provisioner.site import GRACE, grant_site
from mra.site.authority import Authority
from mra.tokens import nats
from mra.tokens.ed25519 import SigningKey
from mra.tokens.nkey import KeyPair, Kind

if TYPE_CHECKING:
    from pathlib import Path

SEED, OTHER = bytes(32), bytes([1] * 32)
NOW, EXPIRES = 1_700_000_000.0, 4_000_000_000
BUS, USER = SigningKey(bytes([2] * 32)), KeyPair(Kind.USER, bytes([3] * 32))
LEADS = {"site.name": "berlin", "site.listen": "10.0.0.1:9222", "site.hosts": "n1.example, 10.0.0.1"}


class OneSeed:
    """Customers as far as sites ask."""

    def record_user(self, name: str, node: str, user: str) -> frozenset[str]:
        return frozenset()

    def site_seed(self, name: str, site: str) -> bytes:
        return SEED


def granted(configuration: dict[str, str], **changes: Any) -> Any:
    said = dict.fromkeys(("nonce", "connection", "credential", "request", "identity", "public_key", "reader"), "")
    keys = {"public_nkey": USER.public, "bus_user": USER.public, "bus_server": BUS.public}
    statement = Statement(**(said | keys | changes))
    customers: Any = OneSeed()
    return grant_site(customers, "acme", "n1", statement, configuration, now=NOW, expires=EXPIRES - GRACE)


def test_an_authority_is_the_same_whenever_it_is_made() -> None:
    first, again, other = Authority(SEED), Authority(SEED), Authority(OTHER)
    assert (first.certificate, first.operator, first.accounts) == (again.certificate, again.operator, again.accounts)
    assert first.certificate != other.certificate
    assert not {*first.accounts} & {*other.accounts}


def test_the_revoked_are_all_that_changes_in_what_a_bus_believes() -> None:
    plain, strict = Authority(SEED), Authority(SEED, [USER.public])
    assert (strict.certificate, strict.operator) == (plain.certificate, plain.operator)
    assert [*nats.decode(strict.accounts[0]).nats["revocations"]] == [USER.public]
    assert Authority(SEED, []).accounts == plain.accounts


@pytest.mark.parametrize(("seed", "host", "is_taken"), [
    (SEED, "n1.example", True), (SEED, "10.0.0.1", True), (SEED, "localhost", True),
    (SEED, "n2.example", False), (OTHER, "n1.example", False),
])  # fmt: skip
def test_a_bus_is_believed_under_its_own_names_and_by_its_own_site(
    tmp_path: Path, seed: bytes, host: str, is_taken: bool
) -> None:
    certificate = Authority(SEED).bus("n1", BUS.public, ["n1.example", "10.0.0.1"], expires=EXPIRES)
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(BUS.seed))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "bus.pem").write_text(key.private_bytes(serialization.Encoding.PEM, *form).decode() + certificate)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "bus.pem")
    client = ssl.create_default_context(cadata=Authority(seed).certificate)
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT  # as Python 3.13 does without being asked
    assert shake_hands(server, client, host) is is_taken


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> bool:
    """Whether the client believes the server."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = client.wrap_bio(back, there, server_hostname=host), server.wrap_bio(there, back, server_side=True)
    done = set()
    while len(done) < 2:
        for side in sides:
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    return True


def test_a_follower_may_speak_under_its_own_name_and_hear_what_is_its_own() -> None:
    site = granted({"site.name": "berlin"})
    assert (site.leader, site.certificate) == ("", "")
    user = nats.verify(site.user, nats.Type.USER, issuers={nats.decode(site.accounts[0]).subject}, now=NOW)
    assert (user.subject, user.name, user.expires) == (USER.public, "n1", EXPIRES)
    assert user.nats["pub"] == {"allow": ["site.n1.>"]}
    assert user.nats["sub"] == {"allow": ["_INBOX.n1.>", "site_feed.>"]}


def test_a_leader_is_one_on_its_own_bus_only() -> None:
    site = granted(LEADS)
    assert "PRIVATE" not in site.certificate
    user = nats.decode(site.leader)
    assert user.nats["src"] == ["127.0.0.0/8", "::1/128", "10.0.0.1/32"]
    assert user.nats["pub"] == {"allow": ["_INBOX.>", "site_feed.>"]}
    anywhere = nats.decode(granted(LEADS | {"site.listen": "0.0.0.0:9222"}).leader)
    assert anywhere.nats["src"] == ["127.0.0.0/8", "::1/128"]


def test_a_node_that_is_in_no_site_or_too_old_for_one_gets_nothing_for_it() -> None:
    assert granted({}) is None
    assert granted(LEADS, bus_user="") is None


@pytest.mark.parametrize("wrong", [{"site.listen": "9222"}, {"site.listen": ":1"}, {"site.hosts": "n\u00e4 me,\u00fc"}])
def test_a_place_that_cannot_be_has_the_node_come_back(wrong: dict[str, str]) -> None:
    with pytest.raises(Unavailable, match="berlin"):
        granted(LEADS | wrong)
