"""Settings of a node that is enrolled: what its grant says, and the file's word first where both speak."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mra.aio.session import Access
from mra.enrol.enrolment import SERVER_JWT_FILE, Standing, judge, load_enrolment
from mra.enrol.exchange import tls_context
from mra.enrol.keys import load_keys
from mra.errors import BadInput, Misconfigured
from mra.log import logger
from mra.settings.reading import read_settings
from mra.site.keys import CA

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mra.enrol.enrolment import Enrolment
    from mra.enrol.shapes import Grant
    from mra.settings.model import Settings

log = logger("enrol")


def usable_enrolment(settings: Settings, now: float) -> tuple[Enrolment | None, Standing]:
    """The enrolment that the agent can run on, if there is one, and how it stands. Raises Unavailable, BadInput."""
    assert settings.enrol is not None
    directory = settings.enrol.directory
    enrolment = load_enrolment(directory)
    standing = judge(enrolment, load_keys(directory), now)
    return enrolment if standing.usable else None, standing


def with_enrolment(settings: Settings, enrolment: Enrolment) -> Settings:
    """The settings that the agent runs by once it is enrolled. Raises BadInput when the file contradicts the grant."""
    assert settings.enrol is not None
    grant = enrolment.grant
    if settings.names_itself and settings.name != grant.name:
        raise BadInput(
            f"{settings.file}: agent.name is {settings.name!r}, but this node is enrolled as {grant.name!r}: leave the "
            "name away, or `mra reset` first."
        )
    try:
        fresh = read_settings(settings.file, granted=_for_settings(grant))
    except BadInput as error:  # the file alone is good: a mistake of the SaaS's does not stop the node
        log.warning("what the SaaS configures is not taken", reason=error.sentence)
        fresh = read_settings(settings.file)
    directory = settings.enrol.directory
    facts = fresh.facts
    if facts is not None:
        node = replace(
            facts.node,
            public_key=enrolment.public_key,
            public_nkey=enrolment.public_nkey,
            extended_claims={"customer": grant.customer, "role": grant.role},
            server_token=directory / SERVER_JWT_FILE,
            provisioning_token=settings.enrol.token,
        )
        facts = replace(facts, identity=grant.name, node=node)
    site = fresh.site
    if site and grant.site and not (site.directory / CA).exists():  # keys that somebody put there count more
        site = replace(site, name=site.name or grant.site.name, identity=directory)
    return replace(
        fresh,
        name=grant.name,
        role=grant.role,
        customer=grant.account,
        access=_access(enrolment, directory),
        facts=facts,
        site=site,
        submit=replace(fresh.submit, identity=grant.name),
        enrol=replace(settings.enrol, identity=grant.identity),
    )


def _for_settings(grant: Grant) -> Mapping[str, str]:
    """What the grant configures; without credentials for its site, a node can be in none."""
    if grant.site is not None:
        return grant.configuration
    return {name: value for name, value in grant.configuration.items() if not name.startswith("site.")}


def _access(enrolment: Enrolment, directory: Path) -> Access:
    """The way to the SaaS. Token and key are read for every connection, so that a renewal needs no restart."""
    grant = enrolment.grant

    def token() -> bytes:
        found = load_enrolment(directory)
        if found is None:
            raise Misconfigured(f"The enrolment in {directory} is gone: it will be renewed.")
        return found.grant.nats_jwt.encode()

    def sign(nonce: bytes) -> bytes:
        keys = load_keys(directory)
        if keys is None:
            raise Misconfigured(f"The keys in {directory} are gone: the node will enrol again.")
        return keys.user.sign(nonce)

    return Access(grant.urls, grant.name, tls=tls_context(grant.urls, enrolment.ca), user_jwt=token, sign=sign)
