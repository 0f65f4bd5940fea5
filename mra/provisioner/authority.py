"""In whose name the provisioning service speaks, and what it makes of a decision: the two tokens of a grant."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from mra.enrol.shapes import Grant
from mra.errors import Refused
from mra.provisioner.entitlement import Entitlement, read_entitlement
from mra.provisioner.site import grant_site
from mra.tokens import servers
from mra.tokens.servers import Server

if TYPE_CHECKING:
    from mra.provisioner.helper import HelperAnswer
    from mra.provisioner.ledger import Case
    from mra.tokens.ed25519 import SigningKey
    from mra.tokens.nkey import KeyPair

DAY: Final = 86400
VALIDITY: Final = 90 * DAY
_SHORTEST, _LONGEST = 3600, 5 * 366 * DAY  # what a helper may ask for, as seconds from now


class Customer(Protocol):
    """What the service has to know of a customer."""

    @property
    def name(self) -> str:
        """As people call it."""

    @property
    def account(self) -> str:
        """Public key of its account: the customer in subjects."""

    @property
    def suspended(self) -> bool:
        """Whether its nodes are refused."""


class Customers(Protocol):
    """The SaaS's customers, as they are now. Blocking; `mra.saas.registry` is the real thing."""

    def get(self, name: str, /) -> Customer:
        """Raises Refused for an unknown customer, BadInput for one whose files are unusable."""

    def issue(self, name: str, node: str, user: str, *, now: float, expires: int | None) -> str:
        """A NATS token for the user key of a node. Raises Refused for a node that is denied."""

    def record_user(self, name: str, node: str, user: str) -> frozenset[str]:
        """Record a key that a node has beside its own, for when it is denied; all keys of the customer's that are."""

    def site_seed(self, name: str, site: str) -> bytes:
        """What the authority of a site is made from, always the same. Raises Refused, BadInput for a wrong name."""


@dataclass(frozen=True)
class Authority:
    """Keys and places of one SaaS.

    Attributes:
        issuer: signs server tokens and answers.
        issuers: hex keys whose provisioning tokens are accepted beside those of `issuer`.
        account: public key of the account where nodes meet the service.
        callout: signing key of that account.
        urls: where enrolled nodes find the SaaS.
        validity: of what nodes get, in seconds.
    """

    issuer: SigningKey
    issuers: frozenset[str]
    account: str
    callout: KeyPair
    urls: tuple[str, ...]
    validity: int = VALIDITY

    def entitlement(self, token: str, now: float) -> Entitlement:
        """What a token entitles to at this SaaS. Raises Refused."""
        return read_entitlement(token, own=self.issuer.public, issuers=self.issuers, now=now)


def active(customers: Customers, name: str, account: str = "") -> Customer:
    """A customer whose nodes may enrol. Blocking.

    Raises Refused for one that is unknown or suspended, or that is not the one of `account`, where that is given.
    """
    found = customers.get(name)
    if account and found.account != account:
        raise Refused(f"The customer that was called {name[:60]} is no more: ask the SaaS for another token.")
    if found.suspended:
        raise Refused(f"Customer {name} is suspended: ask the SaaS.")
    return found


def grant(authority: Authority, customers: Customers, case: Case, decided: HelperAnswer, now: float) -> Grant:
    """What the node gets. Blocking.

    Raises Refused for a node that is denied, or whose customer is suspended, Unavailable for a site that cannot be.
    """
    wanted, statement = decided.server_claims, case.statement
    usual = int(now) + authority.validity
    expires = wanted.exp if _SHORTEST < wanted.exp - now < _LONGEST else usual
    role = case.entitlement.role
    customer = active(customers, case.entitlement.customer, case.account)
    server = Server(
        statement.identity,
        statement.public_key,
        case.entitlement.customer,
        role,
        case.account,
        wanted.ou,
        tuple(wanted.collectives),
        wanted.permissions,
        site=case.entitlement.site,
    )
    nats_jwt = customers.issue(customer.name, case.name, statement.public_nkey, now=now, expires=expires)
    configuration = dict(decided.configuration)
    return Grant(
        customer=customer.name,
        account=customer.account,
        identity=statement.identity,
        name=case.name,
        role=role,
        server_jwt=servers.mint(server, authority.issuer, now=now, expires=expires, random=os.urandom(16)),
        nats_jwt=nats_jwt,
        urls=authority.urls,
        configuration=configuration,
        issued_at=int(now),
        expires=expires,
        site=grant_site(customers, customer.name, case.name, statement, configuration, now=now, expires=expires),
    )
