"""What the provisioning service gives a node for its site, by the configuration that the helper chose for it.

    site.name     the site, of the customer; a node without one stands alone
    site.role     "leader" or "follower"
    site.term     the leader's; a later leader needs a higher one
    site.urls     the buses of the nodes that may lead, with commas between them
    site.listen   where this node's bus listens, if it may lead: host:port
    site.hosts    by which names and addresses its bus is reached, with commas between them
    site.relay    where this node passes connections of others on to the SaaS, if it may lead: host:port

All of it goes to the node. The grant's credentials are for `site.name`, and for a bus where there is `site.listen`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from mra.enrol.shapes import SiteGrant
from mra.errors import BadInput, Unavailable
from mra.site.authority import Authority

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mra.enrol.shapes import Statement
    from mra.provisioner.authority import Customers

# A site works on while the SaaS is away, so what only its own nodes judge lasts longer than what the SaaS judges.
GRACE: Final = 366 * 86400


def grant_site(
    customers: Customers, customer: str, name: str, statement: Statement, configuration: Mapping[str, str],
    *, now: float, expires: int,
) -> SiteGrant | None:  # fmt: skip
    """What `name` gets for its site; None for a node that is in none, or too old for one. Blocking.

    Raises Unavailable for a configuration that makes no sense, Refused for an unknown customer, BadInput.
    """
    site = configuration.get("site.name", "")
    if not site or not statement.bus_user or not statement.bus_server:
        return None
    listen, until = configuration.get("site.listen", ""), expires + GRACE
    try:
        revoked = customers.record_user(customer, name, statement.bus_user)
        authority = Authority(customers.site_seed(customer, site), revoked)
        granted = SiteGrant(
            name=site,
            authority=authority.certificate,
            operator=authority.operator,
            accounts=authority.accounts,
            user=authority.follower(name, statement.bus_user, now=now, expires=until),
        )
        if not listen:
            return granted
        address = _host(listen)
        hosts = [*filter(None, map(str.strip, configuration.get("site.hosts", "").split(","))), address]
        return msgspec.structs.replace(
            granted,
            leader=authority.leader(name, statement.bus_user, address, now=now, expires=until),
            certificate=authority.bus(name, statement.bus_server, hosts, expires=until),
        )
    except (ValueError, BadInput) as error:
        raise Unavailable(f"Site {site[:60]!r} cannot be as the SaaS configures it ({error}).") from error


def _host(listen: str) -> str:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"{listen[:60]!r} is no host and port")
    return host.strip("[]")
