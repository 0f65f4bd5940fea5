"""One attempt to enrol: connect, prove, ask, check the answer. It keeps nothing; `service` decides what follows."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from mra.aio.addresses import is_address
from mra.aio.session import Access, NoAnswer, frame, open_session
from mra.enrol import messages
from mra.enrol.messages import LARGEST_REQUEST, REQUEST_SUBJECT
from mra.enrol.sealing import Reader
from mra.enrol.shapes import Answer, Statement
from mra.errors import BadInput, LinkLost, Refused
from mra.tokens import choria, compact, ed25519
from mra.tokens.nkey import KeyPair, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mra.aio.session import Session
    from mra.enrol.keys import NodeKeys

# How long each message is waited for before it is sent again: the same question gets the same answer, and a service
# that was restarted has lost it. The SaaS's helper may take its time.
NONCE_SECONDS: Final = (2.0, 4.0)
ANSWER_SECONDS: Final = (5.0, 10.0, 15.0)


@dataclass(frozen=True)
class Credential:
    """What entitles a node to ask, and who may answer.

    Attributes:
        token: `provisioning.jwt`, or the `server.jwt` of an earlier enrolment.
        id: its `jti`.
        issuers: hex keys whose signature under an answer is believed. Empty: whoever signed the token.
        ca: PEM of who vouches for the server; empty for the system's authorities, or for none on plain connections.
        via: relays (host:port) for a node that cannot reach the server.
    """

    token: str = field(repr=False)
    id: str
    urls: tuple[str, ...]
    issuers: frozenset[str] = frozenset()
    ca: str = ""
    via: tuple[str, ...] = ()

    def believes(self, signer: str) -> bool:
        """Whether `signer` speaks for the SaaS that gave the token: a signature has one key only that it fits."""
        if self.issuers:
            return signer in self.issuers
        parts = compact.split(self.token, "token")
        try:
            ed25519.verify(signer, parts.signed, parts.signature)
        except Refused:
            return False
        return True


def credential_of(token: str, *, ca: str = "") -> Credential:
    """What a provisioning token says about where to go and whom to believe. Raises Refused, BadInput.

    The SaaS may name the key that answers in extension `issuer`, and its certificate authority in `ca`; a `ca` given
    here counts more. Extension `via` lists relays.
    """
    said = choria.read(token)
    if not said.urls:
        raise BadInput(
            "The provisioning token names an SRV domain, which is not looked up: ask for one with addresses."
        )
    pinned = said.extension("issuer")
    issuers = frozenset({ed25519.check_public(pinned)}) if pinned else frozenset()
    via = said.extensions.get("via")
    return Credential(token, said.id, said.urls, issuers, ca or said.extension("ca"), _relays(via))


def _relays(listed: object) -> tuple[str, ...]:
    found = listed if isinstance(listed, list) else []
    return tuple(relay for relay in found if isinstance(relay, str) and is_address(relay))


def tls_context(urls: tuple[str, ...], ca: str) -> ssl.SSLContext | None:
    """How connections to `urls` are protected: by the pinned authority, the system's for tls:// addresses, or not.

    Raises BadInput for a `ca` that is no PEM.
    """
    if not ca:
        return ssl.create_default_context() if any(url.startswith("tls://") for url in urls) else None
    try:
        return ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, ValueError) as error:
        raise BadInput(f"The pinned certificate authority is no PEM certificate ({error}): correct it.") from error


@dataclass(frozen=True)
class Asked:
    """What a node says of itself in a request."""

    identity: str
    request: str
    version: str
    facts: Mapping[str, Any]


async def ask(credential: Credential, keys: NodeKeys, asked: Asked) -> tuple[Answer, str]:
    """The SaaS's answer, proven, and the key that signed it. Takes part in no decision; cancelling changes nothing.

    Raises (in a group, like everything that leaves a session):
        LinkLost, Misconfigured: nobody answers, or the server does not let this token in.
        Refused: the answer is not believable, or the provisioner understands the question differently.
    """
    connection = KeyPair.generate(Kind.USER)
    access = Access(
        credential.urls,
        messages.connection_id(connection.public),
        tls=tls_context(credential.urls, credential.ca),
        token=lambda: credential.token,
        nkey=connection.public,
        via=credential.via,
        sign=connection.sign,
    )
    async with open_session(access) as session:
        return await _ask(session, access.name, credential, keys, asked)
    raise AssertionError("unreachable")


async def _ask(
    session: Session, connection: str, credential: Credential, keys: NodeKeys, asked: Asked
) -> tuple[Answer, str]:
    subject = f"{REQUEST_SUBJECT}.{connection}"
    first = await _insist(session, subject, messages.ask_challenge(), NONCE_SECONDS)
    reader = Reader()
    statement = Statement(
        nonce=messages.read_nonce(first),
        connection=connection,
        credential=credential.id,
        request=asked.request,
        identity=asked.identity,
        public_key=keys.identity.public,
        public_nkey=keys.user.public,
        reader=reader.public,
        previous=keys.previous.public if keys.previous else "",
        bus_user=keys.bus_user.public,
        bus_server=keys.bus_server.public,
        version=asked.version,
        facts=dict(asked.facts),
    )
    body = messages.make_request(_fitting(statement), credential.token, keys.identity, keys.user, keys.previous)
    second = await _insist(session, subject, body, ANSWER_SECONDS)
    answer, signer = messages.open_answer(second, reader, statement)
    if not credential.believes(signer):
        raise Refused(f"The answer is signed by {signer}, which is not the issuer of this node's token: ask the SaaS.")
    return answer, signer


async def _insist(session: Session, subject: str, body: bytes, patience: tuple[float, ...]) -> bytes:
    """The body of the first answer to as many questions as there are pauses. Raises LinkLost, Misconfigured."""
    with session.reply() as reply:
        reply.asks = subject
        for seconds in patience:
            await session.send(frame(subject, reply.subject, b"", body))
            until = trio.current_time() + seconds
            while (left := until - trio.current_time()) > 0:
                try:
                    answer = await reply.receive(left)
                except NoAnswer:
                    break
                if answer.status != "503":  # nobody listens: the service is being restarted
                    return answer.body
    raise LinkLost(f"The SaaS's provisioning service gave no answer within {sum(patience):g} s.")


def _fitting(statement: Statement) -> Statement:
    """The statement, without its facts when they would make it too long: enrolling matters more."""
    if len(msgspec.json.encode(statement)) < LARGEST_REQUEST // 2:
        return statement
    return msgspec.structs.replace(statement, facts={})
