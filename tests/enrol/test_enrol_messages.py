"""The messages of an enrolment: believed when they are whole, and refused in one sentence when they are not."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.enrol import messages
from mra.enrol.names import check_identity, safe_name
from mra.enrol.sealing import Reader, seal
from mra.enrol.shapes import Answer, Challenge, Grant, Request, Statement
from mra.errors import BadInput, Refused
from mra.tokens.ed25519 import SigningKey
from mra.tokens.nkey import KeyPair, Kind

IDENTITY, ISSUER, STRANGER = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
USER, CONNECTION = (KeyPair(Kind.USER, bytes([number]) * 32) for number in (4, 5))
GRANT = Grant("acme", "A", "n1", "n1", "tools", "s", "n", ("nats://saas:4222",), {}, 1, 2)


def statement(**changes) -> Statement:
    plain = {
        "nonce": "1.x",
        "connection": CONNECTION.public,
        "credential": "token-1",
        "request": "0" * 32,
        "identity": "n1.acme.example",
        "public_key": IDENTITY.public,
        "public_nkey": USER.public,
        "reader": Reader().public,
    }
    return Statement(**(plain | changes))


def request(said: Statement, **changes) -> Request:
    body = messages.make_request(said, "the.token.text", IDENTITY, USER)
    found = messages.read_ask(json.dumps(json.loads(body) | changes).encode())
    assert isinstance(found, Request)
    return found


def test_a_statement_comes_through_as_it_was_made():
    said = statement(facts={"host": {"cpus": 2}})
    assert messages.read_statement(request(said)) == said


def test_a_challenge_is_told_from_a_request():
    assert messages.read_ask(messages.ask_challenge()) == Challenge()


@pytest.mark.parametrize("signature", ["by_identity", "by_user"])
def test_a_statement_without_the_signature_of_a_key_that_it_names_is_refused(signature):
    forged = STRANGER.sign(b"something").hex()
    with pytest.raises(Refused, match="signature"):
        messages.read_statement(request(statement(), **{signature: forged}))


def test_a_previous_key_is_named_by_its_owner_only():
    claimed = statement(previous=STRANGER.public)
    with pytest.raises(Refused, match="signature"):
        messages.read_statement(request(claimed, by_previous=IDENTITY.sign(b"").hex()))
    body = messages.make_request(claimed, "t", IDENTITY, USER, STRANGER)
    asked = messages.read_ask(body)
    assert isinstance(asked, Request)
    assert messages.read_statement(asked).previous == STRANGER.public


def test_a_changed_statement_is_refused():
    said = statement()
    other = base64.b64encode(msgspec.json.encode(statement(identity="n2"))).decode()
    with pytest.raises(Refused, match="signature"):
        messages.read_statement(request(said, statement=other))


def test_the_token_does_not_show_in_a_request_that_is_printed():
    assert "the.token" not in repr(request(statement()))


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_can_do_more_than_be_refused(body):
    for read in (
        messages.read_ask,
        messages.read_nonce,
        lambda text: messages.open_answer(text, Reader(), statement()),
    ):
        with pytest.raises(Refused):
            read(body)


@given(
    st.dictionaries(
        st.sampled_from(["ask", "credential", "statement", "by_identity", "by_user", "by_previous"]),
        st.none() | st.integers() | st.text(max_size=200) | st.sampled_from(["enrol", "a" * 128, "e30="]),
    )
)
def test_no_document_in_the_place_of_a_request_proves_anything(document):
    def prove() -> object:
        asked = messages.read_ask(json.dumps(document).encode())
        assert isinstance(asked, Request)
        return messages.read_statement(asked)

    with pytest.raises(Refused):
        prove()


def test_a_deeply_nested_request_is_refused():
    with pytest.raises(Refused):
        messages.read_ask(b'{"ask":' + b"[" * 50_000)


def test_an_answer_reaches_the_one_who_asked_and_tells_who_signed_it():
    reader = Reader()
    said = statement(reader=reader.public)
    answer = Answer(said.request, said.connection, "enrolled", grant=GRANT)
    assert messages.open_answer(messages.seal_answer(answer, reader.public, ISSUER), reader, said) == (
        answer,
        ISSUER.public,
    )


def test_another_node_cannot_open_an_answer():
    reader = Reader()
    said = statement(reader=reader.public)
    box = messages.seal_answer(Answer(said.request, said.connection, "refused"), reader.public, ISSUER)
    with pytest.raises(Refused, match="cannot be opened"):
        messages.open_answer(box, Reader(), said)
    assert b"refused" not in box


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [({"request": "1" * 32}, "another request"), ({"connection": "other"}, "cannot be opened")],
)
def test_an_answer_to_something_else_is_refused(changes, complaint):
    reader = Reader()
    said = statement(reader=reader.public)
    fields = {"request": said.request, "connection": said.connection} | changes
    box = messages.seal_answer(Answer(**fields, outcome="deferred"), reader.public, ISSUER)
    with pytest.raises(Refused, match=complaint):
        messages.open_answer(box, reader, said)


def test_an_answer_that_grants_nothing_although_it_says_so_is_refused():
    reader = Reader()
    said = statement(reader=reader.public)
    box = messages.seal_answer(Answer(said.request, said.connection, "enrolled"), reader.public, ISSUER)
    with pytest.raises(Refused, match="contradicts"):
        messages.open_answer(box, reader, said)


def test_what_the_provisioner_says_in_the_clear_is_one_line():
    with pytest.raises(Refused, match=r"^two lines$"):
        messages.open_answer(messages.tell_error("two\n\x1b\nlines"), Reader(), statement())


@given(st.binary(max_size=200), st.integers(0, 199), st.integers(1, 255))
def test_a_box_with_one_changed_byte_cannot_be_opened(content, at, change):
    reader = Reader()
    box = bytearray(seal(reader.public, content, b"here"))
    box[at % len(box)] ^= change
    with pytest.raises(Refused):
        reader.open(bytes(box), b"here")


@pytest.mark.parametrize("key", ["", "zz", "00" * 32, "ff" * 31])
def test_nothing_is_sealed_for_a_key_that_is_none(key):
    with pytest.raises(Refused):
        seal(key, b"secret", b"")


@pytest.mark.parametrize("identity", ["n1", "n1.acme.example", "N_1-a", "a" * 255])
def test_a_node_may_be_called_as_hosts_are(identity):
    assert check_identity(identity) == identity


@pytest.mark.parametrize("identity", ["", ".", "a.", ".a", "a..b", "a b", "a*", ">", "ä", "a\n", "a" * 256, "$SYS"])
def test_other_names_are_refused(identity):
    with pytest.raises(BadInput):
        check_identity(identity)


def test_a_name_that_fits_a_subject_stays_and_others_do_not_meet():
    assert safe_name("n1_a-b") == "n1_a-b"
    names = {safe_name(identity) for identity in ("a.b", "a-b", "a.b.c", "a-b.c", "a" * 64, "a" * 65, "a" * 66)}
    assert len(names) == 7
    assert all(len(name) <= 64 and "." not in name for name in names)
