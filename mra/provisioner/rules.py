"""The embedded helper: enrols every node of a known customer, with the configuration that a TOML file names.

    [configuration]                               # for every node
    "site.region" = "eu"

    [customers.acme]
    defer = false                                 # true: look at acme's nodes again later
    configuration = { "site.plan" = "gold" }

    [customers.acme.roles.leader]                 # for nodes whose token names this role
    configuration = { "site.leader" = "true" }

What is said for a role counts more than what is said for its customer, and that more than what is said for all. The
file is read again for every node. Without a file every node is enrolled with an empty configuration.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from mra.errors import BadInput, Unavailable
from mra.provisioner.helper import HelperAnswer

if TYPE_CHECKING:
    from pathlib import Path


class _Rule(msgspec.Struct, forbid_unknown_fields=True):
    configuration: dict[str, str] = msgspec.field(default_factory=dict)
    defer: bool = False


class _Customer(_Rule, forbid_unknown_fields=True):
    roles: dict[str, _Rule] = msgspec.field(default_factory=dict)


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
        return HelperAnswer(
            defer=any(rule.defer for rule in (rules, customer, role)),
            msg="The SaaS's rules defer this node.",
            configuration={**rules.configuration, **customer.configuration, **role.configuration},
        )


def read_rules(file: Path | None) -> _File:
    """The rules in `file`; none where there is no file. Raises BadInput."""
    if file is None or not file.exists():
        return _File()
    try:
        return msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), _File)
    except OSError as error:
        raise BadInput(f"Cannot read {file} ({error.strerror}): check its owner and mode.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise BadInput(f"{file} is no file of rules ({error}): correct it.") from error
