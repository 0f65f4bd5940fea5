"""The auth callout of nats-server (ADR-26): one request token in, one response token out.

For every connection to an account with callout users the server makes a fresh user key and asks on
`$SYS.REQ.USER.AUTH` who this is. The response names that key; the user claims inside give it its permissions.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from mra.errors import Refused
from mra.tokens import compact, nats, nkey
from mra.tokens.nats import Claims, Type
from mra.tokens.nkey import Kind

SUBJECT = "$SYS.REQ.USER.AUTH"
AUDIENCE = "nats-authorization-request"


class Request(NamedTuple):
    """Who connects, as the server and the client say.

    Attributes:
        server: public key of the asking server; the response is for it alone.
        user: public key that the server made for this connection; the user claims must be about it.
        host: address of the client, by the server.
        auth_token: what the client gave as token; a secret, like the next two.
        jwt, signature, nkey: what the client gave for proof of possession; the server has not checked them.
        nonce: what `signature` would be over.
    """

    server: str
    user: str
    host: str
    client_id: int
    auth_token: str
    jwt: str
    signature: str
    nkey: str
    nonce: str
    username: str
    password: str
    name: str

    def __repr__(self) -> str:
        return f"Request(user={self.user}, host={self.host})"


class _Server(msgspec.Struct):
    id: str


class _Client(msgspec.Struct):
    host: str = ""
    id: int = 0
    nonce: str = ""


class _Options(msgspec.Struct):
    auth_token: str = ""
    jwt: str = ""
    sig: str = ""
    nkey: str = ""
    user: str = ""
    password: str = msgspec.field(default="", name="pass")
    name: str = ""


class _Asked(msgspec.Struct):
    server_id: _Server
    user_nkey: str
    client_info: _Client
    connect_opts: _Options


def read_request(token: str | bytes, now: float) -> Request:
    """The request in a message that only the server can have sent. Raises Refused.

    Any server's key may have signed it: what proves the origin is that nobody else may publish on `SUBJECT` inside the
    account.
    """
    claims = nats.decode(token)
    if claims.type is not Type.AUTHORIZATION_REQUEST or claims.audience != AUDIENCE:
        raise Refused(f"This NATS token holds {claims.type.value} claims instead of an authorization request.")
    compact.check_window("authorization request", now, not_before=claims.not_before, expires=claims.expires)
    asked = compact.read(claims.nats, _Asked, "authorization request")
    if asked.server_id.id != claims.issuer:
        raise Refused(f"This authorization request names a server other than {claims.issuer}, which signed it.")
    nkey.check_public(asked.user_nkey, Kind.USER)
    client, options = asked.client_info, asked.connect_opts
    return Request(
        asked.server_id.id, asked.user_nkey, client.host, client.id, options.auth_token, options.jwt, options.sig,
        options.nkey, client.nonce, options.user, options.password, options.name,
    )  # fmt: skip


def accept(request: Request, user_token: str, *, account: str = "") -> Claims:
    """Let the connection in as `user_token`, whose subject is `request.user`; sign with the callout's account."""
    return _response(request, {"jwt": user_token}, account)


def refuse(request: Request, reason: str, *, account: str = "") -> Claims:
    """Turn the connection away. The server logs `reason`; the client hears only "authorization violation"."""
    return _response(request, {"error": reason}, account)


def _response(request: Request, answer: dict[str, str], account: str) -> Claims:
    if account:  # the account itself, where one of its signing keys signs
        answer = {**answer, "issuer_account": account}
    return Claims(Type.AUTHORIZATION_RESPONSE, request.user, answer, audience=request.server)
