"""What a demonstration consists of: processes, their files, and the order in which they are stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lab.plugins.authority import Authority
from mra.settings import Settings, read_settings
from tests.harness.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

LAB = Path(__file__).resolve().parent
HOME = LAB / "var" / "demo"


class Lab:
    """The processes and files of one demonstration."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.artifacts_port = free_port()
        self.artifacts = HOME / "artifacts"  # what the vendor's HTTPS server serves
        self.config = HOME / "agent.toml"
        self.ledger = HOME / "ledger"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def prepare(self) -> Settings:
        """Fresh files from the lab's own configuration."""
        shutil.rmtree(HOME, ignore_errors=True)
        HOME.mkdir(parents=True)
        environment = {}
        for line in (LAB / "nats" / "saas.env").read_text().splitlines():
            name, equals, value = line.partition("=")
            if equals and not name.startswith("#"):
                environment[name] = value
        self._saas_environment = environment | {
            "MRA_NATS_PORT": str(self.port),
            "MRA_NATS_HTTP_PORT": str(free_port()),
            "MRA_NATS_STORE": str(HOME / "saas"),
        }
        for name in ("acme", "backend"):
            (HOME / f"{name}.password").write_text(environment[f"MRA_NATS_{name.upper()}_PASSWORD"])
        text = (LAB / "agent" / "agent.toml").read_text()
        text = text.replace("nats://127.0.0.1:4222", self.url).replace("../var/agent", "agent")
        authority = Authority.new(HOME / "tls")
        text = text.replace('# extra_ca = "/etc/ssl/plugins-ca.pem"', f'extra_ca = "{authority.ca_file}"')
        text = text.replace('retry_cap = "30s"', 'retry_cap = "2s"')  # a demonstration has no herd to spread
        self.config.write_text(text)
        return read_settings(self.config)

    def start(self, name: str, *command: str) -> None:
        """Start one process; its output goes to a file of its name."""
        with (HOME / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=LAB.parent,
                env=os.environ | self._saas_environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (HOME / "pids").write_text("".join(f"{process.pid}\n" for process in self.processes.values()))

    def start_saas(self) -> None:
        """nats-server, from `lab/nats/saas.conf`."""
        self.start("saas", tool("nats-server"), "--config", str(LAB / "nats" / "saas.conf"))

    def start_artifacts(self) -> None:
        """The vendor's HTTPS server, with a certificate of the authority that the agent trusts."""
        self.artifacts.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "lab.plugins.server", "--root", str(self.artifacts)]
        certificate = str(HOME / "tls" / "server.pem")
        self.start("artifacts", *command, "--certificate", certificate, "--port", str(self.artifacts_port))

    def start_agent(self) -> None:
        """The daemon of the branded agent."""
        self.start("agent", sys.executable, str(LAB / "agent" / "branded.py"), "run", "--config", str(self.config))

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Stop everything: in order where it is asked nicely, at once where it does not listen."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
        (HOME / "pids").unlink(missing_ok=True)


def tool(name: str) -> str:
    """A program of the environment this runs in."""
    return str(Path(sys.executable).with_name(name))


@contextmanager
def running_lab(keep: bool) -> Iterator[Lab]:
    """A lab that is stopped at the end, whatever happens, unless it is to be kept."""
    lab = Lab()
    try:
        yield lab
    except BaseException:
        lab.stop()
        raise
    if not keep:
        lab.stop()


def apply_streams(lab: Lab) -> None:
    """Create the streams with the vendor's own command, as soon as the server answers."""
    command = [tool("mra"), "saas", "streams", "apply", "--server", lab.url, "--user", "backend"]
    for _ in range(100):
        done = subprocess.run(
            [*command, "--password-file", str(HOME / "backend.password")], capture_output=True, text=True
        )
        if done.returncode == 0:
            return
        time.sleep(0.1)
    raise SystemExit(f"demo: the SaaS does not come up: {done.stderr.strip()} See {HOME / 'saas.log'}.")


def stop_kept() -> int:
    """Stop what an earlier `--keep` left running; only processes that are still ours."""
    pids = HOME / "pids"
    if not pids.exists():
        print("demo: nothing is running.")
        return 0
    for pid in map(int, pids.read_text().split()):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if str(LAB).encode() in command or str(HOME).encode() in command:
            os.kill(pid, signal.SIGTERM)
            print(f"demo: stopped process {pid}.")
    pids.unlink()
    return 0
