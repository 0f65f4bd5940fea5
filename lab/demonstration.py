"""What `lab/demo` shows: accept, outage, kill -9, recovery and a count; then a plugin's life over the air."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from lab.over_the_air import Delivery, deliver, prepare
from lab.screen import Show, drain, enrol, how_to_look, print_table, watch
from lab.stage import Lab, running_lab, stop_kept
from lab.tally import count, is_perfect

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def run(plan: Plan, show: Show) -> tuple[dict[str, dict[str, int]], Delivery, Lab]:
    """The whole story; returns the counts, and what became of the plugin."""
    with running_lab(plan.keep) as lab, ThreadPoolExecutor(1) as desk:
        settings = lab.prepare()
        show.say(f"starting a SaaS (a stock nats-server) at {lab.url}")
        lab.start_artifacts()
        lab.start_saas()
        lab.found_customer()
        lab.start_provisioner()
        show.say("a customer is on board, and its site is given a provisioning.jwt and nothing else")
        lab.start_agent()
        enrol(show, settings)
        lab.start(
            "producer", sys.executable, "-m", "lab.producer", "--config", str(lab.config), "--ledger", str(lab.ledger),
            "--rows", str(plan.rows), "--seconds", str(plan.seconds),
        )  # fmt: skip
        show.say(f"a local program produces {plan.rows:,} events, metrics, node reports and submissions")
        watch(show, settings, CALM_SECONDS)
        lab.kill("saas")
        show.say("the SaaS is gone (SIGKILL)")
        orders = desk.submit(prepare, lab)  # the vendor packs and signs meanwhile
        watch(show, settings, plan.outage / 2)
        lab.kill("agent")
        show.say("the agent is gone too (SIGKILL); the local program goes on submitting")
        watch(show, settings, min(2.0, plan.outage / 4), step=1.0)
        lab.start_agent()
        show.say("the agent is started again")
        watch(show, settings, max(0.0, plan.outage / 2 - 2.0))
        lab.start_saas()
        show.say("the SaaS is back")
        drain(show, settings, in_flight=200)  # the local program still produces
        show.say("waiting for the local program to end")
        lab.processes.pop("producer").wait()
        drain(show, settings)
        show.say("counting what the streams hold, with a reader of its own")
        counts = count(lab)
        return counts, deliver(lab, settings, show, orders.result()), lab


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; mistakes end with one sentence and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="lab/demo",
        description="A site loses its SaaS, is killed, and still delivers everything exactly once.",
        epilog="Exit code 0 only if nothing was lost, doubled or put out of order, and the plugin went as ordered."
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
    counts, delivery, lab = run(Plan(parsed.events, parsed.outage, parsed.keep, parsed.json), show)
    perfect = is_perfect(counts)
    ok = perfect and delivery.is_perfect
    print_table(show, counts)
    if parsed.json:
        print(json.dumps({"lanes": counts, "plugin": asdict(delivery), "ok": ok}))
    kept = "Every accepted row stands in the streams exactly once, in order."
    show.plain(kept if perfect else "THE PROMISE IS BROKEN.")
    carried_out = "Every genuine order for the plugin was carried out, the forged one was refused."
    show.plain(carried_out if delivery.is_perfect else "THE ORDERS FOR THE PLUGIN WENT WRONG.")
    if parsed.keep:
        how_to_look(show, lab)
    return 0 if ok else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
