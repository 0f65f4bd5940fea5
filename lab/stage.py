"""What a demonstration consists of: processes, their files, and the order in which they are stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lab.plugins.authority import Authority
from mra.settings import Settings, read_settings
from tests.harness.ports import free_port
from tests.harness.tenancy import open_creds_wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager

    from tests.harness.wire import Wire

LAB = Path(__file__).resolve().parent
HOME = LAB / "var" / "demo"
CUSTOMER = "acme"


class Lab:
    """The processes and files of one demonstration."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"tls://127.0.0.1:{self.port}"
        self.saas_home = HOME / "saas"
        self.artifacts_port = free_port()
        self.artifacts = HOME / "artifacts"  # what the vendor's HTTPS server serves
        self.config = HOME / "agent.toml"
        self.ledger = HOME / "ledger"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def prepare(self) -> Settings:
        """Fresh files: a SaaS made by the vendor's own command, and what a site is given of it."""
        shutil.rmtree(HOME, ignore_errors=True)
        self.artifacts.mkdir(parents=True)
        authority = Authority.new(HOME / "tls")
        certificate = str(authority.certificate)
        self.saas(
            "init", str(self.saas_home), "--port", str(self.port), "--tls-ca", str(authority.ca_file),
            "--tls-cert", certificate, "--tls-key", certificate,
        )  # fmt: skip
        text = (LAB / "agent" / "enrolled.toml").read_text()
        text = text.replace("/lab/var/ca", "tls").replace("/lab/var/", "")  # places in a container
        self.config.write_text(text.replace("[agent]", '[agent]\nname = "site1"'))
        return read_settings(self.config)

    def saas(self, *words: str, stdin: bytes = b"") -> bytes:
        """`mra saas WORDS` on this SaaS; what it printed. Ends the demonstration with its sentence when it fails."""
        done = self._try(*words, stdin=stdin)
        if done.returncode:
            raise SystemExit(f"demo: mra saas {' '.join(words[:2])} failed: {done.stderr.decode().strip()}")
        return done.stdout

    def _try(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        environment = os.environ | {"MRA_SAAS_DIR": str(self.saas_home)}
        return subprocess.run([tool("mra"), "saas", *words], input=stdin, capture_output=True, env=environment)

    def found_customer(self) -> None:
        """Streams, a customer, and the file that lets its nodes enrol: as soon as the server answers."""
        for _ in range(100):
            if (done := self._try("streams", "apply")).returncode == 0:
                break
            time.sleep(0.1)
        else:
            raise SystemExit(
                f"demo: the SaaS does not come up: {done.stderr.decode().strip()} See {HOME / 'saas.log'}."
            )
        self.saas("customer", "add", CUSTOMER)
        self.saas("token", CUSTOMER, "--role", "plant", "--output", str(HOME / "provisioning.jwt"))

    @property
    def account(self) -> str:
        """The customer's id, as it stands in every subject."""
        listed = json.loads(self.saas("customer", "ls", "--json"))
        return str(next(each["account"] for each in listed if each["name"] == CUSTOMER))

    def open_wire(self) -> AbstractAsyncContextManager[Wire]:
        """A connection of the reader that shares no code with the agent, as the owner of the streams."""
        tls = ssl.create_default_context(cafile=str(HOME / "tls" / "ca.pem"))
        return open_creds_wire(self.port, self.saas_home / "creds" / "backend.creds", tls=tls)

    def start(self, name: str, *command: str) -> None:
        """Start one process; its output goes to a file of its name."""
        with (HOME / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=LAB.parent,
                env=os.environ | {"MRA_SAAS_DIR": str(self.saas_home)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (HOME / "pids").write_text("".join(f"{process.pid}\n" for process in self.processes.values()))

    def start_saas(self) -> None:
        """nats-server, unmodified, as `mra saas init` configured it."""
        self.start("saas", tool("nats-server"), "--config", str(self.saas_home / "saas.conf"))

    def start_provisioner(self) -> None:
        """The vendor's service that enrols nodes."""
        self.start("provisioner", tool("mra"), "saas", "provisioner", "--saas", str(self.saas_home))

    def start_artifacts(self) -> None:
        """The vendor's HTTPS server, with a certificate of the authority that the agent trusts."""
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
