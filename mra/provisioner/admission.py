"""Who may open a connection to enrol, and what it may do there: ask on one subject, hear answers on one inbox. Pure.

The server asks for every connection without credentials (auth callout). Each connection proves a fresh key, and the
subjects that it gets carry that key: nobody else can ask in its place, or hear what it is told.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from mra.enrol.messages import LARGEST_REQUEST, REQUEST_SUBJECT, connection_id
from mra.errors import Refused
from mra.tokens import callout, claims, nats, nkey
from mra.tokens.claims import Permissions

if TYPE_CHECKING:
    from mra.provisioner.authority import Authority
    from mra.tokens.callout import Request

CONNECTION_SECONDS: Final = 300
NONCE_SECONDS: Final = 120
_SUBSCRIPTIONS = 4


def proven_connection(request: Request) -> str:
    """The id of a connection whose key has signed the server's nonce. Raises Refused."""
    connection = connection_id(request.nkey)
    try:
        # nats-server takes both alphabets, padded or not.
        text = request.signature.translate(str.maketrans("-_", "+/")).rstrip("=")
        signature = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Refused("The signature of the server's nonce is no base64.") from None
    if not request.nonce:
        raise Refused("The connection signed no nonce of the server.")
    nkey.verify(connection, request.nonce.encode(), signature)
    return connection


def admit(request: Request, connection: str, authority: Authority, now: float) -> str:
    """The response that lets a proven connection in."""
    permissions = Permissions(publish=[f"{REQUEST_SUBJECT}.{connection}"], subscribe=[f"_INBOX.{connection}.>"])
    user = claims.user(
        connection,
        request.user,
        permissions,
        account=authority.account,
        subscriptions=_SUBSCRIPTIONS,
        payload=LARGEST_REQUEST,
        expires=int(now) + CONNECTION_SECONDS,
    )
    token = nats.encode(user, authority.callout, now)
    return nats.encode(callout.accept(request, token, account=authority.account), authority.callout, now)


def turn_away(request: Request, reason: str, authority: Authority, now: float) -> str:
    """The response that keeps a connection out; the reason goes into the server's log, not to the client."""
    return nats.encode(callout.refuse(request, reason, account=authority.account), authority.callout, now)


def reply_subject(connection: str, wanted: str) -> str:
    """Where an answer goes. Permissions do not cover reply subjects, so the own inbox is demanded here.

    Raises Refused for any other, lest a node has the service talk to its neighbours.
    """
    prefix = f"_INBOX.{connection}."
    if not wanted.startswith(prefix) or any(character in wanted for character in "*> \t\r\n"):
        raise Refused("The request wants its answer sent to a subject that is not its own.")
    return wanted


def make_nonce(secret: bytes, connection: str, now: float) -> str:
    """A challenge for one connection and the next two minutes; nothing has to be remembered."""
    until = int(now) + NONCE_SECONDS
    return f"{until}.{_mac(secret, connection, until)}"


def check_nonce(secret: bytes, connection: str, nonce: str, now: float) -> None:
    """Raises Refused for a nonce that was not made for this connection, or too long ago."""
    until, _, mac = nonce.partition(".")
    if not (until.isascii() and until.isdecimal() and len(until) < 12):
        raise Refused("The nonce is none that was given out here: ask for another.")
    if not hmac.compare_digest(mac.encode(), _mac(secret, connection, int(until)).encode()):
        raise Refused("The nonce is none that was given out for this connection: ask for another.")
    if not now < int(until) <= now + 2 * NONCE_SECONDS:
        raise Refused("The nonce is too old: ask for another.")


def _mac(secret: bytes, connection: str, until: int) -> str:
    return hmac.new(secret, f"{connection}.{until}".encode(), hashlib.sha256).hexdigest()
