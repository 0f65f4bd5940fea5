"""Each table of the file, checked and turned into the settings of the subsystem that it is for. (pure)"""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mra.aio.session import Access
from mra.config.index import check_customer
from mra.enrol.settings import EnrolSettings
from mra.errors import BadInput, quoted
from mra.facts.settings import FactsSettings
from mra.outbox.policy import DEFAULT_POLICIES, SHORTEST_REPLAY, LanePolicy, OutboxSettings, Overflow
from mra.outbox.record import LARGEST_BODY, Lane
from mra.settings.document import LaneTable
from mra.settings.model import MachinesSettings, Settings
from mra.settings.site import build_site
from mra.site.settings import FOLLOWER
from mra.submit.intake import IntakeSettings
from mra.uplink.service import UplinkSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mra.settings.document import Document, MachinesTable, OutboxTable, SaasTable, UplinkTable
    from mra.settings.values import Values

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def build_settings(document: Document, values: Values) -> Settings:
    """The settings of a whole file. The `access` in them holds no secret yet. Raises BadInput."""
    document.agent.state = document.agent.state or values.default_state()
    name = document.agent.name
    if not _NAME.fullmatch(name):
        raise values.bad("agent.name", name, "use 1 to 64 letters, digits, dashes or underscores")
    if document.saas.durability not in ("synced", "lazy"):
        raise values.bad("saas.durability", document.saas.durability, 'write "synced" or "lazy"')
    uplink = _uplink(document.uplink, values)
    site = build_site(document.site, document.agent.state, values)
    follows = site is not None and site.role == FOLLOWER
    return Settings(
        name=name,
        state=values.path("agent.state", document.agent.state),
        access=_access(document.saas, name, values, follows=follows),
        durability=document.saas.durability,
        role="",
        customer=_customer(document.saas.customer, values),
        sealing_key=document.saas.sealing_key,
        outbox=_outbox(document.outbox, document.lanes, values),
        uplink=uplink,
        facts=_facts(document, values),
        submit=_submit(document, values),
        machines=_machines(document.machines, document.agent.state, values),
        takes_submissions=document.submit.enabled,
        file=values.file,
        names_itself=True,
        site=site,
        enrol=None if document.saas.urls or follows else _enrol(document, uplink, values),
    )


def _enrol(document: Document, uplink: UplinkSettings, values: Values) -> EnrolSettings:
    raw = document.provisioning
    return EnrolSettings(
        directory=values.path("agent.state", document.agent.state) / "identity",
        token=values.path("provisioning.token", raw.token),
        identity=document.agent.name,
        ca=None if raw.tls_ca is None else values.path("provisioning.tls_ca", raw.tls_ca),
        retry_first=uplink.retry_first,
        retry_cap=uplink.retry_cap,
    )


def _access(raw: SaasTable, name: str, values: Values, *, follows: bool) -> Access:
    named = (raw.user, raw.password_file, raw.user_jwt_file, raw.nkey_file, raw.credentials_file)
    if not raw.urls and (any(named) or (raw.customer and not follows)):
        raise values.bad("saas.urls", [], 'write at least one address such as "nats://127.0.0.1:4222"')
    for url in raw.urls:
        _check_address(url, values)
    _check_proofs(raw, values)
    return Access(tuple(raw.urls), name)


def _check_proofs(raw: SaasTable, values: Values) -> None:
    """One way to prove who the agent is, and both halves of it."""
    if (raw.user is None) != (raw.password_file is None):
        raise BadInput(f"{values.file}: saas.user and saas.password_file go together: write both or neither.")
    if (raw.user_jwt_file is None) != (raw.nkey_file is None):
        raise BadInput(f"{values.file}: saas.user_jwt_file and saas.nkey_file go together: write both or neither.")
    if sum(way is not None for way in (raw.user, raw.nkey_file, raw.credentials_file)) > 1:
        raise BadInput(f"{values.file}: saas names several credentials: keep one way to prove who the agent is.")


def _check_address(url: str, values: Values) -> None:
    if not url.startswith(("nats://", "tls://", "ws://", "wss://")):
        raise values.bad("saas.urls", url, "start it with nats:// or tls://")
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:  # brackets without a partner, or no port that there can be
        usable = False
    if not usable:
        raise values.bad("saas.urls", url, 'write a host and a port, such as "nats://127.0.0.1:4222"')


def _customer(customer: str | None, values: Values) -> str | None:
    try:
        return None if customer is None else check_customer(customer)
    except BadInput as error:
        raise BadInput(f"{values.file}: saas.customer: {error.sentence}") from error


def _outbox(raw: OutboxTable, lanes: Mapping[str, LaneTable], values: Values) -> OutboxSettings:
    window = values.duration("outbox.replay_window", raw.replay_window)
    if window < SHORTEST_REPLAY:
        raise values.bad("outbox.replay_window", raw.replay_window, "keep delivered rows for 10m or longer")
    max_bytes = values.size("outbox.max_bytes", raw.max_bytes)
    if max_bytes < 1 << 20:
        raise values.bad("outbox.max_bytes", raw.max_bytes, "give the file 1MiB or more")
    for name in lanes:
        if name not in set(Lane):
            raise BadInput(f"{values.file}: there is no lane {quoted(name)}: use {', '.join(Lane)}.")
    return OutboxSettings(
        max_bytes=max_bytes,
        min_free=values.size("outbox.min_free", raw.min_free),
        ballast=values.size("outbox.ballast", raw.ballast),
        replay_window=window,
        replay_bytes=values.size("outbox.replay_bytes", raw.replay_bytes),
        export_hold=values.duration("outbox.export_hold", raw.export_hold),
        lanes=MappingProxyType({lane: _policy(lane, lanes.get(lane.value, LaneTable()), values) for lane in Lane}),
    )


def _policy(lane: Lane, raw: LaneTable, values: Values) -> LanePolicy:
    default = DEFAULT_POLICIES[lane]
    where = f"lanes.{lane}"
    overflow = default.overflow
    if raw.overflow is not None:
        try:
            overflow = Overflow(raw.overflow)
        except ValueError as error:
            raise values.bad(f"{where}.overflow", raw.overflow, f"use {', '.join(Overflow)}") from error
    weight = default.weight if raw.weight is None else raw.weight
    if not 1 <= weight <= 100:
        raise values.bad(f"{where}.weight", weight, "use 1 to 100")
    max_age = default.max_age if raw.max_age is None else values.duration(f"{where}.max_age", raw.max_age)
    max_bytes = default.max_bytes if raw.max_bytes is None else values.size(f"{where}.max_bytes", raw.max_bytes)
    return LanePolicy(overflow, max_bytes, max_age, weight)


def _uplink(raw: UplinkTable, values: Values) -> UplinkSettings:
    cap = values.pause("uplink.retry_cap", raw.retry_cap)
    first = min(UplinkSettings.retry_first, cap)
    if raw.retry_first is not None:
        first = values.pause("uplink.retry_first", raw.retry_first)
    if cap < first:
        raise values.bad("uplink.retry_cap", raw.retry_cap, "make it no shorter than uplink.retry_first")
    return UplinkSettings(first, cap, patience=values.pause("uplink.patience", raw.patience))


def _facts(document: Document, values: Values) -> FactsSettings | None:
    raw = document.facts
    refresh = values.duration("facts.refresh", raw.refresh)
    full = values.duration("facts.full", raw.full)
    try:
        settings = FactsSettings(
            identity=document.agent.name,
            file=values.path("agent.state", document.agent.state) / "facts.json",
            skip=frozenset(raw.skip),
            refresh_every=refresh,
            full_every=full,
        )
    except BadInput as error:
        sentence = error.sentence.replace("facts.refresh_every", "facts.refresh")
        raise BadInput(f"{values.file}: {sentence.replace('facts.full_every', 'facts.full')}") from error
    return settings if raw.enabled else None


def _submit(document: Document, values: Values) -> IntakeSettings:
    raw = document.submit
    if not re.fullmatch(r"0?[0-7]{3}", raw.mode):
        raise values.bad("submit.mode", raw.mode, 'write it as chmod takes it, such as "0666" or "0660"')
    max_payload = values.size("submit.max_payload", raw.max_payload)
    if not 1 <= max_payload <= LARGEST_BODY:
        raise values.bad("submit.max_payload", raw.max_payload, "use 1B to 64MiB")
    return IntakeSettings(
        path=values.path("submit.socket", raw.socket or str(Path(document.agent.state) / "submit.sock")),
        identity=document.agent.name,
        mode=int(raw.mode, 8),
        max_payload=max_payload,
    )


def _machines(raw: MachinesTable, state: str, values: Values) -> MachinesSettings:
    if raw.signing_key and not re.fullmatch(r"[0-9A-Fa-f]{64}", raw.signing_key):
        raise values.bad("machines.signing_key", raw.signing_key, "write the ed25519 public key as 64 hex digits")
    scan_seconds = values.duration("machines.scan", raw.scan)
    if not 1 <= scan_seconds <= 3600:
        raise values.bad("machines.scan", raw.scan, "use 1s to 1h")
    return MachinesSettings(
        enabled=raw.enabled,
        directory=values.path("machines.directory", raw.directory or str(Path(state) / "machines")),
        scan_seconds=scan_seconds,
        overrides=None if raw.overrides is None else values.path("machines.overrides", raw.overrides),
        signing_key=raw.signing_key,
        deny=frozenset(raw.deny),
        text_files=None if raw.text_files is None else values.path("machines.text_files", raw.text_files),
        extra_ca=None if raw.extra_ca is None else values.path("machines.extra_ca", raw.extra_ca),
    )
