"""A site: its agent as a real process with a configuration and a state directory, and producers that load it."""

from __future__ import annotations

import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from mra.outbox.record import Lane
from tests.harness.ledger import Row, read_ledger
from tests.harness.offers import Load
from tests.harness.processes import Child

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Mapping, Sequence

    from tests.harness.saas import Login

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 30
LOOK_AGAIN_SECONDS = 0.02
BUSY_SECONDS = 10.0
NO_ANSWER = (OSError, ValueError, KeyError, trio.BrokenResourceError)  # what asking for a status may raise

Tables = dict[str, dict[str, Any]]


class NotReady(Exception):
    """The agent ended, or did not answer in time; its log is in the message."""


def quick_tables() -> Tables:
    """Settings for tests: a small outbox, and retries that come back in fractions of a second."""
    return {
        "outbox": {"max_bytes": "512MiB", "min_free": "1MiB", "ballast": "1MiB"},
        "uplink": {"retry_first": "50ms", "retry_cap": "500ms", "patience": "5s"},
    }


class Site:
    """One agent, running or not, and its producers. Made by `open_site`.

    `directory` holds the configuration, the log and the ledger; `state` may lie on a disk of its own. `tables` are
    tables of the configuration, laid over `quick_tables`. Without a `login` the agent enrols, with the file
    `provisioning.jwt` in `directory`.
    """

    def __init__(
        self,
        directory: Path,
        port: int,
        login: Login | None,
        *,
        state: Path | None = None,
        name: str = "site1",
        tables: Mapping[str, Mapping[str, Any]] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.name = directory, name
        self.state = state or directory / "state"
        self.config, self.ledger = directory / "agent.toml", directory / "ledger"
        self.ledger.mkdir(exist_ok=True)
        self.log = directory / "agent.log"
        self.environment = {"PYTHONPATH": str(ROOT), **(environment or {})}
        self.tables = quick_tables()
        self.tables["agent"] = {"name": name, "state": str(self.state)}
        if login is not None:
            (directory / "password").write_text(login.password + "\n")
            self.tables["saas"] = {
                "urls": [f"nats://127.0.0.1:{port}"],
                "user": login.user,
                "password_file": str(directory / "password"),
            }
        self.configure(tables or {})
        self._agent: Child | None = None
        self._producers: list[Child] = []

    def configure(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Change settings, for instance `{"outbox": {"max_bytes": "2MiB"}}`; the next start reads them."""
        for table, settings in tables.items():
            self.tables[table] = self.tables.get(table, {}) | dict(settings)
        lines: list[str] = []
        for table, settings in self.tables.items():
            lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items()), ""]
        self.config.write_text("\n".join(lines))

    @property
    def database(self) -> Path:
        """The outbox's file."""
        return self.state / "outbox.db"

    @property
    def agent(self) -> Child:
        """The running daemon."""
        assert self._agent is not None, "the agent does not run"
        return self._agent

    async def start(self, *, load: Load | None = None) -> None:
        """Start `mra run`, or with a `load` the agent that has producers inside; returns when it answers.

        Raises `NotReady` with the end of its log.
        """
        assert self._agent is None, "the agent runs already"
        command = ["mra.cli.main", "run", "--config", str(self.config)]
        if load is not None:
            command = ["tests.harness.loaded_agent", *load.arguments()]
        self._agent = self._python(command, self.log)
        try:
            with trio.fail_after(READY_SECONDS):
                await self._wait_ready(self._agent)
        except (NotReady, trio.TooSlowError):
            await self._gone()
            raise NotReady(self.log_end()) from None

    async def _wait_ready(self, agent: Child) -> None:
        while agent.returncode is None:
            try:
                await self._ask_status()
            except (OSError, ValueError, trio.BrokenResourceError):
                await trio.sleep(LOOK_AGAIN_SECONDS)
            else:
                return
        raise NotReady("it ended at once")

    def log_end(self) -> str:
        """The last lines that the agent wrote."""
        return self.log.read_text()[-4_000:]

    async def kill(self) -> None:
        """End the agent with SIGKILL."""
        await self.agent.kill()
        await self._gone()

    async def terminate(self) -> int:
        """End the agent in order; its exit status."""
        status = await self.agent.terminate()
        await self._gone()
        return status

    async def wait_ended(self) -> int:
        """Wait until the agent ends by itself; its exit status."""
        status = await self.agent.wait()
        await self._gone()
        return status

    async def _gone(self) -> None:
        if self._agent is not None:
            agent, self._agent = self._agent, None
            await agent.aclose()

    async def aclose(self) -> None:
        """Leave no process behind."""
        for producer in self._producers:
            await producer.aclose()
        self._producers.clear()
        await self._gone()

    async def status(self) -> dict[str, Any]:
        """What the daemon says of itself over its control socket. Raises one of `NO_ANSWER` when it cannot.

        One that cannot just now, as while its place in a site changes, is asked again for a while.
        """
        patience = trio.current_time() + BUSY_SECONDS
        while True:
            try:
                return await self._ask_status()
            except NO_ANSWER:
                runs = self._agent is not None and self._agent.returncode is None
                if not runs or trio.current_time() > patience:
                    raise
            await trio.sleep(LOOK_AGAIN_SECONDS)

    async def _ask_status(self) -> dict[str, Any]:
        async with await trio.open_unix_socket(self.state / "mra.sock") as stream:
            await stream.send_all(b'{"ask": "status"}\n')
            answer = b"".join([piece async for piece in stream])
        document: dict[str, Any] = json.loads(answer)["answer"]
        return document

    async def wait_drained(self) -> None:
        """Wait until nothing waits in any lane, within the caller's deadline; stop the producers first.

        A daemon that is being restarted or cannot answer just now is asked again.
        """
        while True:
            try:
                lanes = (await self.status())["lanes"]
            except NO_ANSWER:
                lanes = None
            if lanes is not None and not any(lane["waiting"] for lane in lanes.values()):
                return
            await trio.sleep(LOOK_AGAIN_SECONDS)

    async def mra(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run a command of `mra` on this site's configuration and give what it printed."""
        return await trio.run_process(
            [sys.executable, "-m", "mra.cli.main", *arguments],
            env={**os.environ, **self.environment, "MRA_CONFIG": str(self.config)},
            capture_stdout=True,
            capture_stderr=True,
            check=check,
        )

    def load(
        self,
        *lanes: Lane,
        group: int = 10,
        count: int = 0,
        pause: float = 0.01,
        size: int = 0,
        synchronous: str = "FULL",
    ) -> Load:
        """Rows to offer, on every lane unless some are named."""
        return Load(self.config, self.ledger, lanes or tuple(Lane), group, count, pause, size, synchronous)

    def start_producer(self, load: Load) -> Child:
        """A process that writes rows into the database file, whether the daemon runs or not."""
        log = self.directory / f"producer-{len(self._producers)}.log"
        producer = self._python(["tests.harness.producer", *load.arguments()], log)
        self._producers.append(producer)
        return producer

    async def produce(self, load: Load) -> None:
        """Offer rows until their count is reached. Raises `ChildProcessError` with the log when that goes wrong."""
        producer = self.start_producer(load)
        if await producer.wait():
            raise ChildProcessError(producer.log.read_text())

    def accepted(self) -> frozenset[Row]:
        """The rows that producers were told are accepted, until now."""
        return read_ledger(self.ledger)

    def _python(self, command: Sequence[str], log: Path) -> Child:
        return Child([sys.executable, "-m", *command], log, self.environment)


@asynccontextmanager
async def open_site(directory: Path, port: int, login: Login, **options: Any) -> AsyncIterator[Site]:
    """A site whose agent is not started yet; leaving the block ends its agent and its producers."""
    site = Site(directory, port, login, **options)
    try:
        yield site
    finally:
        await site.aclose()
