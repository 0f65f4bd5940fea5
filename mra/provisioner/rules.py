"""The embedded helper: enrols every node of a known customer, with the configuration that a TOML file names.

    [configuration]                               # for every node
    "site.region" = "eu"

    [customers.acme]
    defer = false                                 # true: look at acme's nodes again later
    configuration = { "site.plan" = "gold" }

    [customers.acme.roles.tools]                  # for nodes whose token names this role
    configuration = { "site.plan" = "silver" }

    [customers.acme.sites.berlin]                 # for nodes whose token names this site
    leader = "n1"
    buses = { n1 = "10.0.0.1:9222", n2 = "10.0.0.2:9222" }  # of the nodes that may lead: where the others find them
    relays = { n1 = "10.0.0.1:9223" }            # for nodes that cannot reach the SaaS to enrol: `mra saas token --via`

What is said for a role counts more than what is said for its site, that more than what is said for its customer, and
that more than what is said for all. The file is read again for every node. Without a file every node is enrolled with
an empty configuration; a node whose token names a site that is not there is looked at again later.

Nodes are called as `mra saas node ls` names them. A site's first leader has term 1. `mra saas site lead` names a later
one; to write it here as well, give its `term`.
"""

from __future__ import annotations

import ipaddress
import tomllib
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import trio

from mra.errors import BadInput, Unavailable
from mra.provisioner.helper import HelperAnswer
from mra.site.settings import FOLLOWER, LEADER

if TYPE_CHECKING:
    from pathlib import Path


class _Rule(msgspec.Struct, forbid_unknown_fields=True):
    configuration: dict[str, str] = msgspec.field(default_factory=dict)
    defer: bool = False


_Address = Annotated[str, msgspec.Meta(pattern=r"^[^\s:,/@]+:[0-9]{1,5}\Z|^\[[0-9A-Fa-f:]+\]:[0-9]{1,5}\Z")]


class _Site(_Rule, forbid_unknown_fields=True, kw_only=True):
    leader: str
    term: int = 1
    buses: dict[str, _Address]
    relays: dict[str, _Address] = msgspec.field(default_factory=dict)

    def for_node(self, site: str, name: str) -> dict[str, str]:
        """Where the node stands in its site; see `mra.provisioner.site`."""
        found = {
            "site.name": site,
            "site.role": LEADER if name == self.leader else FOLLOWER,
            "site.term": str(self.term),
            "site.urls": ",".join(f"tls://{address}" for address in self.buses.values()),
        }
        if name in self.buses:
            found["site.hosts"] = self.buses[name].rpartition(":")[0].strip("[]")
            found["site.listen"] = _listening(self.buses[name])
        if name in self.relays:
            found["site.relay"] = _listening(self.relays[name])
        return found


class _Customer(_Rule, forbid_unknown_fields=True):
    roles: dict[str, _Rule] = msgspec.field(default_factory=dict)
    sites: dict[str, _Site] = msgspec.field(default_factory=dict)


class _File(_Rule, forbid_unknown_fields=True):
    customers: dict[str, _Customer] = msgspec.field(default_factory=dict)


class Rules:
    """Implements `mra.provisioner.helper.Helper`."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file

    async def __call__(self, question: dict[str, Any], /) -> HelperAnswer:
        """See `Helper`."""
        try:
            rules = await trio.to_thread.run_sync(read_rules, self._file)
        except BadInput as error:
            raise Unavailable(error.sentence) from error
        customer = rules.customers.get(question["customer"], _Customer())
        role = customer.roles.get(question["role"], _Rule())
        name = question.get("site", "")
        site = customer.sites.get(name)
        if name and site is None:
            return HelperAnswer(defer=True, msg=f"The SaaS's rules know no site {name[:60]!r} of this customer yet.")
        place = {**site.for_node(name, question["name"]), **site.configuration} if site else {}
        return HelperAnswer(
            defer=any(rule.defer for rule in (rules, customer, role, site) if rule),
            msg="The SaaS's rules defer this node.",
            configuration={**rules.configuration, **customer.configuration, **place, **role.configuration},
        )


def _listening(reached: str) -> str:
    """Where to listen for what is reached there: on that address, and everywhere when it is a name."""
    host, _, port = reached.rpartition(":")
    return reached if _is_address(host) else f"0.0.0.0:{port}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def read_rules(file: Path | None) -> _File:
    """The rules in `file`; none where there is no file. Raises BadInput."""
    if file is None or not file.exists():
        return _File()
    try:
        found = msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), _File)
    except OSError as error:
        raise BadInput(f"Cannot read {file} ({error.strerror}): check its owner and mode.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise BadInput(f"{file} is no file of rules ({error}): correct it.") from error
    for customer in found.customers.values():
        for name, site in customer.sites.items():
            if site.leader not in site.buses or site.term < 1:
                raise BadInput(f"{file}: site {name} needs the bus of its leader {site.leader} and a term from 1 on.")
    return found
