"""The shape of the file: its tables, their keys, and what holds when a key is left out. (pure)"""

from __future__ import annotations

import re
import tomllib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mra.errors import BadInput, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

NOTHING: Mapping[str, str] = MappingProxyType({})
_MOST_DOTS: Final = 256  # on a line: tomllib takes memory for the square of a dotted key's parts


class AgentTable(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""  # the host's
    state: str = ""  # see `Values.default_state`


class SaasTable(msgspec.Struct, forbid_unknown_fields=True):
    urls: list[str] = msgspec.field(default_factory=list)  # what enrolment says
    user: str | None = None
    password_file: str | None = None
    user_jwt_file: str | None = None
    nkey_file: str | None = None
    credentials_file: str | None = None
    tls_ca: str | None = None
    durability: str = "synced"
    customer: str | None = None
    sealing_key: str = ""


class ProvisioningTable(msgspec.Struct, forbid_unknown_fields=True):
    token: str = "provisioning.jwt"  # noqa: S105 - the name of a file
    tls_ca: str | None = None


class OutboxTable(msgspec.Struct, forbid_unknown_fields=True):
    max_bytes: str | int = "4GiB"
    min_free: str | int = "64MiB"
    ballast: str | int = "16MiB"
    replay_window: str | int | float = "24h"
    replay_bytes: str | int = "512MiB"
    export_hold: str | int | float = "7d"


class LaneTable(msgspec.Struct, forbid_unknown_fields=True):
    max_age: str | int | float | None = None
    max_bytes: str | int | None = None
    overflow: str | None = None
    weight: int | None = None


class UplinkTable(msgspec.Struct, forbid_unknown_fields=True):
    retry_first: str | int | float | None = None  # 20s, or retry_cap where that is less
    retry_cap: str | int | float = "30s"
    patience: str | int | float = "10s"


class FactsTable(msgspec.Struct, forbid_unknown_fields=True):
    enabled: bool = True
    refresh: str | int | float = "10m"
    full: str | int | float = "4h"
    skip: list[str] = msgspec.field(default_factory=list)


class SubmitTable(msgspec.Struct, forbid_unknown_fields=True):
    enabled: bool = True
    socket: str | None = None
    mode: str = "0666"
    max_payload: str | int = "1008KiB"


class MachinesTable(msgspec.Struct, forbid_unknown_fields=True):
    enabled: bool = True
    directory: str | None = None
    scan: str | int | float = "10s"
    overrides: str | None = None
    signing_key: str = ""
    deny: list[str] = msgspec.field(default_factory=list)
    text_files: str | None = None
    extra_ca: str | None = None


class SiteTable(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""
    role: str = ""
    term: int = 1
    listen: str | None = None
    relay: str | None = None
    urls: list[str] = msgspec.field(default_factory=list)
    keys: str | None = None


class Document(msgspec.Struct, forbid_unknown_fields=True):
    agent: AgentTable = msgspec.field(default_factory=AgentTable)
    saas: SaasTable = msgspec.field(default_factory=SaasTable)
    provisioning: ProvisioningTable = msgspec.field(default_factory=ProvisioningTable)
    site: SiteTable | None = None
    outbox: OutboxTable = msgspec.field(default_factory=OutboxTable)
    lanes: dict[str, LaneTable] = msgspec.field(default_factory=dict)
    uplink: UplinkTable = msgspec.field(default_factory=UplinkTable)
    facts: FactsTable = msgspec.field(default_factory=FactsTable)
    submit: SubmitTable = msgspec.field(default_factory=SubmitTable)
    machines: MachinesTable = msgspec.field(default_factory=MachinesTable)


# What an enrolment may say in the place of a file that says nothing; the rest of its configuration is for others.
FROM_ENROLMENT: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {
        "facts.full": str,
        "facts.refresh": str,
        "machines.signing_key": str,
        "saas.durability": str,
        "site.name": str,
        "site.role": str,
        "site.term": lambda text: int(text) if text.isdecimal() and len(text) < 20 else text,
        "site.listen": str,
        "site.relay": str,
        "site.urls": lambda text: [url.strip() for url in text.split(",") if url.strip()],
    }
)


def parse_document(text: str, file: Path, granted: Mapping[str, str] = NOTHING) -> Document:
    """The tables of `text`, whose values are still as written. Raises BadInput, which names `file`.

    `granted` are settings by an enrolment, such as `{"machines.signing_key": "..."}`: those of FROM_ENROLMENT count
    where the file is silent.
    """
    raw = _tables(text, file)
    for name in granted.keys() & FROM_ENROLMENT.keys():
        table, _, key = name.partition(".")
        if isinstance(raw.setdefault(table, {}), dict):
            raw[table].setdefault(key, FROM_ENROLMENT[name](granted[name]))
    try:
        return msgspec.convert(raw, Document)
    except msgspec.ValidationError as error:
        raise BadInput(f"{file}: {_plain(str(error))}: correct that key.") from error


def _tables(text: str, file: Path) -> dict[str, Any]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.count(".") > _MOST_DOTS:
            raise BadInput(f"{file}: line {number} has more than {_MOST_DOTS} dots: spread it over several lines.")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{file} is not valid TOML ({_one_line(str(error))}): correct that line.") from error
    except RecursionError as error:
        raise BadInput(f"{file} is not a configuration: its values are nested too deeply.") from error
    except ValueError as error:
        raise BadInput(f"{file} holds a number with thousands of digits: write a smaller one.") from error


def _plain(message: str) -> str:
    """What msgspec said, in the words of a configuration file."""
    what, _, where = message.partition(" - at `$")
    what = re.sub(
        "Object contains unknown field `(.*)`", lambda found: f"unknown key {quoted(found[1])}", what, flags=re.DOTALL
    )
    what = (
        what.replace("Object missing required field", "missing key")
        .replace("`object`", "`table`")
        .replace(" | null", "")
    )
    where = where.strip("`.")
    return _one_line(f"{what} in [{where}]" if where else what)


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
