"""Reads the configuration, and the files with secrets that it names."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mra.credentials import from_creds, from_files
from mra.enrol.names import safe_name
from mra.errors import BadInput
from mra.settings.document import ProvisioningTable, parse_document
from mra.settings.sections import build_settings
from mra.settings.values import Values

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mra.aio.session import Access
    from mra.credentials import Credentials
    from mra.settings.document import SaasTable
    from mra.settings.model import Settings

LONGEST_FILE: Final = 256 * 1024  # bytes
_LONGEST_SECRET: Final = 4096


def read_settings(file: Path, *, secrets: bool = True, granted: Mapping[str, str] | None = None) -> Settings:
    """Settings from `file`; paths in it are relative to it. Raises BadInput.

    A file that does not exist counts as an empty one where a provisioning token stands beside it. `granted` are
    settings by an enrolment, for those that the file does not name.

    Without `secrets` the files that hold them are not looked at, and `access` opens nothing: for commands that any
    user may run.
    """
    document, values = parse_document(_text(file), file, granted or {}), Values(file)
    names_itself = bool(document.agent.name)
    document.agent.name = document.agent.name or _host_name(values)
    settings = replace(build_settings(document, values), names_itself=names_itself)
    if not secrets:
        return settings
    if settings.machines.extra_ca:
        _trusting("machines.extra_ca", settings.machines.extra_ca, values)
    settings = replace(settings, access=_with_secrets(settings.access, document.saas, values))
    credentials = _credentials(document.saas, values)
    return settings if credentials is None else _with_credentials(settings, credentials, values)


def _credentials(raw: SaasTable, values: Values) -> Credentials | None:
    if raw.credentials_file is not None:
        return from_creds(values.path("saas.credentials_file", raw.credentials_file))
    if raw.user_jwt_file is not None and raw.nkey_file is not None:
        jwt = values.path("saas.user_jwt_file", raw.user_jwt_file)
        return from_files(jwt, values.path("saas.nkey_file", raw.nkey_file))
    return None


def _with_credentials(settings: Settings, credentials: Credentials, values: Values) -> Settings:
    if credentials.name != settings.name:  # the permissions of its inbox, and its checkpoints, go by that name
        raise values.bad("agent.name", settings.name, f"the credentials are for {credentials.name!r}: use that name")
    access = replace(settings.access, user_jwt=credentials.user_jwt, sign=credentials.sign)
    return replace(settings, access=access, customer=settings.customer or credentials.account)


def _text(file: Path) -> str:
    try:
        text = _read_text(file, LONGEST_FILE)
    except FileNotFoundError as error:
        token = ProvisioningTable().token
        if file.with_name(token).exists():
            return ""
        raise BadInput(
            f"Cannot read the configuration {file} (there is none): check --config, or copy the SaaS's {token} there."
        ) from error
    except OSError as error:
        raise BadInput(f"Cannot read the configuration {file} ({error.strerror}): check --config.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not UTF-8 text: rewrite it.") from error
    if text is None:
        raise BadInput(f"{file} is not a configuration: it has more than {LONGEST_FILE} bytes.")
    return text


def _host_name(values: Values) -> str:
    name = socket.gethostname()
    try:
        return safe_name(name)
    except BadInput as error:
        raise values.bad("agent.name", "", f"this host is called {name[:60]!r}, so write a name") from error


def _with_secrets(access: Access, raw: SaasTable, values: Values) -> Access:
    password = None if raw.password_file is None else _password(raw.password_file, values)
    tls = None if raw.tls_ca is None else _trusting("saas.tls_ca", values.path("saas.tls_ca", raw.tls_ca), values)
    return replace(access, user=raw.user, password=password, tls=tls)


def _password(file: str, values: Values) -> str:
    key = "saas.password_file"
    try:
        text = _read_text(values.path(key, file), _LONGEST_SECRET)
    except (OSError, UnicodeDecodeError) as error:
        raise values.bad(key, file, f"the file cannot be read ({error})") from error
    if text is None or not text.strip():
        raise values.bad(key, file, "the file must hold the password and nothing else")
    return text.strip()


def _read_text(file: Path, most: int) -> str | None:
    """The whole file, or None when it has more than `most` bytes (a device may have no end)."""
    with file.open("rb") as source:
        raw = source.read(most + 1)
    return raw.decode() if len(raw) <= most else None


def _trusting(key: str, authorities: Path, values: Values) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(authorities))
    except (OSError, ssl.SSLError) as error:
        raise values.bad(key, str(authorities), f"it must be a PEM file of certificates ({error})") from error
