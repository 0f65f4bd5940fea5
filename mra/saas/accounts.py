"""What each account of the SaaS's server may do. (pure)

    BACKEND        owns the streams and the bucket; the only account with JetStream
    PROVISIONING   where nodes without credentials meet the provisioner, through an auth callout
    SYS            the server's own; here accounts are pushed, suspended and removed
    customers      one account each, without JetStream; they reach BACKEND through `CROSSINGS` and nothing else

A crossing's subject in BACKEND holds the id of the customer, which is its account's public key: with
`account_token_position` the server itself refuses every import whose token is not the importing account.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from mra.tokens import claims
from mra.tokens.claims import Limits, Permissions

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mra.tokens.nats import Claims

SYS, BACKEND, PROVISIONING = "SYS", "BACKEND", "PROVISIONING"
ROLE = "site"
SUBSCRIPTIONS = 64  # of one node
DEFAULT_LIMITS = Limits(connections=500, subscriptions=SUBSCRIPTIONS, payload=1024 * 1024)
_THRESHOLD = 10_000_000_000  # ns; each open answer costs memory of the server until then, the default is two minutes
_EVER = 253402300799  # revoked whatever the clock of the issuer said
_CUSTOMER = "{customer}"


class Crossing(NamedTuple):
    """One way from a customer's account into BACKEND."""

    name: str
    subject: str
    local: str
    kind: str = "service"
    answers: str = "Singleton"

    def export(self) -> dict[str, Any]:
        """As BACKEND's claims offer it to every customer, each for its own token."""
        tokens = self.subject.split(".")
        found: dict[str, Any] = {
            "name": self.name,
            "type": self.kind,
            "subject": self.subject.replace(_CUSTOMER, "*"),
            "account_token_position": tokens.index(_CUSTOMER) + 1,
        }
        if self.kind == "service":
            found |= {"response_type": self.answers, "response_threshold": _THRESHOLD}
        return found

    def take(self, customer: str, backend: str) -> dict[str, Any]:
        """As the claims of the account `customer` import it."""
        return {
            "name": self.name,
            "type": self.kind,
            "account": backend,
            "subject": self.subject.replace(_CUSTOMER, customer),
            "local_subject": self.local.replace(_CUSTOMER, customer),
        }

    def permission(self) -> str:
        """The subject inside the account, as a template of permissions names it."""
        return self.local.replace(_CUSTOMER, "{{account-subject()}}")


def _lane(kind: str, stream: str) -> tuple[Crossing, Crossing]:
    """Rows of a stream, and the checkpoints that tell how far they are stored.

    `Stream`, because a batch is answered more than once.
    """
    rows = f"machine_room.{kind}.{_CUSTOMER}"
    return (
        Crossing(kind, f"{rows}.>", f"machine_room.{kind}.>", answers="Stream"),
        Crossing(
            f"checkpoint-{kind}",
            f"$JS.API.DIRECT.GET.{stream}.{rows}.checkpoint.*",
            f"machine_room.checkpoint.{kind}.*",
        ),
    )


# Local names stay clear of $JS.API: every account answers there itself, and a request would get two answers.
CROSSINGS: tuple[Crossing, ...] = (
    *_lane("events", "MACHINE_ROOM_EVENTS"),
    *_lane("nodes", "MACHINE_ROOM_NODES"),
    *_lane("submit", "MACHINE_ROOM_SUBMISSION"),
    Crossing(
        "config-get",
        f"$JS.API.DIRECT.GET.KV_CONFIG.$KV.CONFIG.{_CUSTOMER}.>",
        f"machine_room.api.DIRECT.GET.KV_CONFIG.$KV.CONFIG.{_CUSTOMER}.>",
    ),
    Crossing("config-live", f"machine_room.config.{_CUSTOMER}.>", "machine_room.config.>", kind="stream"),
    # Slots are taken by compare-and-swap and read; capacities are only read.
    Crossing("governor-slots", f"machine_room.governors.{_CUSTOMER}.*.slot.*", "machine_room.governors.*.slot.*"),
    Crossing(
        "governors-get",
        f"$JS.API.DIRECT.GET.MACHINE_ROOM_GOVERNORS.machine_room.governors.{_CUSTOMER}.>",
        "machine_room.read.governors.>",
    ),
)

# Pushing claims is all that the tool does in SYS. A server would also take claims that lock a customer out at its next
# start, so this user is as powerful as it looks.
SYS_USER = Permissions(
    publish=("$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.DELETE", "$SYS.REQ.CLAIMS.LIST"),
    subscribe=("_INBOX.saas-tool.>",),
)
NOTHING = Permissions(publish_not=(">",), subscribe_not=(">",))


def site_permissions() -> Permissions:
    """Everything that a node may do; `{{name()}}` gives each an inbox that its neighbours cannot hear."""
    services = [crossing.permission() for crossing in CROSSINGS if crossing.kind == "service"]
    streams = [crossing.permission() for crossing in CROSSINGS if crossing.kind == "stream"]
    return Permissions(publish=services, subscribe=[*streams, "_INBOX.{{name()}}.>"])


def system(public: str, signer: str) -> Claims:
    """Claims of SYS; `signer` signs its users."""
    return claims.account(SYS, public, limits=Limits(), signing_keys=[signer])


def backend(public: str, signer: str) -> Claims:
    """Claims of BACKEND. No storage limit: one beyond what the server offers would switch JetStream off silently."""
    exports = [crossing.export() for crossing in CROSSINGS]
    return claims.account(BACKEND, public, limits=Limits(jetstream=True), exports=exports, signing_keys=[signer])


def provisioning(public: str, signer: str, provisioner: str) -> Claims:
    """Claims of PROVISIONING, where the user `provisioner` decides about everyone else who connects."""
    return claims.account(
        PROVISIONING,
        public,
        limits=Limits(bearer=True),  # whoever connects without credentials does so as a bearer
        signing_keys=[signer],
        callout_users=[provisioner],
    )


def customer(
    name: str,
    public: str,
    signer: str,
    *,
    backend: str,
    limits: Limits = DEFAULT_LIMITS,
    suspended: bool = False,
    revoked: Collection[str] = (),
) -> Claims:
    """Claims of a customer's account.

    Args:
        signer: the one key that signs its nodes, bound to `site_permissions`.
        suspended: whether all connections are cut and refused.
        revoked: users' public keys that are cut and refused for good.
    """
    revocations: Mapping[str, int] = dict.fromkeys(sorted(revoked), _EVER)
    role = claims.scope(signer, ROLE, site_permissions(), subscriptions=limits.subscriptions, payload=limits.payload)
    return claims.account(
        name,
        public,
        limits=msgspec.structs.replace(limits, connections=0) if suspended else limits,
        imports=[crossing.take(public, backend) for crossing in CROSSINGS],
        signing_keys=[role],
        revocations=revocations,
    )
