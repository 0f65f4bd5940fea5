"""Credentials files: read as NATS's own tools write them, and never a traceback or a secret for anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import Refused
from mra.tokens import claims, creds, nats
from mra.tokens.nkey import KeyPair, Kind
from tests.tokens.forge import DAMAGES, FUZZ, damage

ACCOUNT = KeyPair(Kind.ACCOUNT, b"a" * 32)
USER = KeyPair(Kind.USER, b"u" * 32)
TOKEN = nats.encode(claims.user("n1", USER.public), ACCOUNT, 1_800_000_000)
TEXT = creds.compose(TOKEN, USER)


def test_what_was_composed_is_parsed_again() -> None:
    found = creds.parse(TEXT)
    assert (found.token, found.key.public) == (TOKEN, USER.public)


def test_files_of_other_tools_are_read_with_their_line_ends_and_dashes() -> None:
    text = TEXT.replace("\n", "\r\n").replace("------END", "-----END")
    assert creds.parse(text).token == TOKEN


@pytest.mark.parametrize("kind", [Kind.ACCOUNT, Kind.OPERATOR])
def test_another_kinds_seed_is_refused(kind: Kind) -> None:
    other = KeyPair(kind, b"k" * 32)
    with pytest.raises(Refused, match="not of a user") as refused:
        creds.parse(creds.compose(TOKEN, other))
    assert other.seed not in refused.value.sentence


@FUZZ
@given(*DAMAGES)
def test_a_damaged_file_is_read_or_refused_without_telling_the_seed(what: int, where: int, character: str) -> None:
    said = ""
    try:
        assert creds.parse(damage(TEXT, what, where, character)).key.public == USER.public
    except Refused as refused:
        said = refused.sentence
    assert USER.seed[4:20] not in said


@FUZZ
@given(st.text())
def test_no_text_crashes_the_reader(text: str) -> None:
    with pytest.raises(Refused, match="no NATS credentials file"):
        creds.parse(text)


def test_a_text_without_end_is_refused_at_once() -> None:
    with pytest.raises(Refused):
        creds.parse("-----BEGIN NATS USER JWT-----\n" * 100_000)
