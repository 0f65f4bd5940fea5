"""What the audience of a demonstration sees: lines as it goes on, the table at its end, and how to look further."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lab.stage import HOME, LAB
from mra.control import ask_daemon
from mra.errors import Unavailable
from mra.outbox.record import Lane
from mra.status import from_file
from mra.units import show_duration, show_size

if TYPE_CHECKING:
    from lab.stage import Lab
    from mra.settings import Settings


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


def enrol(show: Show, settings: Settings, patience: float = 30.0) -> None:
    """Wait until the site has enrolled and its link stands."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        with suppress(Unavailable):  # it has no socket yet, or none for a moment
            if ask_daemon(settings.socket, "status")["link"]["state"] == "connected":
                show.say("the site has made its keys, enrolled and connected, over TLS")
                return
        time.sleep(0.1)
    raise SystemExit(f"demo: the site does not enrol; see {HOME / 'agent.log'} and {HOME / 'provisioner.log'}.")


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


def drain(show: Show, settings: Settings, patience: float = 60.0, *, in_flight: int = 0) -> None:
    """Watch the backlog go, with the time left by the rate so far, until no more than `in_flight` rows wait."""
    started = time.monotonic()
    first, size = waiting(look(settings))
    while time.monotonic() - started < patience:
        rows, size = waiting(look(settings))
        taken = time.monotonic() - started
        left = f", about {show_duration(rows * taken / (first - rows))} left" if first > rows and taken > 0.3 else ""
        show.say(f"draining    {rows:>8,} rows wait ({show_size(size)}){left if rows else ''}")
        if rows <= in_flight:
            return
        time.sleep(0.25)
    raise SystemExit(f"demo: {rows} rows still wait after {patience:.0f} s; see {HOME / 'agent.log'}.")


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
    pids = [str(process.pid) for process in lab.processes.values()]
    (HOME / "pids").write_text("\n".join(pids))
    show.plain(f"Still running (processes {', '.join(pids)}). Look inside with:")
    show.plain(f"  .venv/bin/mra status --config {config}")
    show.plain(f"  .venv/bin/mra outbox lanes --config {config}")
    show.plain(f"  .venv/bin/mra machines ls --config {config}")
    show.plain(f"  .venv/bin/mra saas verify --saas {lab.saas_home.relative_to(LAB.parent)}")
    show.plain(f"  .venv/bin/mra saas node ls --saas {lab.saas_home.relative_to(LAB.parent)}")
    show.plain(f"  sqlite3 -readonly {(HOME / 'agent' / 'outbox.db').relative_to(LAB.parent)} 'SELECT * FROM v_lanes'")
    show.plain("Stop it with: lab/demo --stop")
