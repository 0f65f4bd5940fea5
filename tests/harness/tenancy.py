"""A SaaS in operator mode as `mra saas init` makes it: a stock nats-server, and customers that come and go under it."""

from __future__ import annotations

import base64
import contextlib
import io
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from mra.cli.main import invoke
from mra.saas.directory import Directory
from mra.saas.registry import Registry
from mra.tokens import creds
from mra.tokens.nkey import KeyPair, Kind
from tests.harness.ports import free_port
from tests.harness.processes import Child
from tests.harness.saas import ASK_AGAIN_SECONDS, LAB, READY_SECONDS, nats_server
from tests.harness.wire import Wire, WireError, open_proven_wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.plugins.server import ArtifactServer
    from mra.saas.registry import Customer
    from tests.harness.protocol import Info


SIGNER = LAB / "plugins" / "signer.seed"
_AT_HOME = (("plugins", "pack"), ("plugins", "sign"))  # they ask no server


class Tenancy:
    """One SaaS, its server running or not. Made by `open_tenancy`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "saas"
        self.log = directory / "nats-server.log"
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._sites = directory
        self._child: Child | None = None

    @property
    def registry(self) -> Registry:
        """The customers."""
        return Registry(Directory(self.path))

    @property
    def backend(self) -> Path:
        """Credentials of the owner of the streams."""
        return self.path / "creds" / "backend.creds"

    def run(self, *words: str) -> tuple[int, str]:
        """`mra saas WORDS`; its exit code and what it printed. Call it in a thread: it has an event loop of its own."""
        asks_no_server = words[0] == "init" or words[:2] in _AT_HOME
        out = io.TextIOWrapper(io.BytesIO(), write_through=True)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = invoke(["saas", *words, *([] if asks_no_server else ["--saas", str(self.path)])])
        out.seek(0)
        return code, out.read()

    async def mra(self, *words: str) -> str:
        """`mra saas WORDS`, which has to succeed; what it printed."""
        # One at a time, as the output of a thread is that of the process.
        code, out = await trio.to_thread.run_sync(self.run, *words)
        assert code == 0, out
        return out

    async def fail(self, *words: str) -> tuple[int, str]:
        """`mra saas WORDS`, which has to fail; its exit code and its sentence."""
        code, out = await trio.to_thread.run_sync(self.run, *words)
        assert code != 0, out
        return code, out

    async def publish(self, customer: str, source: Path, artifacts: ArtifactServer, scratch: Path) -> None:
        """Pack a machine for the HTTPS server, sign the list that names it with the lab's key, and publish that."""
        listed, signed, seed = scratch / "plugins.json", scratch / "signed.json", scratch / "signer.seed"
        listed.write_text(
            await self.mra("plugins", "pack", str(source), "--into", str(artifacts.root), "--base-url", artifacts.url())
        )
        seed.write_text(SIGNER.read_text())
        seed.chmod(0o600)
        await self.mra("plugins", "sign", "--seed", str(seed), str(listed), "--output", str(signed))
        await self.mra("plugins", "publish", customer, str(signed))

    async def start(self) -> None:
        """Start the server; returns when the backend can connect."""
        assert self._child is None, "the server runs already"
        self._child = Child([nats_server(), "--config", str(self.path / "saas.conf")], self.log)
        with trio.fail_after(READY_SECONDS):
            while True:
                try:
                    async with self.connect(self.backend) as wire:
                        await wire.ask("$JS.API.INFO")
                        return
                except (OSError, WireError):
                    assert self._child.returncode is None, self.log.read_text()[-2000:]
                    await trio.sleep(ASK_AGAIN_SECONDS)

    async def stop(self) -> None:
        """End the server, however it likes."""
        if self._child is not None:
            child, self._child = self._child, None
            await child.aclose()

    def site(self, customer: str, node: str = "n1", *, expires: int | None = None) -> Path:
        """Credentials of a node, as enrolment would leave them."""
        file = self._sites / f"{customer}-{node}.creds"
        if not file.exists():
            key = KeyPair.generate(Kind.USER)
            token = self.registry.issue(customer, node, key.public, now=time.time(), expires=expires)
            file.write_text(creds.compose(token, key))
            file.chmod(0o600)
        return file

    def customer(self, name: str) -> Customer:
        """What is decided about a customer."""
        return self.registry.get(name)

    @asynccontextmanager
    async def connect(self, file: Path, *, inbox: str | None = None) -> AsyncIterator[Wire]:
        """A connection of the tests' own client, with credentials from a file, on the user's own inbox."""
        async with open_creds_wire(self.port, file, inbox=inbox) as wire:
            yield wire


@asynccontextmanager
async def open_creds_wire(
    port: int, file: Path, *, inbox: str | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Wire]:
    """A connection of the tests' own client, with credentials from a file, on the user's own inbox."""
    found = creds.parse(file.read_text())  # noqa: ASYNC240 - a few bytes

    def prove(info: Info) -> dict[str, str]:
        signature = found.key.sign(info.options["nonce"].encode())
        return {"jwt": found.token, "sig": base64.urlsafe_b64encode(signature).rstrip(b"=").decode()}

    name = file.stem.rpartition("-")[2]
    async with open_proven_wire(port, prove, inbox=inbox or f"_INBOX.{name}", tls=tls) as wire:
        yield wire


@asynccontextmanager
async def open_tenancy(directory: Path, *customers: str) -> AsyncIterator[Tenancy]:
    """A started SaaS with its streams and these customers, for the length of the block."""
    tenancy = Tenancy(directory)
    try:
        await tenancy.mra("init", str(tenancy.path), "--port", str(tenancy.port))
        await tenancy.start()
        await tenancy.mra("streams", "apply")
        for customer in customers:
            await tenancy.mra("customer", "add", customer)
        yield tenancy
    finally:
        await tenancy.stop()
