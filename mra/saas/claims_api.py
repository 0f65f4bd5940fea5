"""Making a running server follow: accounts are pushed, removed and listed through SYS.

A server takes any well-formed claims and stores them over the good ones, even when they are signed by a stranger, and
then loses the account at its next start. So what is pushed is verified here first.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from mra.errors import Refused, Unavailable
from mra.tokens import claims, nats
from mra.tokens.compact import LARGEST
from mra.tokens.nats import Type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mra.aio.session import Session
    from mra.tokens.nats import Claims
    from mra.tokens.nkey import KeyPair

_PATIENCE = 10.0
_ACCOUNTS_SHOWN = 100_000


async def push(session: Session, account: Claims, signer: KeyPair, now: float) -> None:
    """Make an account be as its claims say, at once and across restarts.

    Users that the claims revoke, and connections above the limit, are cut. Raises Refused when the server does not
    take them, Unavailable without SYS credentials, LinkLost when the outcome is unclear; pushing again is harmless.
    """
    token = nats.encode(account, signer, now)
    if len(token) > (most := min(session.max_payload, LARGEST)):
        raise Refused(
            f"The claims of {account.name} have {len(token)} bytes of at most {most}: allow nodes that were denied so "
            "long ago that their tokens have expired."
        )
    nats.verify(token, Type.ACCOUNT, issuers=[signer.public], now=now)
    await _ask(session, "UPDATE", token.encode())


async def delete(session: Session, accounts: Sequence[str], signer: KeyPair, now: float) -> None:
    """Make accounts be gone, and cut their connections. Raises like `push`; deleting what is gone is harmless."""
    if not accounts:
        return
    known = set(await listed(session))
    gone = [account for account in accounts if account in known]
    if gone:
        token = nats.encode(claims.deletion(signer.public, gone), signer, now)
        await _ask(session, "DELETE", token.encode())


async def listed(session: Session) -> list[str]:
    """Public keys of all accounts that the server keeps. Raises like `push`."""
    found = await _ask(session, "LIST", b"")
    return [str(account) for account in found][:_ACCOUNTS_SHOWN] if isinstance(found, list) else []


async def _ask(session: Session, verb: str, body: bytes) -> Any:
    answer = await session.request(f"$SYS.REQ.CLAIMS.{verb}", body, patience=_PATIENCE)
    if answer.status == "503":
        raise Unavailable("Nobody keeps accounts there: the server must run in operator mode, and the user be of SYS.")
    try:
        document = msgspec.json.decode(answer.body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Unavailable(f"The server answers {verb} of accounts with something else ({error}).") from error
    if "error" in document or "data" not in document:
        raise Refused(f"The server refuses {verb} of accounts: {json.dumps(document.get('error'))[:200]}.")
    return document["data"]
