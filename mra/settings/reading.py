"""Reads the configuration, and the files with secrets that it names."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

from mra.errors import BadInput
from mra.settings.document import parse_document
from mra.settings.sections import build_settings
from mra.settings.values import Values

if TYPE_CHECKING:
    from pathlib import Path

    from mra.aio.session import Access
    from mra.settings.document import SaasTable
    from mra.settings.model import Settings


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
    document, values = parse_document(text, file), Values(file)
    settings = build_settings(document, values)
    if not secrets:
        return settings
    if settings.machines.extra_ca:
        _trusting("machines.extra_ca", settings.machines.extra_ca, values)
    return replace(settings, access=_with_secrets(settings.access, document.saas, values))


def _with_secrets(access: Access, raw: SaasTable, values: Values) -> Access:
    password = None if raw.password_file is None else _password(raw.password_file, values)
    tls = None if raw.tls_ca is None else _trusting("saas.tls_ca", values.path(raw.tls_ca), values)
    return replace(access, user=raw.user, password=password, tls=tls)


def _password(file: str, values: Values) -> str:
    try:
        return values.path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise values.bad("saas.password_file", file, f"the file cannot be read ({error})") from error


def _trusting(key: str, authorities: Path, values: Values) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(authorities))
    except (OSError, ssl.SSLError) as error:
        raise values.bad(key, str(authorities), f"it must be a PEM file of certificates ({error})") from error
