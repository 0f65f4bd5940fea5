"""Provisioning tokens: Choria's claims in, Choria's claims out, and nothing that an issuer did not sign."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import Refused
from mra.tokens import choria, ed25519
from mra.tokens.choria import Provisioning
from mra.tokens.ed25519 import SigningKey
from mra.tokens.ksuid import ksuid, time_of
from tests.tokens.forge import DAMAGES, DEEP, FUZZ, HUGE, JSON, damage, forge

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000
ISSUER = SigningKey(b"i" * 32)
HEADER = {"alg": "EdDSA", "typ": "JWT"}
WRITTEN = Provisioning(("nats://prov.saas.example:4222",), extensions={"customer": "acme", "role": "tools"}, secret="s")
TOKEN = choria.mint(WRITTEN, ISSUER, now=NOW, validity=3600, random=bytes(16))

# As the facts sheet prints what `choria jwt provisioning` writes.
CLAIMS = {
    "purpose": "choria_provisioning", "sub": "choria_provisioning", "iss": "Choria Tokens Package",
    "jti": "2zKPRZsBTqHeK1iVP8DBCsbEQPx", "iat": 1767225600, "nbf": 1767225600, "exp": 1798761600, "ou": "choria",
    "cht": "prov-secret", "chs": False, "chpd": True, "chu": "nats://a.example:4222,nats://b.example:4222",
    "v2": True, "update": True, "extensions": {"customer": "acme", "role": "tools"},
}  # fmt: skip


def verified(claims: object) -> Provisioning:
    return choria.verify(forge(HEADER, claims, ISSUER.sign), issuers=[ISSUER.public], now=1767225600)


def test_a_token_in_chorias_words_is_accepted() -> None:
    read = verified(CLAIMS)
    assert read.urls == ("nats://a.example:4222", "nats://b.example:4222")
    assert (read.extension("customer"), read.extension("absent"), read.update, read.secret) == (
        "acme", "", True, "prov-secret",
    )  # fmt: skip


def test_minted_tokens_use_chorias_words() -> None:
    claims = json.loads(urlsafe_b64decode(TOKEN.split(".")[1] + "=="))
    assert {name: claims[name] for name in ("purpose", "sub", "iss", "chu", "cht", "chs", "chpd", "ou", "v2")} == {
        "purpose": "choria_provisioning", "sub": "choria_provisioning", "iss": "Choria Tokens Package",
        "chu": "nats://prov.saas.example:4222", "cht": "s", "chs": True, "chpd": True, "ou": "choria", "v2": True,
    }  # fmt: skip
    assert (claims["iat"], claims["nbf"], claims["exp"]) == (NOW, NOW, NOW + 3600)
    assert time_of(claims["jti"]) == NOW
    assert "chsrv" not in claims


def test_what_was_minted_is_read_again() -> None:
    read = choria.verify(TOKEN, issuers=["0" * 64, ISSUER.public], now=NOW)
    assert (read.urls, dict(read.extensions), read.expires) == (WRITTEN.urls, dict(WRITTEN.extensions), NOW + 3600)
    assert read == choria.read(TOKEN)


def test_a_token_names_one_way_to_go() -> None:
    for wrong in (Provisioning(), Provisioning(("nats://a",), "example.net")):
        with pytest.raises(Refused, match="either addresses or an SRV domain"):
            choria.mint(wrong, ISSUER, now=NOW, validity=1, random=bytes(16))
    for changes in ({"chu": " , "}, {"chsrv": "example.net"}):
        with pytest.raises(Refused, match="both or none"):
            verified({**CLAIMS, **changes})


def test_only_the_issuer_and_only_in_time() -> None:
    with pytest.raises(Refused, match="nobody who may"):
        choria.verify(TOKEN, issuers=[SigningKey.generate().public], now=NOW)
    with pytest.raises(Refused, match="nobody who may"):
        choria.verify(TOKEN, issuers=[], now=NOW)
    with pytest.raises(Refused, match="not valid yet"):
        choria.verify(TOKEN, issuers=[ISSUER.public], now=NOW - 1)
    with pytest.raises(Refused, match="expired"):
        choria.verify(TOKEN, issuers=[ISSUER.public], now=NOW + 3600)


@pytest.mark.parametrize("algorithm", ["none", "None", "RS256", "HS256", "ed25519-nkey", "", 5, None])
def test_another_algorithm_is_refused_however_well_signed(algorithm: object) -> None:
    for token in (forge({"alg": algorithm}, CLAIMS, ISSUER.sign), forge({"alg": algorithm}, CLAIMS, lambda _: b"x")):
        with pytest.raises(Refused, match=r"signed with|algorithm"):
            choria.verify(token, issuers=[ISSUER.public], now=1767225600)


@pytest.mark.parametrize(
    "claims",
    [
        {**CLAIMS, "purpose": "choria_server"}, {**CLAIMS, "sub": ""}, {**CLAIMS, "tcs": "abcd"}, {**CLAIMS, "exp": 0},
        {**CLAIMS, "jti": ""}, {**CLAIMS, "exp": 10**30}, {**CLAIMS, "exp": "2030"}, {**CLAIMS, "extensions": []},
        {**CLAIMS, "chs": "false"}, b"[]", b"\xff", DEEP[:150_000], HUGE,
    ],
)  # fmt: skip
def test_claims_that_make_no_sense_are_one_sentence(claims: object) -> None:
    with pytest.raises(Refused) as refused:
        verified(claims)
    assert refused.value.sentence.count(".") >= 1
    assert len(refused.value.sentence) < 300


def test_early_tokens_without_purpose_are_known_by_their_subject() -> None:
    assert verified({name: value for name, value in CLAIMS.items() if name != "purpose"}).id


def test_secrets_stay_out_of_pictures() -> None:
    key = SigningKey.generate()
    assert key.seed not in f"{key!r} {key} {vars(key)!r}"
    shown = repr(Provisioning(("nats://a",), secret="hidden", password="hidden"))
    assert "hidden" not in shown
    with pytest.raises(Refused) as refused:
        SigningKey.from_seed(key.seed[:-1])
    assert key.seed[:8] not in refused.value.sentence


def test_seeds_are_chorias() -> None:
    """RFC 8032, test 1, in the form of Choria's files."""
    key = SigningKey.from_seed("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60\n")
    assert key.public == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    ed25519.verify(key.public.upper(), b"m", key.sign(b"m"))


def test_ksuids_are_those_of_the_reference() -> None:
    random = bytes.fromhex("B5A1CD34B5F99D1154FB6853345C9735")
    assert ksuid(1_400_000_000 + 107608047, random) == "0ujtsYcgvSTl8PAuAdqWYSMnLOv"
    assert time_of("0ujtsYcgvSTl8PAuAdqWYSMnLOv") == 1_507_608_047
    for wrong in ("", "z" * 27, "0ujtsYcgvSTl8PAuAdqWYSMnLO!", "0" * 26):
        assert time_of(wrong) is None


@FUZZ
@given(*DAMAGES)
def test_one_damaged_character_is_noticed(what: int, where: int, character: str) -> None:
    changed = damage(TOKEN, what, where, character)
    if changed.strip() != TOKEN:
        with pytest.raises(Refused):
            choria.verify(changed, issuers=[ISSUER.public], now=NOW)


@FUZZ
@given(st.text() | st.binary())
def test_no_input_crashes_the_readers(token: str | bytes) -> None:
    with pytest.raises(Refused):
        choria.read(token)


@FUZZ
@given(st.dictionaries(st.sampled_from([*CLAIMS, "chsrv", "tcs", "chusr"]), JSON))
def test_wild_claims_under_a_good_signature_are_read_or_refused(changes: dict[str, object]) -> None:
    try:
        read = verified({**CLAIMS, **changes})
    except Refused:
        return
    assert read.not_before <= 1767225600 < read.expires


@pytest.mark.skipif(shutil.which("choria") is None, reason="the program choria is not installed")
def test_a_token_of_the_program_choria_is_accepted(tmp_path: Path) -> None:
    subprocess.run(["choria", "jwt", "keys", "issuer.seed", "issuer.pub"], cwd=tmp_path, check=True)
    command = ["choria", "jwt", "prov", "provisioning.jwt", "issuer.seed", "--token", "s", "--urls", "nats://a:4222"]
    subprocess.run([*command, "--extensions", '{"customer":"acme"}'], cwd=tmp_path, check=True)
    issuer = (tmp_path / "issuer.pub").read_text().strip()
    token = (tmp_path / "provisioning.jwt").read_bytes()
    assert choria.verify(token, issuers=[issuer], now=time.time() + 1).extension("customer") == "acme"
