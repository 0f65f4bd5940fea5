"""The service of one SaaS directory: which keys, customers, rules and address it works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mra.provisioner.authority import VALIDITY, Authority
from mra.provisioner.helper import Program
from mra.provisioner.rules import Rules
from mra.saas.accounts import PROVISIONING
from mra.tokens.ed25519 import check_public

if TYPE_CHECKING:
    from pathlib import Path

    from mra.provisioner.helper import Helper
    from mra.saas.directory import Directory

DATABASE: Final = "provisioner.db"
RULES: Final = "rules.toml"


@dataclass(frozen=True)
class Choices:
    """What the operator may choose. Times are seconds.

    Attributes:
        urls: where enrolled nodes find the SaaS; the directory's address when empty.
        issuers: further hex keys whose provisioning tokens are accepted.
        helper: a program to ask about every node, instead of the rules.
    """

    urls: tuple[str, ...] = ()
    issuers: tuple[str, ...] = ()
    validity: float = VALIDITY
    helper: Path | None = None
    helper_seconds: float = 10.0
    rules: Path | None = None


def authority_of(directory: Directory, choices: Choices) -> Authority:
    """In whose name a service on `directory` speaks. Raises BadInput, Refused for a further issuer that is no key."""
    charter = directory.charter()
    return Authority(
        directory.issuer(),
        frozenset(map(check_public, choices.issuers)),
        charter.accounts[PROVISIONING],
        directory.account_signer(PROVISIONING),
        choices.urls or (charter.server,),
        int(choices.validity),
    )


def helper_of(directory: Directory, choices: Choices) -> Helper:
    """Whom the service asks about nodes."""
    if choices.helper is not None:
        return Program(choices.helper, seconds=choices.helper_seconds)
    return Rules(choices.rules or directory.path / RULES)
