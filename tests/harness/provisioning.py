"""Provisioning as tests need it: the service in this process, tokens of any kind, and nodes that enrol."""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from mra.aio.session import Access
from mra.credentials import from_creds
from mra.enrol.enrolment import load_enrolment
from mra.enrol.exchange import Asked, Credential, ask, credential_of
from mra.enrol.keys import load_or_make_keys
from mra.enrol.service import Enroller
from mra.enrol.settings import EnrolSettings
from mra.groups import ungrouped
from mra.provisioner.helper import HelperAnswer
from mra.provisioner.ledger import open_ledger
from mra.provisioner.opening import DATABASE, Choices, authority_of
from mra.provisioner.service import Service, run_provisioner
from mra.saas.directory import Directory
from mra.saas.registry import Registry
from mra.tokens import choria
from mra.tokens.choria import Provisioning

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mra.enrol.enrolment import Enrolment
    from mra.enrol.keys import NodeKeys
    from mra.enrol.shapes import Answer
    from mra.provisioner.helper import Helper
    from mra.tokens.ed25519 import SigningKey
    from tests.harness.tenancy import Tenancy

DAY = 86400.0


@dataclass
class Scripted:
    """A helper that says what a test wants, and remembers what it was asked."""

    says: HelperAnswer | Exception = field(default_factory=HelperAnswer)
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, question: dict[str, Any], /) -> HelperAnswer:
        await trio.lowlevel.checkpoint()
        self.asked.append(question)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@asynccontextmanager
async def serving(
    saas: Tenancy, helper: Helper | None = None, *, tls: ssl.SSLContext | None = None, **choices: Any
) -> AsyncIterator[None]:
    """The service on a SaaS's directory for the length of the block; leaving it is as sudden as a kill."""
    directory = Directory(saas.path)
    authority = authority_of(directory, Choices(**choices))
    found = from_creds(directory.creds_file("provisioner"))
    access = Access((saas.url,), "provisioner", tls=tls, user_jwt=found.user_jwt, sign=found.sign)
    async with open_ledger(saas.path / DATABASE) as ledger, trio.open_nursery() as nursery:
        service = Service(authority, Registry(directory), ledger, helper or Scripted(), least=0)
        await nursery.start(run_provisioner, service, access)
        yield
        nursery.cancel_scope.cancel()


def token(
    saas: Tenancy,
    customer: str = "acme",
    *,
    issuer: SigningKey | None = None,
    pinned: str = "",
    validity: float = DAY,
    now: float | None = None,
    **extensions: Any,
) -> str:
    """A provisioning token, by default a good one of the SaaS's own issuer; `pinned` is the key that may answer."""
    extensions |= {"issuer": pinned} if pinned else {}
    wanted = Provisioning(urls=(saas.url,), extensions={"customer": customer, **extensions})
    return choria.mint(
        wanted,
        issuer or Directory(saas.path).issuer(),
        now=time.time() if now is None else now,
        validity=validity,
        random=os.urandom(16),
    )


class Node:
    """A node with a directory of its own."""

    def __init__(self, directory: Path, identity: str, token: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.identity = identity
        self.token_file = directory / "provisioning.jwt"
        self.token_file.write_text(token)
        self.directory = directory / "identity"
        self.settings = EnrolSettings(self.directory, self.token_file, identity, retry_first=0.02, retry_cap=0.1)

    @property
    def keys(self) -> NodeKeys:
        """The node's keys, made when there are none."""
        return load_or_make_keys(self.directory)

    @property
    def enrolment(self) -> Enrolment | None:
        """What the node keeps."""
        return load_enrolment(self.directory)

    async def enrol(self, seconds: float = 20, **facts: Any) -> Enrolment:
        """Enrol as the agent does, within a bound."""
        with trio.fail_after(seconds):
            return await Enroller(self.settings, "1.0.0", lambda: facts).enrol()

    async def ask(
        self, request: str | None = None, *, credential: Credential | None = None, keys: NodeKeys | None = None
    ) -> Answer:
        """One attempt; raises what it raises, without the group around it."""
        chosen = credential or credential_of(self.token_file.read_text())
        asked = Asked(self.identity, request or os.urandom(16).hex(), "1.0.0", {})
        with ungrouped():
            answer, _ = await ask(chosen, keys or self.keys, asked)
        return answer
