"""The auth callout's tokens: a request is read as the server wrote it, an answer is for that one connection."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import Refused
from mra.tokens import callout, claims, nats
from mra.tokens.nats import Claims, Type
from mra.tokens.nkey import KeyPair, Kind
from tests.tokens.forge import FUZZ, JSON

NOW = 1_800_000_000
SERVER = KeyPair(Kind.SERVER, b"n" * 32)
ACCOUNT = KeyPair(Kind.ACCOUNT, b"a" * 32)
USER = KeyPair(Kind.USER, b"u" * 32)
ASKED: dict[str, Any] = {
    "server_id": {"name": "saas", "host": "127.0.0.1", "id": SERVER.public, "version": "2.15.1"},
    "user_nkey": USER.public,
    "client_info": {"host": "127.0.0.1", "id": 7, "kind": "Client", "type": "nats", "nonce": "abc"},
    "connect_opts": {"auth_token": "secret token", "name": "n1", "protocol": 1},
}


def request(asked: dict[str, Any], **changes: Any) -> str:
    plain = Claims(Type.AUTHORIZATION_REQUEST, USER.public, asked, audience=callout.AUDIENCE, expires=NOW + 2)
    fields = {**{name: getattr(plain, name) for name in ("type", "subject", "nats", "audience", "expires")}, **changes}
    return nats.encode(Claims(**fields), SERVER, NOW)


def test_a_request_is_read_and_its_secrets_stay_out_of_its_picture() -> None:
    asked = callout.read_request(request(ASKED), NOW)
    assert (asked.server, asked.user, asked.auth_token, asked.nonce) == (
        SERVER.public, USER.public, "secret token", "abc",
    )  # fmt: skip
    assert "secret" not in f"{asked}{asked!r}"


@pytest.mark.parametrize(
    "token",
    [
        request(ASKED, audience="somebody"),
        request(ASKED, expires=NOW),
        request({**ASKED, "server_id": {"id": KeyPair.generate(Kind.SERVER).public}}),
        request({**ASKED, "user_nkey": ACCOUNT.public}),
        nats.encode(Claims(Type.USER, USER.public, ASKED, audience=callout.AUDIENCE), ACCOUNT, NOW),
    ],
    ids=["audience", "expired", "another server's", "not about a user", "another type"],
)
def test_what_is_no_request_of_the_signing_server_is_refused(token: str) -> None:
    with pytest.raises(Refused):
        callout.read_request(token, NOW)


@FUZZ
@given(st.dictionaries(st.sampled_from(sorted(ASKED)), JSON))
def test_no_request_crashes_the_reader(changes: dict[str, Any]) -> None:
    try:
        callout.read_request(request({**ASKED, **changes}), NOW)
    except Refused:
        return
    assert set(changes) <= {"client_info", "connect_opts"}  # objects of which every field may be missing


def test_an_answer_is_for_the_connection_and_the_server_that_asked() -> None:
    asked = callout.read_request(request(ASKED), NOW)
    token = nats.encode(claims.user("n1", asked.user), ACCOUNT, NOW)
    for answer in (callout.accept(asked, token), callout.refuse(asked, "expired")):
        read = nats.decode(nats.encode(answer, ACCOUNT, NOW))
        assert (read.type, read.subject, read.audience) == (Type.AUTHORIZATION_RESPONSE, USER.public, SERVER.public)
    assert callout.accept(asked, token, account=ACCOUNT.public).nats["issuer_account"] == ACCOUNT.public
