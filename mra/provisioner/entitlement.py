"""What a node's token entitles it to ask for. Pure.

There are two kinds of token. A provisioning token is a bearer token for new nodes of one customer and role, within the
limits that its issuer wrote into its extensions:

    customer    who the node will belong to (required)
    account     the customer's public key: names of customers can be used again, and the token then counts no more
    role        handed to the helper and to the node
    site        the site that its nodes belong to, where the token is for one
    nodes       how many identities it may enrol; `single_use` is the same as 1
    identities  patterns such as "web-*", one of which an identity must match

A server token is what an earlier enrolment gave; it entitles the owner of its key to be enrolled again under the same
identity, also long after it has expired.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from mra.errors import Refused
from mra.tokens import choria, servers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mra.enrol.shapes import Statement


@dataclass(frozen=True)
class Entitlement:
    """What a token says, proven.

    Attributes:
        token_id: its `jti`.
        account: of the customer, where the token says so: a name can come to be another's.
        max_nodes: how many identities it may enrol; 0 for any number.
        identity, public_key: whom alone it serves; empty for a provisioning token.
        issued_at: second since 1970, of a server token.
        site: empty for nodes that the token puts into none.
        claims: for the helper, without secrets.
    """

    token_id: str
    customer: str
    role: str
    account: str = ""
    max_nodes: int = 0
    identities: tuple[str, ...] = ()
    identity: str = ""
    public_key: str = ""
    issued_at: int = 0
    site: str = ""
    claims: Mapping[str, Any] | None = None

    @property
    def renews(self) -> bool:
        """Whether it is a server token."""
        return bool(self.public_key)

    def check(self, statement: Statement) -> None:
        """Raises Refused when the token does not serve whoever makes the statement."""
        if statement.credential != self.token_id:
            raise Refused("The statement was made for another token: ask again.")
        if self.identities and not any(fnmatchcase(statement.identity, pattern) for pattern in self.identities):
            raise Refused(f"The token is not for a node called {statement.identity}: ask the SaaS for another.")
        if self.renews and self.identity != statement.identity:
            raise Refused(f"The server token is for {self.identity[:60]}, not for {statement.identity}: enrol anew.")
        if self.renews and self.public_key not in (statement.public_key, statement.previous):
            raise Refused("The server token belongs to another key: enrol with a provisioning token.")


def read_entitlement(token: str, *, own: str, issuers: Collection[str], now: float) -> Entitlement:
    """What a token entitles to. Raises Refused for a forged, expired, foreign or unusable one.

    Server tokens count when the key `own` (hex) signed them, provisioning tokens also by `issuers`.
    """
    if servers.purpose_of(token) == servers.PURPOSE:
        server = servers.verify(token, issuers={own})
        return Entitlement(
            server.id,
            server.customer,
            server.role,
            server.account,
            identity=server.identity,
            public_key=server.public_key,
            issued_at=server.issued_at,
            site=server.site,
        )
    said = choria.verify(token, issuers={own, *issuers}, now=now)
    customer = said.extension("customer")
    if not customer:
        raise Refused("The provisioning token names no customer in its extensions: ask the SaaS for another.")
    nodes, identities = said.extensions.get("nodes", 0), said.extensions.get("identities", [])
    if type(nodes) is not int or nodes < 0:
        raise Refused("The provisioning token limits its nodes to something that is no number: ask for another.")
    if not isinstance(identities, list) or not all(isinstance(pattern, str) for pattern in identities):
        raise Refused("The provisioning token lists identities that are no patterns: ask for another.")
    return Entitlement(
        said.id,
        customer,
        said.extension("role"),
        said.extension("account"),
        1 if said.extensions.get("single_use") is True else nodes,
        tuple(identities),
        site=said.extension("site"),
        claims={
            "jti": said.id, "iat": said.issued_at, "exp": said.expires, "ou": said.organization,
            "chu": ",".join(said.urls), "extensions": dict(said.extensions),
        },
    )  # fmt: skip
