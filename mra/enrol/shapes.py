"""What the messages of an enrolment look like, before anything in them is proven. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

_Hex32 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Signature = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}\Z")]
_Hex32OrNone = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?\Z")]
_SignatureOrNone = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{128})?\Z")]
_Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
_Short = Annotated[str, msgspec.Meta(max_length=1024)]


class Statement(msgspec.Struct, frozen=True):
    """What a node says, under the signatures of all its keys.

    Attributes:
        nonce: the challenge that it answers.
        connection: id of the connection that it is made on; on any other it counts for nothing.
        credential: `jti` of the token that is presented with it.
        request: names the request; asked again with the same keys, the answer is the same.
        public_key: Ed25519, in hex: who the node is.
        public_nkey: its key as a NATS user.
        reader: X25519, in hex: who can open the answer.
        previous: the key that the identity was enrolled with before, when that is another.
        bus_user, bus_server: its keys for the bus of a site, the second one Ed25519 in hex. Nothing is proven of them:
            what is issued for a key serves its owner only.
        facts: what the node tells of itself. Public: they go to the helper and into its log.
    """

    nonce: _Short
    connection: _Short
    credential: _Short
    request: _Id
    identity: _Short
    public_key: _Hex32
    public_nkey: _Short
    reader: _Hex32
    previous: _Hex32OrNone = ""
    bus_user: _Short = ""
    bus_server: _Hex32OrNone = ""
    version: _Short = ""
    facts: dict[str, Any] = msgspec.field(default_factory=dict)


class Request(msgspec.Struct, frozen=True, tag_field="ask", tag="enrol"):
    """A statement (as the text that is signed), its signatures in hex, and the token that entitles the node."""

    credential: str
    statement: str
    by_identity: Signature
    by_user: Signature
    by_previous: _SignatureOrNone = ""

    def __repr__(self) -> str:
        return "Request()"


class Challenge(msgspec.Struct, frozen=True, tag_field="ask", tag="challenge"):
    """Asks for a nonce."""


class SiteGrant(msgspec.Struct, frozen=True):
    """What a node is on the bus of its site. Every bus of the site believes what the site's authority has signed, so it
    needs no list of nodes, and lets new ones in while the SaaS is away.

    Attributes:
        name: of the site.
        authority: PEM: who vouches for the buses of the site.
        operator, accounts: NATS JWTs: whom a bus believes about its users.
        user: NATS JWT: the node as a follower, who may speak under its own name only.
        leader: NATS JWT: the node on its own bus; empty for one that may not lead.
        certificate: PEM: of its own bus; empty likewise.
    """

    name: str
    authority: str
    operator: str
    accounts: tuple[str, ...]
    user: str
    leader: str = ""
    certificate: str = ""

    def __repr__(self) -> str:
        return f"SiteGrant(name={self.name})"


class Grant(msgspec.Struct, frozen=True):
    """What an enrolled node may be, and where.

    Attributes:
        customer: as people call it.
        account: the customer in subjects and keys of desired state.
        name: of the node in subjects.
        server_jwt: who the node is, by the SaaS's issuer.
        nats_jwt: what the node may do at the SaaS's server.
        urls: where that server is.
        configuration: what the SaaS's helper says besides.
        issued_at, expires: seconds since 1970; of both tokens.
        site: for a node that belongs to one.
    """

    customer: str
    account: str
    identity: str
    name: str
    role: str
    server_jwt: str
    nats_jwt: str
    urls: tuple[str, ...]
    configuration: dict[str, str]
    issued_at: int
    expires: int
    site: SiteGrant | None = None

    def __repr__(self) -> str:
        return f"Grant(customer={self.customer}, name={self.name}, expires={self.expires})"


class Answer(msgspec.Struct, frozen=True):
    """What the SaaS decided about a request.

    Attributes:
        outcome: `enrolled` comes with a grant; `deferred` and `failed`: ask again after `retry_after` seconds;
            `refused`: asking again is useless until somebody changes something; `shutdown`: the node is to stop.
        reason: one sentence.
    """

    request: str
    connection: str
    outcome: Literal["enrolled", "deferred", "failed", "refused", "shutdown"]
    reason: str = ""
    retry_after: float = 0.0
    grant: Grant | None = None
