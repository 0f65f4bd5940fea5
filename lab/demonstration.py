"""What `lab/demo` shows: accept, outage, kill -9, recovery, and a count from the streams by a reader of its own."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from mra.control import ask_daemon
from mra.errors import Unavailable
from mra.outbox.record import Lane
from mra.settings import Settings, read_settings
from mra.status import from_file
from mra.units import show_duration, show_size
from tests.harness.ledger import Row, read_ledger, reconcile
from tests.harness.ports import free_port
from tests.harness.wire import open_wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LAB = Path(__file__).resolve().parent
HOME = LAB / "var" / "demo"
STREAMS = ("MACHINE_ROOM_EVENTS", "MACHINE_ROOM_NODES", "MACHINE_ROOM_SUBMISSION")
CALM_SECONDS = 5.0  # of production before the outage and after it


@dataclass(frozen=True)
class Plan:
    """How large the demonstration is."""

    rows: int
    outage: float
    keep: bool
    as_json: bool

    @property
    def seconds(self) -> float:
        """How long the producer runs."""
        return 2 * CALM_SECONDS + self.outage


class Show:
    """Lines for people, on standard error when standard output is for programs."""

    def __init__(self, as_json: bool) -> None:
        self._out = sys.stderr if as_json else sys.stdout
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """One line, with the seconds since the start."""
        print(f"{time.monotonic() - self._started:6.1f} s  {text}", file=self._out, flush=True)

    def plain(self, text: str = "") -> None:
        """One line as it is."""
        print(text, file=self._out, flush=True)


class Lab:
    """The processes and files of one demonstration."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
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

    def start_agent(self) -> None:
        """The daemon."""
        self.start("agent", tool("mra"), "run", "--config", str(self.config))

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


def look(settings: Settings) -> dict[str, Any]:
    """The agent's status, from the daemon or from its file."""
    try:
        status: dict[str, Any] = ask_daemon(settings.socket, "status")
    except Unavailable:
        status = from_file(settings)
    return status


def waiting(status: dict[str, Any]) -> tuple[int, int]:
    """Rows and bytes that wait in all lanes."""
    lanes = status["lanes"].values()
    return sum(lane["waiting"] for lane in lanes), sum(lane["waiting_bytes"] for lane in lanes)


def watch(show: Show, settings: Settings, seconds: float, step: float = 2.0) -> None:
    """Say every few seconds where the site stands."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(step, left))
        status = look(settings)
        rows, size = waiting(status)
        link = status["link"]["state"] if status["running"] else "agent down"
        delivered = sum(lane["delivered"] for lane in status["lanes"].values())
        show.say(f"{link:<10}  {rows:>8,} rows wait ({show_size(size)})   {delivered:>8,} delivered")


def drain(show: Show, settings: Settings, patience: float = 60.0) -> None:
    """Watch the backlog go, with the time left by the rate so far."""
    started = time.monotonic()
    first, size = waiting(look(settings))
    while time.monotonic() - started < patience:
        rows, size = waiting(look(settings))
        taken = time.monotonic() - started
        left = f", about {show_duration(rows * taken / (first - rows))} left" if first > rows and taken > 0.3 else ""
        show.say(f"draining    {rows:>8,} rows wait ({show_size(size)}){left if rows else ''}")
        if not rows:
            return
        time.sleep(0.25)
    raise SystemExit(f"demo: {rows} rows still wait after {patience:.0f} s; see {HOME / 'agent.log'}.")


async def stored_rows(port: int, password: str) -> list[Row]:
    """Every test row of the three streams, in stored order, read by a client that shares no code with the agent."""
    rows: list[Row] = []
    for stream in STREAMS:
        async with open_wire(port, "backend", password) as wire:
            found = [Row.from_body(message.body) for message in await wire.read_stream(stream)]
        rows += [row for row in found if row is not None]
    return rows


def count(lab: Lab) -> dict[str, dict[str, int]]:
    """Per lane, from the producer's ledger and the streams alone.

    A node report that a newer one of the same node replaced before it was sent is `superseded`, as the lane's policy
    says; the newest report of each node has to be there.
    """
    accepted = read_ledger(lab.ledger)
    stored = trio.run(stored_rows, lab.port, (HOME / "backend.password").read_text())
    newest: dict[str, int] = {}
    for row in accepted:
        if row.lane == Lane.NODES:
            newest[row.producer] = max(newest.get(row.producer, 0), row.number)
    there = set(stored)
    replaced = {row for row in accepted - there if row.lane == Lane.NODES and row.number < newest[row.producer]}
    counts = {lane: asdict(found) for lane, found in reconcile(accepted - replaced, stored).items()}
    for fields in counts.values():
        fields.pop("unanswered")
        fields["superseded"] = 0
    if Lane.NODES in counts:
        counts[Lane.NODES]["superseded"] = len(replaced)
        counts[Lane.NODES]["accepted"] += len(replaced)
    return counts


def is_perfect(counts: dict[str, dict[str, int]]) -> bool:
    """Nothing lost, doubled or out of order, and every lane took part."""
    return len(counts) == len(Lane) and not any(
        lane["lost"] or lane["duplicated"] or lane["reordered"] for lane in counts.values()
    )


def run(plan: Plan, show: Show) -> tuple[dict[str, dict[str, int]], Lab]:
    """The whole story; returns the counts."""
    with running_lab(plan.keep) as lab:
        settings = lab.prepare()
        show.say(f"starting a SaaS (nats-server with three streams) at {lab.url}, and a site")
        lab.start_saas()
        apply_streams(lab)
        lab.start_agent()
        lab.start(
            "producer", sys.executable, "-m", "lab.producer", "--config", str(lab.config), "--ledger", str(lab.ledger),
            "--rows", str(plan.rows), "--seconds", str(plan.seconds),
        )  # fmt: skip
        show.say(f"a local program produces {plan.rows:,} events, metrics, node reports and submissions")
        watch(show, settings, CALM_SECONDS)
        lab.kill("saas")
        show.say("the SaaS is gone (SIGKILL)")
        watch(show, settings, plan.outage / 2)
        lab.kill("agent")
        show.say("the agent is gone too (SIGKILL); the local program goes on submitting")
        watch(show, settings, min(2.0, plan.outage / 4), step=1.0)
        lab.start_agent()
        show.say("the agent is started again")
        watch(show, settings, max(0.0, plan.outage / 2 - 2.0))
        lab.start_saas()
        show.say("the SaaS is back")
        drain(show, settings)
        show.say("waiting for the local program to end")
        lab.processes.pop("producer").wait()
        drain(show, settings)
        show.say("counting what the streams hold, with a reader of its own")
        return count(lab), lab


def print_table(show: Show, counts: dict[str, dict[str, int]]) -> None:
    """The result for people."""
    columns = ("accepted", "delivered", "superseded", "lost", "duplicated", "reordered")
    titles = ("accepted", "delivered", "superseded", "lost", "duplicated", "out of order")
    show.plain()
    show.plain(f"{'lane':<12}" + "".join(f"{title:>13}" for title in titles))
    for lane in Lane:
        fields = counts.get(lane, dict.fromkeys(columns, 0))
        show.plain(f"{lane:<12}" + "".join(f"{fields[column]:>13,}" for column in columns))
    show.plain()


def how_to_look(show: Show, lab: Lab) -> None:
    """What `--keep` leaves behind, and how to look at it."""
    config = lab.config.relative_to(LAB.parent)
    password = (HOME / "backend.password").relative_to(LAB.parent)
    pids = [str(process.pid) for process in lab.processes.values()]
    (HOME / "pids").write_text("\n".join(pids))
    show.plain(f"Still running (processes {', '.join(pids)}). Look inside with:")
    show.plain(f"  .venv/bin/mra status --config {config}")
    show.plain(f"  .venv/bin/mra outbox lanes --config {config}")
    show.plain(f"  .venv/bin/mra saas verify --server {lab.url} --user backend --password-file {password}")
    show.plain(f"  sqlite3 -readonly {(HOME / 'agent' / 'outbox.db').relative_to(LAB.parent)} 'SELECT * FROM v_lanes'")
    show.plain("Stop it with: lab/demo --stop")


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


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; mistakes end with one sentence and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="lab/demo",
        description="A site loses its SaaS, is killed, and still delivers everything exactly once.",
        epilog="Exit code 0 only if nothing was lost, doubled or put out of order."
        " Example: lab/demo --events 50000 --outage 30",
    )
    parser.add_argument("--events", type=int, default=20_000, metavar="N", help="rows to produce (default: 20000)")
    parser.add_argument(
        "--outage", type=float, default=16.0, metavar="SECONDS", help="how long the SaaS is away (default: 16)"
    )
    parser.add_argument("--keep", action="store_true", help="leave everything running, and say how to look inside")
    parser.add_argument("--stop", action="store_true", help="stop what --keep left running")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object on standard output")
    parsed = parser.parse_args(arguments)
    if not 100 <= parsed.events <= 5_000_000:
        parser.error(f"--events {parsed.events}: use 100 to 5000000")
    if not 4 <= parsed.outage <= 86_400:
        parser.error(f"--outage {parsed.outage:g}: use 4 to 86400 seconds")
    return parsed


def main() -> int:
    """Entry point."""
    parsed = parse(sys.argv[1:])
    if parsed.stop:
        return stop_kept()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    show = Show(parsed.json)
    counts, lab = run(Plan(parsed.events, parsed.outage, parsed.keep, parsed.json), show)
    ok = is_perfect(counts)
    print_table(show, counts)
    if parsed.json:
        print(json.dumps({"lanes": counts, "ok": ok}))
    show.plain("Every accepted row stands in the streams exactly once, in order." if ok else "THE PROMISE IS BROKEN.")
    if parsed.keep:
        how_to_look(show, lab)
    return 0 if ok else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
