"""Provisioning tokens of one SaaS, with what their extensions mean here. Blocking: reads the keys of the directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mra.aio.addresses import is_address
from mra.enrol.names import check_identity
from mra.errors import BadInput
from mra.saas.registry import check_site
from mra.tokens import choria
from mra.tokens.choria import Provisioning

if TYPE_CHECKING:
    from mra.saas.directory import Directory
    from mra.saas.registry import Customer

_WILDCARDS = str.maketrans("*?[]", "xxxx")


@dataclass(frozen=True)
class Terms:
    """What a token allows. Raises BadInput for patterns that no identity can match, and for what is no site's name.

    Attributes:
        validity: seconds in which it can enrol new nodes.
        max_nodes: how many identities it enrols; 0 for any number.
        identities: patterns such as "web-*"; any identity will do without one.
        urls: where nodes enrol; the SaaS's own address when empty.
        site: that its nodes belong to; empty for none.
        via: relays (host:port) for nodes that cannot reach the SaaS.
    """

    role: str
    validity: float
    max_nodes: int = 0
    identities: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    site: str = ""
    via: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for relay in self.via:
            if not is_address(relay):
                raise BadInput(f"{relay[:80]!r} is no address of a relay: write a host and a port.")
        if self.site:
            check_site(self.site)
        for pattern in self.identities:
            check_identity(pattern.translate(_WILDCARDS))


def mint_token(directory: Directory, customer: Customer, terms: Terms, now: float) -> str:
    """A token for nodes of a customer, signed by the SaaS's issuer. Raises BadInput, Refused."""
    charter, issuer = directory.charter(), directory.issuer()
    extensions: dict[str, Any] = {
        "customer": customer.name,
        "account": customer.account,
        "role": terms.role,
        "issuer": issuer.public,  # who may answer the node
    }
    if terms.max_nodes:
        extensions["nodes"] = terms.max_nodes
    if terms.via:
        extensions["via"] = list(terms.via)
    if terms.site:
        extensions["site"] = terms.site
    if terms.identities:
        extensions["identities"] = list(terms.identities)
    if charter.tls_ca:
        extensions["ca"] = _authority(Path(charter.tls_ca))
    wanted = Provisioning(urls=terms.urls or (charter.server,), extensions=extensions)
    return choria.mint(wanted, issuer, now=now, validity=terms.validity, random=os.urandom(16))


def _authority(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"Cannot read the SaaS's authority {file} ({error}): correct tls_ca in saas.json.") from error
