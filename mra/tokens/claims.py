"""What stands in the claims of operators, accounts and users, by the rules of nats-server.

In account limits a number left out means 0, so all are spelled out; in a user under a scoped signing key any permission
or limit of its own makes the server refuse the connection, so there all are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from mra.tokens.nats import Claims, Type

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

UNLIMITED = -1


class Limits(msgspec.Struct, frozen=True):
    """What one account may use; -1 is without bound, 0 nothing at all.

    Attributes:
        connections: clients at once.
        subscriptions: of one client.
        data: bytes; a number for other tools, as nats-server 2.15 does not count them.
        payload: largest message in bytes.
        rows: messages kept for it at a time. No server knows this limit: whoever watches the streams does.
        jetstream: whether the account may own streams.
        bearer: whether users may connect without proving their key.
    """

    connections: int = UNLIMITED
    subscriptions: int = UNLIMITED
    data: int = UNLIMITED
    payload: int = UNLIMITED
    rows: int = UNLIMITED
    jetstream: bool = False
    bearer: bool = False

    def document(self) -> dict[str, Any]:
        """As account claims hold it."""
        limits: dict[str, Any] = {
            "conn": self.connections, "subs": self.subscriptions, "data": self.data, "payload": self.payload,
            "imports": UNLIMITED, "exports": UNLIMITED, "wildcards": True, "leaf": 0,
            "disallow_bearer": not self.bearer,
        }  # fmt: skip
        if self.jetstream:
            limits |= dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), UNLIMITED)
        return limits


@dataclass(frozen=True)
class Permissions:
    """Subjects that a user may publish and subscribe to; an empty list of what is allowed allows everything."""

    publish: Sequence[str] = ()
    subscribe: Sequence[str] = ()
    publish_not: Sequence[str] = ()
    subscribe_not: Sequence[str] = ()
    replies: int = 0  # how many answers it may publish to the reply subject of a message that it received

    def document(self) -> dict[str, Any]:
        """As user claims and templates hold it."""
        found: dict[str, Any] = {
            "pub": _without_empty({"allow": list(self.publish), "deny": list(self.publish_not)}),
            "sub": _without_empty({"allow": list(self.subscribe), "deny": list(self.subscribe_not)}),
        }
        if self.replies:
            found["resp"] = {"max": self.replies, "ttl": 0}
        return found


def operator(name: str, public: str, *, signing_keys: Sequence[str], system_account: str) -> Claims:
    """Claims of an operator; sign them with its own key, which is needed for nothing else.

    Strict: accounts are signed by `signing_keys` only, and users by signing keys of their accounts only.
    """
    nats = {"signing_keys": list(signing_keys), "system_account": system_account, "strict_signing_key_usage": True}
    return Claims(Type.OPERATOR, public, nats, name)


def account(
    name: str,
    public: str,
    *,
    limits: Limits,
    imports: Sequence[Mapping[str, Any]] = (),
    exports: Sequence[Mapping[str, Any]] = (),
    signing_keys: Sequence[str | Mapping[str, Any]] = (),
    revocations: Mapping[str, int] | None = None,
    callout_users: Collection[str] = (),
) -> Claims:
    """Claims of an account; sign them with a signing key of the operator.

    Args:
        signing_keys: public keys, or scopes made by `scope`.
        revocations: user's public key -> second; what was issued to it up to then is refused. Key `*` means every user.
        callout_users: users that skip the auth callout because they answer it; with any, all others go through it.
    """
    nats: dict[str, Any] = {
        "limits": limits.document(),
        "default_permissions": {"pub": {}, "sub": {}},
        "imports": [dict(one) for one in imports],
        "exports": [dict(one) for one in exports],
        "signing_keys": list(signing_keys),
        "revocations": dict(revocations or {}),
    }
    if callout_users:
        nats["authorization"] = {"auth_users": sorted(callout_users)}
    return Claims(Type.ACCOUNT, public, _without_empty(nats), name)


def scope(key: str, role: str, permissions: Permissions, *, subscriptions: int, payload: int) -> dict[str, Any]:
    """A signing key of an account whose users all have these permissions, now and after every change of the account."""
    template = {**permissions.document(), "subs": subscriptions, "data": UNLIMITED, "payload": payload}
    return {"kind": "user_scope", "key": key, "role": role, "template": template}


def scoped_user(name: str, public: str, *, account: str, expires: int | None = None) -> Claims:
    """A user under a scope; sign it with the scope's key. `account` is the public key of the account itself."""
    return Claims(Type.USER, public, {"issuer_account": account}, name, expires)


def user(
    name: str,
    public: str,
    permissions: Permissions | None = None,
    *,
    account: str = "",
    subscriptions: int = UNLIMITED,
    payload: int = UNLIMITED,
    expires: int | None = None,
    audience: str = "",
    bearer: bool = False,
) -> Claims:
    """A user with permissions of its own; sign it with the account's key, or with an unscoped signing key of `account`.

    `audience` names the account that a user handed out by an auth callout in configuration mode is placed in.
    A `bearer` need not prove its key.
    """
    nats: dict[str, Any] = {
        **(permissions or Permissions()).document(),
        "subs": subscriptions, "data": UNLIMITED, "payload": payload,
    }  # fmt: skip
    if account:
        nats["issuer_account"] = account
    if bearer:
        nats["bearer_token"] = True
    return Claims(Type.USER, public, nats, name, expires, audience=audience)


def deletion(operator: str, accounts: Sequence[str]) -> Claims:
    """The body of a `$SYS.REQ.CLAIMS.DELETE`; sign it with the operator's key."""
    return Claims(Type.GENERIC, operator, {"accounts": list(accounts)})


def activation(subject: str, kind: str, *, account: str) -> Claims:
    """Permission for `account` to import `subject` (a `service` or `stream`); sign it with the exporting account."""
    return Claims(Type.ACTIVATION, account, {"subject": subject, "kind": kind})


def _without_empty(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value not in ([], {})}
