"""Signed plugin specifications: what shall be deployed, and proof that the signer said so. (pure)

A specification is a JSON object `{"plugins": "<base64>", "signature": "<hex>"}`. The base64 text decodes to a JSON list
of plugins, and the ed25519 signature covers **the ASCII base64 text itself** (section 3.12 of the reference; a test
vector and a published example are in the tests).

Beside those two fields a document may carry `serial`, a decimal number as text, and `serial_signature`, a signature by
the same key over `<serial>.<plugins>`. The list stays untouched, and Choria ignores fields it does not know, so such
documents serve its agents too. The dot is no base64 character: neither signature can pass for the other. (A JSON
number would have served, but numbers in machine data come back from disk as floats.) What serials are for is told in
`mra.machines.accepted`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mra.errors import BadInput, Refused
from mra.machines.archives.source import web_address, without_credentials

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

LONGEST_TEXT = 4 * 1024 * 1024
MOST_PLUGINS = 1000
LONGEST_FIELD = 4096

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_SERIAL = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


class Untrusted(Refused):
    """The specification is not signed by the configured key, or was altered after signing."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin to deploy: the archive, its digests, and the nodes it is meant for.

    `checksum` is the SHA-256 of the archive, `verify_checksum` that of the `SHA256SUMS` file inside, both in hex.
    `match` is an expression; absent means every node.
    """

    name: str
    source: str
    checksum: str
    verify_checksum: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    match: str | None = None
    governor: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A specification as it travels; nothing in it has been believed yet."""

    plugins: str
    signature: str | None = None
    serial: str | None = None
    serial_signature: str | None = None


@dataclass(frozen=True, slots=True)
class Specification:
    """A specification to act upon. `digest` is the SHA-256 of the signed text; `key` is empty when none was asked."""

    plugins: tuple[Plugin, ...]
    digest: str
    serial: int | None
    key: str


def read(value: object, key: str = "", *, reserved: Collection[str] = ()) -> Specification:
    """Parse, verify and check a specification; the one entry that handles untrusted bytes.

    Args:
        value: JSON text or bytes, or the mapping that a data item holds.
        key: the signer's public key in hex; empty means that signatures are not looked at.
        reserved: names that no plugin may take, such as those of compiled-in machines.

    Raises:
        Untrusted: with a key, when a signature is missing or wrong.
        BadInput: it is no specification, one of its entries is wrong (one bad entry fails all), or the key is unusable.
    """
    document = parse(value)
    serial = None
    if key:
        verify(document, public_key(key))
        serial = int(document.serial) if document.serial else None
    return Specification(
        plugins=entries(document.plugins, reserved=reserved),
        digest=hashlib.sha256(document.plugins.encode()).hexdigest(),
        serial=serial,
        key=key.lower(),
    )


def parse(value: object) -> Document:
    """The document in `value`, which is JSON or already decoded; BadInput when it is none."""
    try:
        if isinstance(value, str | bytes | bytearray):
            document = msgspec.json.decode(value, type=Document)
        elif isinstance(value, Mapping):
            document = msgspec.convert(dict(value), type=Document)
        else:
            raise BadInput(f"specification is a {type(value).__name__}; expected an object with plugins and signature")
    except (msgspec.MsgspecError, ValueError, RecursionError) as cause:
        raise BadInput(f"specification is no object with plugins and signature ({cause}); sign it again") from cause
    if len(document.plugins) > LONGEST_TEXT:
        raise BadInput(f"specification has {len(document.plugins)} characters; at most {LONGEST_TEXT} are accepted")
    if not document.plugins.isascii():
        raise BadInput("specification's plugins field is no base64 text; sign it again")
    if document.serial and not _SERIAL.fullmatch(document.serial):
        raise BadInput(f"specification's serial {document.serial[:40]!r} is no decimal number of at most 18 digits")
    return document


def public_key(text: str) -> Ed25519PublicKey:
    """The ed25519 public key in hex; BadInput when it is none."""
    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    except ValueError as cause:
        raise BadInput("machine signing key is no ed25519 public key of 64 hex digits; correct it") from cause


def verify(document: Document, key: Ed25519PublicKey) -> None:
    """Check the signature, and that of the serial where there is one; Untrusted when either is missing or wrong."""
    _verify(key, document.signature, document.plugins, "signature")
    if document.serial:
        _verify(key, document.serial_signature, f"{document.serial}.{document.plugins}", "serial_signature")


def _verify(key: Ed25519PublicKey, signature: str | None, text: str, what: str) -> None:
    if not signature:
        raise Untrusted(f"specification has no {what}; publish one that is signed with the configured key")
    try:
        key.verify(bytes.fromhex(signature), text.encode())
    except (ValueError, InvalidSignature) as cause:
        raise Untrusted(f"specification's {what} is not by the configured key; publish one signed with it") from cause


def entries(text: str, *, reserved: Collection[str] = ()) -> tuple[Plugin, ...]:
    """Decode and check the plugins list; BadInput names the first entry that is wrong."""
    try:
        # Line breaks inside base64 are skipped, as Go's decoder does.
        raw = base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
        plugins = msgspec.json.decode(raw, type=list[Plugin])
    except (binascii.Error, msgspec.MsgspecError, ValueError, RecursionError) as cause:
        raise BadInput(f"specification's plugins are no base64 of a plugin list ({cause}); sign it again") from cause
    if len(plugins) > MOST_PLUGINS:
        raise BadInput(f"specification lists {len(plugins)} plugins; at most {MOST_PLUGINS} are accepted")
    seen = set(reserved)
    for plugin in plugins:
        _check(plugin)
        if plugin.name in seen:
            raise BadInput(f"plugin name {plugin.name!r} is taken twice or reserved; give each one a name of its own")
        seen.add(plugin.name)
    return tuple(plugins)


def _check(plugin: Plugin) -> None:
    if not _NAME.fullmatch(plugin.name):
        raise BadInput(f"plugin name {plugin.name[:100]!r} is no name of letters, digits, dots, dashes and underscores")
    if plugin.name == "tmp" or plugin.name.endswith("-temp"):
        raise BadInput(f"plugin name {plugin.name!r} names a directory that is never loaded; choose another")
    for what, text in asdict(plugin).items():
        _check_text(plugin.name, what, text or "")
    for what in ("checksum", "verify_checksum"):
        text = getattr(plugin, what)
        if not _SHA256.fullmatch(text) and not templated(text):
            raise BadInput(f"{what} of plugin {plugin.name} is no SHA-256 of 64 hex digits")
    if not templated(plugin.source):
        web_address(plugin.source)
    if plugin.username and not plugin.password:
        raise BadInput(f"plugin {plugin.name} has a username for {without_credentials(plugin.source)} but no password")


def _check_text(plugin: str, what: str, text: str) -> None:
    if len(text) > LONGEST_FIELD:
        raise BadInput(f"{what} of plugin {plugin} has {len(text)} characters; at most {LONGEST_FIELD} are accepted")
    # A match expression may be laid out over lines; the rest is written into a manifest.
    shown = text.replace("\n", "").replace("\t", "") if what == "match" else text
    if not shown.isprintable():
        raise BadInput(f"{what} of plugin {plugin} holds control or unassigned characters; remove them")


def templated(text: str) -> bool:
    """Whether the archive watcher will expand a template in it, so that it cannot be judged yet."""
    return "{{" in text


def sign(plugins: Iterable[Plugin], seed: bytes, serial: int | None = None) -> bytes:
    """The signed document for `plugins`, as JSON that Choria's agents accept as well.

    Args:
        plugins: the list, checked as a node would check it.
        seed: the 32-byte ed25519 seed.
        serial: greater than that of every document published before; seconds since 1970 serve well.

    Raises:
        BadInput: an entry, the seed or the serial is wrong.
    """
    if len(seed) != 32:
        raise BadInput(f"signing seed has {len(seed)} bytes; an ed25519 seed has 32")
    key = Ed25519PrivateKey.from_private_bytes(seed)
    listed = [{name: text for name, text in asdict(plugin).items() if text} for plugin in plugins]
    text = base64.b64encode(msgspec.json.encode(listed)).decode()
    entries(text)
    document = {"plugins": text, "signature": key.sign(text.encode()).hex()}
    if serial is not None:
        if not _SERIAL.fullmatch(str(serial)):
            raise BadInput(f"serial {serial} is no number from 0 to {10**18 - 1}")
        document |= {"serial": str(serial), "serial_signature": key.sign(f"{serial}.{text}".encode()).hex()}
    return msgspec.json.encode(document)
