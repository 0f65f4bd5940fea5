"""Frozen settings, read once from one TOML file. The schema is `lab/agent/agent.toml`.

Every mistake is one sentence that names the file, the key and what to write instead.
"""

from __future__ import annotations

import re
import ssl
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from mra.aio.session import Access
from mra.config.index import check_customer
from mra.errors import BadInput
from mra.facts.settings import FactsSettings
from mra.outbox.policy import DEFAULT_POLICIES, SHORTEST_REPLAY, LanePolicy, OutboxSettings, Overflow
from mra.outbox.record import LARGEST_BODY, Lane
from mra.submit.intake import IntakeSettings
from mra.units import parse_duration, parse_size
from mra.uplink.service import UplinkSettings

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class _Agent(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    state: str


class _Saas(msgspec.Struct, forbid_unknown_fields=True):
    urls: list[str]
    user: str | None = None
    password_file: str | None = None
    tls_ca: str | None = None
    durability: str = "synced"
    customer: str | None = None


class _Outbox(msgspec.Struct, forbid_unknown_fields=True):
    max_bytes: str | int = "4GiB"
    min_free: str | int = "64MiB"
    ballast: str | int = "16MiB"
    replay_window: str | int | float = "24h"
    replay_bytes: str | int = "512MiB"


class _Lane(msgspec.Struct, forbid_unknown_fields=True):
    max_age: str | int | float | None = None
    max_bytes: str | int | None = None
    overflow: str | None = None
    weight: int | None = None


class _Uplink(msgspec.Struct, forbid_unknown_fields=True):
    retry_first: str | int | float = "500ms"
    retry_cap: str | int | float = "30s"
    patience: str | int | float = "10s"


class _Facts(msgspec.Struct, forbid_unknown_fields=True):
    enabled: bool = True
    refresh: str | int | float = "10m"
    full: str | int | float = "4h"
    skip: list[str] = msgspec.field(default_factory=list)


class _Submit(msgspec.Struct, forbid_unknown_fields=True):
    enabled: bool = True
    socket: str | None = None
    mode: str = "0666"
    max_payload: str | int = "1008KiB"


class _Machines(msgspec.Struct, forbid_unknown_fields=True):
    enabled: bool = True
    directory: str | None = None
    signing_key: str = ""
    deny: list[str] = msgspec.field(default_factory=list)
    text_files: str | None = None
    extra_ca: str | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    agent: _Agent
    saas: _Saas
    outbox: _Outbox = msgspec.field(default_factory=_Outbox)
    lanes: dict[str, _Lane] = msgspec.field(default_factory=dict)
    uplink: _Uplink = msgspec.field(default_factory=_Uplink)
    facts: _Facts = msgspec.field(default_factory=_Facts)
    submit: _Submit = msgspec.field(default_factory=_Submit)
    machines: _Machines = msgspec.field(default_factory=_Machines)


@dataclass(frozen=True)
class MachinesSettings:
    """Autonomous agents.

    Attributes:
        enabled: whether the daemon runs any.
        directory: each directory in it that holds a `machine.yaml` is one.
        signing_key: ed25519 public key in hex, of whoever signs plugin specifications; empty when none is asked for.
        deny: names of plugins and machines that may not run.
        text_files: where a Prometheus node exporter reads files, if one does.
        extra_ca: certificates of authorities that are trusted beside the system's when archives are fetched.
    """

    enabled: bool
    directory: Path
    signing_key: str
    deny: frozenset[str]
    text_files: Path | None
    extra_ca: Path | None


@dataclass(frozen=True)
class Settings:
    """What the daemon and the commands are configured to do."""

    name: str
    state: Path
    access: Access
    durability: str
    customer: str | None  # whose desired state the agent follows; None when it follows none
    outbox: OutboxSettings
    uplink: UplinkSettings
    facts: FactsSettings | None  # None when facts are switched off
    submit: IntakeSettings
    machines: MachinesSettings
    takes_submissions: bool  # whether the daemon serves the socket; the file can be written to all the same

    @property
    def database(self) -> Path:
        """The outbox's file."""
        return self.state / "outbox.db"

    @property
    def socket(self) -> Path:
        """The daemon's control socket."""
        return self.state / "mra.sock"

    @property
    def lock(self) -> Path:
        """Held by the one daemon of this state directory."""
        return self.state / "daemon.lock"


def read_settings(file: Path, *, secrets: bool = True) -> Settings:
    """Settings from `file`; paths in it are relative to it. Raises BadInput.

    Without `secrets` the files that hold them are not looked at, and `access` opens nothing: for commands that any
    user may run.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"Cannot read the configuration {file} ({error.strerror}): check --config.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not UTF-8 text: rewrite it.") from error
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{file} is not valid TOML ({error}): correct that line.") from error
    try:
        parsed = msgspec.convert(raw, _File)
    except msgspec.ValidationError as error:
        raise BadInput(f"{file}: {_plain(str(error))}.") from error
    return _Reader(file, secrets).settings(parsed)


def _plain(message: str) -> str:
    return message.replace("Object contains unknown field", "unknown key").replace("Object missing required", "missing")


class _Reader:
    """Turns the parsed file into settings, naming the file and key in every complaint."""

    def __init__(self, file: Path, secrets: bool) -> None:
        self._file = file
        self._secrets = secrets

    def settings(self, parsed: _File) -> Settings:
        if not _NAME.fullmatch(parsed.agent.name):
            raise self._bad("agent.name", parsed.agent.name, "use 1 to 64 letters, digits, dashes or underscores")
        if parsed.saas.durability not in ("synced", "lazy"):
            raise self._bad("saas.durability", parsed.saas.durability, 'write "synced" or "lazy"')
        return Settings(
            name=parsed.agent.name,
            state=self._path(parsed.agent.state),
            access=self._access(parsed),
            durability=parsed.saas.durability,
            customer=self._customer(parsed.saas.customer),
            outbox=self._outbox(parsed),
            facts=self._facts(parsed),
            submit=self._submit(parsed),
            machines=self._machines(parsed),
            takes_submissions=parsed.submit.enabled,
            uplink=UplinkSettings(
                retry_first=self._duration("uplink.retry_first", parsed.uplink.retry_first),
                retry_cap=self._duration("uplink.retry_cap", parsed.uplink.retry_cap),
                patience=self._duration("uplink.patience", parsed.uplink.patience),
            ),
        )

    def _access(self, parsed: _File) -> Access:
        saas = parsed.saas
        if not saas.urls:
            raise self._bad("saas.urls", "[]", 'write at least one address such as "nats://127.0.0.1:4222"')
        for url in saas.urls:
            if not url.startswith(("nats://", "tls://", "ws://", "wss://")):
                raise self._bad("saas.urls", url, "start it with nats:// or tls://")
        if (saas.user is None) != (saas.password_file is None):
            raise BadInput(f"{self._file}: saas.user and saas.password_file go together: write both or neither.")
        if not self._secrets:
            return Access(tuple(saas.urls), parsed.agent.name)
        password = None
        if saas.password_file is not None:
            password = self._read("saas.password_file", saas.password_file).strip()
        return Access(tuple(saas.urls), parsed.agent.name, saas.user, password, self._tls(saas.tls_ca))

    def _tls(self, ca: str | None) -> ssl.SSLContext | None:
        return None if ca is None else self._trusting("saas.tls_ca", self._path(ca))

    def _extra_ca(self, ca: str | None) -> Path | None:
        if ca is None:
            return None
        path = self._path(ca)
        if self._secrets:  # commands that any user may run need not be able to read it
            self._trusting("machines.extra_ca", path)
        return path

    def _trusting(self, key: str, authorities: Path) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=str(authorities))
        except (OSError, ssl.SSLError) as error:
            raise self._bad(key, str(authorities), f"it must be a PEM file of certificates ({error})") from error

    def _customer(self, customer: str | None) -> str | None:
        try:
            return None if customer is None else check_customer(customer)
        except BadInput as error:
            raise BadInput(f"{self._file}: saas.customer: {error.sentence}") from error

    def _outbox(self, parsed: _File) -> OutboxSettings:
        raw = parsed.outbox
        window = self._duration("outbox.replay_window", raw.replay_window)
        if window < SHORTEST_REPLAY:
            raise self._bad("outbox.replay_window", str(raw.replay_window), "keep delivered rows for 10m or longer")
        max_bytes = self._size("outbox.max_bytes", raw.max_bytes)
        if max_bytes < 1 << 20:
            raise self._bad("outbox.max_bytes", str(raw.max_bytes), "give the file 1MiB or more")
        return OutboxSettings(
            max_bytes=max_bytes,
            min_free=self._size("outbox.min_free", raw.min_free),
            ballast=self._size("outbox.ballast", raw.ballast),
            replay_window=window,
            replay_bytes=self._size("outbox.replay_bytes", raw.replay_bytes),
            lanes=self._lanes(parsed.lanes),
        )

    def _facts(self, parsed: _File) -> FactsSettings | None:
        raw = parsed.facts
        try:
            settings = FactsSettings(
                identity=parsed.agent.name,
                file=self._path(parsed.agent.state) / "facts.json",
                skip=frozenset(raw.skip),
                refresh_every=self._duration("facts.refresh", raw.refresh),
                full_every=self._duration("facts.full", raw.full),
            )
        except BadInput as error:
            sentence = error.sentence.replace("facts.refresh_every", "facts.refresh")
            sentence = sentence.replace("facts.full_every", "facts.full").removeprefix(f"{self._file}: ")
            raise BadInput(f"{self._file}: {sentence}") from error
        return settings if raw.enabled else None

    def _submit(self, parsed: _File) -> IntakeSettings:
        raw = parsed.submit
        if not re.fullmatch(r"0?[0-7]{3}", raw.mode):
            raise self._bad("submit.mode", raw.mode, 'write it as chmod takes it, such as "0666" or "0660"')
        max_payload = self._size("submit.max_payload", raw.max_payload)
        if not 1 <= max_payload <= LARGEST_BODY:
            raise self._bad("submit.max_payload", str(raw.max_payload), "use 1B to 64MiB")
        return IntakeSettings(
            path=self._path(raw.socket or str(Path(parsed.agent.state) / "submit.sock")),
            identity=parsed.agent.name,
            mode=int(raw.mode, 8),
            max_payload=max_payload,
        )

    def _machines(self, parsed: _File) -> MachinesSettings:
        raw = parsed.machines
        if raw.signing_key and not re.fullmatch(r"[0-9A-Fa-f]{64}", raw.signing_key):
            raise self._bad("machines.signing_key", raw.signing_key, "write the ed25519 public key as 64 hex digits")
        return MachinesSettings(
            enabled=raw.enabled,
            directory=self._path(raw.directory or str(Path(parsed.agent.state) / "machines")),
            signing_key=raw.signing_key,
            deny=frozenset(raw.deny),
            text_files=None if raw.text_files is None else self._path(raw.text_files),
            extra_ca=self._extra_ca(raw.extra_ca),
        )

    def _lanes(self, raw: dict[str, _Lane]) -> MappingProxyType[Lane, LanePolicy]:
        for name in raw:
            if name not in set(Lane):
                raise BadInput(f"{self._file}: there is no lane {name!r}: use {', '.join(Lane)}.")
        return MappingProxyType({lane: self._policy(lane, raw.get(lane.value, _Lane())) for lane in Lane})

    def _policy(self, lane: Lane, raw: _Lane) -> LanePolicy:
        default = DEFAULT_POLICIES[lane]
        where = f"lanes.{lane}"
        overflow = default.overflow
        if raw.overflow is not None:
            try:
                overflow = Overflow(raw.overflow)
            except ValueError as error:
                raise self._bad(f"{where}.overflow", raw.overflow, f"use {', '.join(Overflow)}") from error
        weight = default.weight if raw.weight is None else raw.weight
        if not 1 <= weight <= 100:
            raise self._bad(f"{where}.weight", str(weight), "use 1 to 100")
        max_age = default.max_age if raw.max_age is None else self._duration(f"{where}.max_age", raw.max_age)
        max_bytes = default.max_bytes if raw.max_bytes is None else self._size(f"{where}.max_bytes", raw.max_bytes)
        return LanePolicy(overflow, max_bytes, max_age, weight)

    def _duration(self, key: str, value: str | float) -> float:
        return parse_duration(value, f"{self._file}: {key}")

    def _size(self, key: str, value: str | int) -> int:
        return parse_size(value, f"{self._file}: {key}")

    def _path(self, text: str) -> Path:
        return (self._file.parent / Path(text).expanduser()).absolute()

    def _read(self, key: str, text: str) -> str:
        try:
            return self._path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise self._bad(key, text, f"the file cannot be read ({error})") from error

    def _bad(self, key: str, value: Any, remedy: str) -> BadInput:
        return BadInput(f"{self._file}: {key} is {value!r}: {remedy}.")
