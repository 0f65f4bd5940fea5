"""NATS keys: their text says what they are, and nothing but the right text is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import Refused
from mra.tokens import nkey
from mra.tokens.nkey import KeyPair, Kind
from tests.tokens.forge import FUZZ

SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")  # RFC 8032, test 1
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def test_the_checksum_is_xmodem() -> None:
    assert nkey.crc16(b"123456789") == 0x31C3  # the check value of its catalogue entry


@pytest.mark.parametrize(("kind", "letter"), [("OPERATOR", "O"), ("ACCOUNT", "A"), ("USER", "U"), ("SERVER", "N")])
def test_a_key_shows_its_kind_and_comes_back_from_its_seed(kind: str, letter: str) -> None:
    pair = KeyPair.generate(Kind[kind])
    assert (pair.public[0], pair.seed[:2], len(pair.public), len(pair.seed)) == (letter, f"S{letter}", 56, 58)
    again = KeyPair.from_seed(f" {pair.seed}\n")
    assert (again.public, again.kind) == (pair.public, Kind[kind])
    assert nkey.kind_of(pair.public) is Kind[kind]


def test_the_public_half_belongs_to_the_seed() -> None:
    import base64

    assert base64.b32decode(KeyPair(Kind.USER, SEED).public)[1:33] == PUBLIC


def test_only_the_owner_of_the_key_signs() -> None:
    pair, other = KeyPair.generate(Kind.USER), KeyPair.generate(Kind.USER)
    nkey.verify(pair.public, b"nonce", pair.sign(b"nonce"))
    for public, message, signature in (
        (other.public, b"nonce", pair.sign(b"nonce")),
        (pair.public, b"another", pair.sign(b"nonce")),
        (pair.public, b"nonce", b"short"),
    ):
        with pytest.raises(Refused, match="signature"):
            nkey.verify(public, message, signature)


def test_the_seed_is_shown_only_when_asked_for() -> None:
    pair = KeyPair.generate(Kind.USER)
    assert pair.seed not in f"{pair!r} {pair} {vars(pair)!r}"
    damaged = pair.seed[:-1]
    with pytest.raises(Refused) as refused:
        KeyPair.from_seed(damaged)
    assert damaged[4:] not in refused.value.sentence


@FUZZ
@given(st.text() | st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", min_size=50, max_size=60))
def test_no_text_crashes_the_readers(text: str) -> None:
    for read in (nkey.kind_of, KeyPair.from_seed):
        with pytest.raises(Refused):
            read(text)


@FUZZ
@given(st.integers(0, 57), st.characters())
def test_one_wrong_character_is_noticed(place: int, character: str) -> None:
    seed = KeyPair(Kind.ACCOUNT, SEED).seed
    changed = seed[:place] + character + seed[place + 1 :]
    if changed != seed:
        with pytest.raises(Refused):
            KeyPair.from_seed(changed)


def test_a_key_of_another_kind_or_of_no_known_one_is_refused() -> None:
    with pytest.raises(Refused, match="is the key of a user, not of an account"):
        nkey.check_public(KeyPair.generate(Kind.USER).public, Kind.ACCOUNT)
    with pytest.raises(Refused, match="does not start with S"):
        KeyPair.from_seed(nkey._encode(bytes(34)))
    with pytest.raises(Refused, match="kind"):
        nkey.kind_of(nkey._encode(bytes([2 << 3]) + bytes(32)))  # a cluster
