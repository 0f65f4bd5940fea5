"""The four messages of an enrolment, and what makes each of them believable. Pure.

Whatever comes from outside is read by one of the `read_` functions, which raise one `Refused` sentence for anything
that does not fit, whatever the bytes are.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, TypeVar

import msgspec

from mra.enrol.names import check_identity
from mra.enrol.sealing import Reader, seal
from mra.enrol.shapes import Answer, Challenge, Request, Signature, Statement
from mra.errors import Refused
from mra.tokens import ed25519, nkey
from mra.tokens.nkey import Kind

if TYPE_CHECKING:
    from mra.tokens.ed25519 import SigningKey
    from mra.tokens.nkey import KeyPair

M = TypeVar("M")
LARGEST_REQUEST = 256 * 1024
REQUEST_SUBJECT = "mra.enrol"  # followed by the connection's id
_STATEMENT = b"mra enrolment statement v1\n"  # a signature for one purpose is no signature for another
_ANSWER = b"mra enrolment answer v1\n"
_SEALED = b"\x01"  # tells a box from JSON


class _Signed(msgspec.Struct, frozen=True):
    answer: str
    signer: str
    signature: Signature


class _Said(msgspec.Struct):
    nonce: str = ""
    error: str = ""


def connection_id(public_nkey: str) -> str:
    """The id of the connection that the owner of a key has proven to be on: the key itself.

    Raises Refused for a key that is not a user's.
    """
    return nkey.check_public(public_nkey, Kind.USER)


def ask_challenge() -> bytes:
    """The first message: node to provisioner."""
    return msgspec.json.encode(Challenge())


def tell_nonce(nonce: str) -> bytes:
    """The second: its answer."""
    return msgspec.json.encode({"nonce": nonce})


def tell_error(sentence: str) -> bytes:
    """Instead of an answer, to a message that names nobody whom it could be sealed for."""
    return msgspec.json.encode({"error": sentence[:1000]})


def read_nonce(body: bytes) -> str:
    """Raises Refused with what the provisioner said instead."""
    said = _decode(body, _Said, "answer")
    if said.error or not said.nonce:
        raise Refused(_one_line(said.error) or "The provisioner gave no nonce: it speaks another protocol.")
    return said.nonce


def make_request(
    statement: Statement, credential: str, identity: SigningKey, user: KeyPair, previous: SigningKey | None = None
) -> bytes:
    """The third: the node's statement under all its signatures."""
    text = base64.b64encode(msgspec.json.encode(statement)).decode()
    signed = _STATEMENT + text.encode()
    return msgspec.json.encode(
        Request(
            credential,
            text,
            identity.sign(signed).hex(),
            user.sign(signed).hex(),
            previous.sign(signed).hex() if previous else "",
        )
    )


def read_ask(body: bytes) -> Challenge | Request:
    """What a node asks. Nothing about it is proven yet. Raises Refused."""
    if len(body) > LARGEST_REQUEST:
        raise Refused(f"The request is longer than {LARGEST_REQUEST} bytes: send fewer facts.")
    return _decode(body, Challenge | Request, "request")  # type: ignore[arg-type]


def read_statement(request: Request) -> Statement:
    """The statement, proven to be made by the owners of every key that it names. Raises Refused."""
    statement = _decode(_unbase64(request.statement), Statement, "statement")
    check_identity(statement.identity)
    for user in (statement.public_nkey, *([statement.bus_user] if statement.bus_user else [])):
        nkey.check_public(user, Kind.USER)
    signed = _STATEMENT + request.statement.encode()
    ed25519.verify(statement.public_key, signed, bytes.fromhex(request.by_identity))
    nkey.verify(statement.public_nkey, signed, bytes.fromhex(request.by_user))
    if statement.previous:
        ed25519.verify(statement.previous, signed, bytes.fromhex(request.by_previous))
    return statement


def seal_answer(answer: Answer, reader: str, issuer: SigningKey) -> bytes:
    """The fourth: signed by the issuer, and sealed for the one reader and connection."""
    text = base64.b64encode(msgspec.json.encode(answer)).decode()
    signed = _Signed(text, issuer.public, issuer.sign(_ANSWER + text.encode()).hex())
    return _SEALED + seal(reader, msgspec.json.encode(signed), answer.connection.encode())


def open_answer(box: bytes, reader: Reader, statement: Statement) -> tuple[Answer, str]:
    """The answer to `statement`, and the hex key that signed it: whether that is the SaaS is yours to judge.

    Raises Refused for anything but a whole answer to this very statement.
    """
    if not box.startswith(_SEALED):
        raise Refused(_one_line(_decode(box, _Said, "answer").error) or "The provisioner gave an empty answer.")
    signed = _decode(reader.open(box[1:], statement.connection.encode()), _Signed, "answer")
    ed25519.verify(signed.signer, _ANSWER + signed.answer.encode(), bytes.fromhex(signed.signature))
    answer = _decode(_unbase64(signed.answer), Answer, "answer")
    if (answer.request, answer.connection) != (statement.request, statement.connection):
        raise Refused("The provisioner answered another request: ask again.")
    if (answer.outcome == "enrolled") != (answer.grant is not None):
        raise Refused("The provisioner's answer contradicts itself: ask the SaaS.")
    return answer, ed25519.check_public(signed.signer)


def _decode(body: bytes, type_: type[M], what: str) -> M:
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        detail = re.sub(r"\s+", " ", str(error))[:200]
        raise Refused(f"This {what} is none that is understood here ({detail}).") from None


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused("A part of the message is no base64.") from None


def _one_line(text: str) -> str:
    return re.sub(r"[^\x20-\x7e\u00a0-\uffff]+", " ", text)[:1000].strip()
