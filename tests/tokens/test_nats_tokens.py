"""NATS JWTs: what was signed is read, by the right key, of the right type, in time, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import Refused
from mra.tokens import claims, nats
from mra.tokens.nats import Claims, Type
from mra.tokens.nkey import KeyPair, Kind
from tests.tokens.forge import DAMAGES, DEEP, FUZZ, HUGE, JSON, damage, encode, forge

NOW = 1_800_000_000.5
OPERATOR = KeyPair(Kind.OPERATOR, b"o" * 32)
ACCOUNT = KeyPair(Kind.ACCOUNT, b"a" * 32)
USER = KeyPair(Kind.USER, b"u" * 32)
HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
TOKEN = nats.encode(claims.scoped_user("n1", USER.public, account=ACCOUNT.public, expires=1_900_000_000), ACCOUNT, NOW)


def body(**changes: object) -> dict[str, object]:
    plain = {"iat": 1, "iss": ACCOUNT.public, "sub": USER.public, "nats": {"type": "user", "version": 2}}
    return {**plain, **changes}


def test_what_was_signed_is_read_again() -> None:
    written = Claims(Type.ACCOUNT, ACCOUNT.public, {"limits": {"conn": 5}}, "acme", expires=1_900_000_000)
    read = nats.verify(nats.encode(written, OPERATOR, NOW), Type.ACCOUNT, issuers=[OPERATOR.public], now=NOW)
    assert read == replace(written, issuer=OPERATOR.public, issued_at=1_800_000_000, id=read.id)
    assert len(read.id) == 52


def test_only_the_expected_issuer_and_type_are_accepted() -> None:
    with pytest.raises(Refused, match="stranger"):
        nats.verify(TOKEN, Type.USER, issuers=[KeyPair.generate(Kind.ACCOUNT).public], now=NOW)
    with pytest.raises(Refused, match="user claims instead of account claims"):
        nats.verify(TOKEN, Type.ACCOUNT, issuers=[ACCOUNT.public], now=NOW)


def test_a_token_ends_on_its_second_and_begins_on_its_second() -> None:
    nats.verify(TOKEN, Type.USER, issuers=[ACCOUNT.public], now=1_899_999_999.9)
    with pytest.raises(Refused, match="expired"):
        nats.verify(TOKEN, Type.USER, issuers=[ACCOUNT.public], now=1_900_000_000)
    later = nats.encode(Claims(Type.USER, USER.public, not_before=int(NOW) + 1), ACCOUNT, NOW)
    with pytest.raises(Refused, match="not valid yet"):
        nats.verify(later, Type.USER, issuers=[ACCOUNT.public], now=NOW)


def test_a_scoped_user_has_no_permission_or_limit_of_its_own() -> None:
    assert nats.decode(TOKEN).nats == {"issuer_account": ACCOUNT.public}
    assert nats.decode(TOKEN).issuer_account == ACCOUNT.public


def test_account_limits_are_spelled_out() -> None:
    limits = claims.account("acme", ACCOUNT.public, limits=claims.Limits()).nats["limits"]
    assert {limits[name] for name in ("conn", "subs", "data", "payload", "imports", "exports")} == {-1}
    assert "streams" not in limits


@pytest.mark.parametrize("kind", [Kind.USER, Kind.SERVER, Kind.ACCOUNT])
def test_a_key_of_the_wrong_kind_cannot_sign_an_account(kind: Kind) -> None:
    pair = KeyPair.generate(kind)
    with pytest.raises(Refused, match="cannot sign"):
        nats.encode(Claims(Type.ACCOUNT, ACCOUNT.public), pair, NOW)
    forged = forge(HEADER, body(iss=pair.public, nats={"type": "account", "version": 2}), pair.sign)
    with pytest.raises(Refused, match="wrong kind"):
        nats.decode(forged)


@pytest.mark.parametrize(
    "header",
    [{"alg": "none"}, {"alg": "RS256"}, {"alg": "EdDSA"}, {"alg": "HS256"}, {"alg": None}, {"alg": ["ed25519"]}, {}],
)
def test_another_algorithm_is_refused_however_well_signed(header: dict[str, object]) -> None:
    with pytest.raises(Refused, match=r"signed with|algorithm"):
        nats.decode(forge(header, body(), ACCOUNT.sign))


@pytest.mark.parametrize(
    "claims_",
    [
        b"", b"null", b"[]", b"\xff\xfe", DEEP[:150_000], HUGE, b'{"exp":1e999}', b'{"iat":NaN}',
        body(exp=-1), body(exp=2**70), body(exp=1.5), body(exp="soon"), body(nats=None), body(nats={}), body(sub=3),
        body(nats={"type": "user", "version": 1}), body(nats={"type": ["user"], "version": 2}),
        body(iss="A" * 56), body(iss=""), {"nats": {"type": "user", "version": 2}},
    ],
)  # fmt: skip
def test_claims_that_make_no_sense_are_one_sentence(claims_: object) -> None:
    with pytest.raises(Refused) as refused:
        nats.decode(forge(HEADER, claims_, ACCOUNT.sign))
    assert refused.value.sentence.endswith(".")
    assert len(refused.value.sentence) < 300


def test_one_token_has_one_text_only() -> None:
    head, middle, signature = TOKEN.split(".")
    assert signature[-1] in "AQgw"  # 64 bytes leave four spare bits
    for text in (f"{TOKEN}=", f"{TOKEN}.", f"{head}.{middle}.{signature[:-1]}B", f"{head}.{middle} .{signature}"):
        with pytest.raises(Refused):
            nats.decode(text)


@FUZZ
@given(*DAMAGES)
def test_one_damaged_character_is_noticed(what: int, where: int, character: str) -> None:
    changed = damage(TOKEN, what, where, character)
    if changed.strip() != TOKEN:
        with pytest.raises(Refused):
            nats.decode(changed)


@FUZZ
@given(st.text() | st.binary())
def test_no_input_crashes_the_reader(token: str | bytes) -> None:
    with pytest.raises(Refused):
        nats.decode(token)


@FUZZ
@given(JSON, JSON)
def test_no_signed_content_crashes_the_reader(header: object, content: object) -> None:
    for token in (forge(header, content, ACCOUNT.sign), forge(HEADER, content, ACCOUNT.sign)):
        with pytest.raises(Refused):
            nats.decode(token)


@FUZZ
@given(st.dictionaries(st.sampled_from(["iat", "exp", "nbf", "name", "aud", "jti", "sub", "nats"]), JSON))
def test_wild_claims_under_a_good_signature_are_read_or_refused(changes: dict[str, object]) -> None:
    try:
        read = nats.decode(forge(HEADER, body(**changes), ACCOUNT.sign))
    except Refused:
        return
    assert read.type is Type.USER
    json.dumps(dict(read.nats))


def test_a_long_text_is_refused_before_it_is_read() -> None:
    with pytest.raises(Refused, match="longer"):
        nats.decode(encode(DEEP))
