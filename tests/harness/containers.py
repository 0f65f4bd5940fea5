"""The lab's containers, run for real with podman where it is installed; `missing()` says why they cannot run here.

Podman's limits on open files and processes are lowered by a configuration of our own, because a machine may not let
root raise them, and its runtime is runc. Images are made from Debian's packages: no registry is asked.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from tests.harness.ports import free_port

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Callable, Sequence

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("podman", "podman-compose", "runc", "catatonit", "debootstrap")
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/libexec/podman", "/usr/lib/podman"))
PROJECT = f"mra-lab-{os.getpid()}"
PODMAN = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
LOOK_AGAIN_SECONDS = 0.5


def missing() -> str | None:
    """Why containers cannot be run here, or None when they can."""
    if os.geteuid() != 0:
        return "containers need root here"
    for command in COMMANDS:
        if shutil.which(command, path=PATH) is None:
            return f"there is no {command} command"
    return None


class Containers:
    """The running project of `lab/compose.yaml`, with one server of the SaaS or several."""

    def __init__(self, directory: Path, servers: Sequence[str]) -> None:
        configuration = directory / "containers.conf"
        configuration.write_text(PODMAN)
        self.environment = os.environ | {
            "PATH": PATH,
            "CONTAINERS_CONF": str(configuration),
            "MRA_LAB_HTTPD": "localhost/mra-lab-httpd",
            "MRA_LAB_PORT": str(free_port()),
            "MRA_LAB_SERVERS": " ".join(servers),
            "MRA_LAB_REPLICAS": str(len(servers)),
        }

    async def run(self, *command: str, stdin: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """One command; raises `ChildProcessError` with what it said when it fails, unless `check` is off."""
        done = await trio.run_process(
            command, env=self.environment, cwd=ROOT, stdin=stdin, capture_stdout=True, capture_stderr=True, check=False
        )
        if check and done.returncode:
            raise ChildProcessError(f"{' '.join(command)}: {(done.stderr + done.stdout).decode()[-2000:]}")
        return done

    async def compose(self, *words: str) -> None:
        """`podman-compose WORDS`. Debian's knows no profiles: whatever has one is started as well."""
        await self.run("podman-compose", "-p", PROJECT, "-f", "lab/compose.yaml", *words)

    async def down(self) -> None:
        """Remove containers, and the volumes and networks too, which old versions of podman-compose leave behind."""
        await self.compose("down", "--volumes")
        for kind in ("volume", "network"):
            named = await self.run("podman", kind, "ls", "--quiet", "--filter", f"name={PROJECT}_")
            if left := named.stdout.decode().split():
                await self.run("podman", kind, "rm", "--force", *left)

    async def inside(self, service: str, *command: str, stdin: bytes = b"") -> str:
        """What a command prints in a service's container."""
        done = await self.run("podman", "exec", "--interactive", container(service), *command, stdin=stdin)
        return done.stdout.decode()

    async def document(self, service: str, *command: str) -> Any:
        """The JSON that a command prints there."""
        return json.loads(await self.inside(service, *command, "--json"))

    async def until(self, holds: Callable[[Any], object], service: str, *command: str, seconds: float = 90) -> Any:
        """Ask again until the JSON that a command prints fits; a command that fails meanwhile is asked again too.

        Raises `AssertionError` with the last answer and the container's log when it does not fit in time.
        """
        found: Any = None
        with trio.move_on_after(seconds):
            while True:
                try:
                    if holds(found := await self.document(service, *command)):
                        return found
                except (ChildProcessError, json.JSONDecodeError) as error:
                    found = error
                await trio.sleep(LOOK_AGAIN_SECONDS)
        said = await self.logs(service, "desk", "nats", "artifacts")
        raise AssertionError(f"{service}: {' '.join(command)}: {found}\n{said}")

    async def cut_off(self, service: str) -> None:
        """Take a container off the network."""
        await self.run("podman", "network", "disconnect", f"{PROJECT}_wan", container(service))

    async def bring_back(self, service: str) -> None:
        """Put it there again."""
        await self.run("podman", "network", "connect", "--alias", service, f"{PROJECT}_wan", container(service))

    async def logs(self, *services: str) -> str:
        """The ends of what containers wrote."""
        said = []
        for service in services:
            done = await self.run("podman", "logs", "--tail", "15", container(service), check=False)
            said.append(f"== {service}\n{(done.stdout + done.stderr).decode()}")
        return "\n".join(said)


def container(service: str) -> str:
    """The name of a service's container."""
    return f"{PROJECT}_{service}_1"


@asynccontextmanager
async def open_containers(directory: Path, servers: Sequence[str] = ("nats",)) -> AsyncIterator[Containers]:
    """Images made, and the whole project up for the length of the block; nothing of it is left behind."""
    containers = Containers(directory, servers)
    await containers.run("lab/containers/images")
    await containers.down()
    try:
        await containers.compose("up", "--no-build", "--detach")
        yield containers
    finally:
        with trio.CancelScope(shield=True):
            await containers.down()
