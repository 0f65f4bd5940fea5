"""How fast the uplink drains, and what a large backlog costs."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

import trio

from lab.bench.limits import BODY, BareClient
from mra.aio.session import Access
from mra.clock import now
from mra.outbox import drain as units
from mra.outbox import sqlite
from mra.outbox.outbox import open_outbox, prepare
from mra.outbox.policy import DEFAULT_POLICIES, OutboxSettings
from mra.outbox.record import Draft, Lane
from mra.outbox.store import Request, accept
from mra.uplink.service import LinkStatus, UplinkSettings, run_uplink
from tests.harness.saas import LAB, Saas, open_saas

if TYPE_CHECKING:
    from mra.outbox.outbox import Outbox

_ROOMY = {lane: replace(policy, max_bytes=16 << 30) for lane, policy in DEFAULT_POLICIES.items()}
SETTINGS = OutboxSettings(ballast=0, replay_bytes=64 << 30, max_bytes=16 << 30, lanes=_ROOMY)
UPLINK = UplinkSettings(retry_cap=0.5)
_GROUP = 2000


def fill(path: Path, rows: int, body: bytes = BODY) -> None:
    """Accept `rows` events, of 512 bytes unless told otherwise."""
    drafts = [Draft(Lane.EVENTS, "bench.row", body)] * _GROUP
    with closing(prepare(path, SETTINGS)) as connection:
        for _ in range(rows // _GROUP):
            accept(connection, path, [Request(drafts)], SETTINGS, now())


def configuration(folder: Path, sync: str) -> Path:
    """The lab's server configuration, with `sync_interval` as wanted."""
    text = (LAB / "nats" / "saas.conf").read_text()
    file = folder / "saas.conf"
    file.write_text(text.replace("sync_interval: always", f"sync_interval: {sync}"))
    return file


def access(saas: Saas) -> Access:
    """The site's way in."""
    return Access((saas.url,), "bench", saas.site.user, saas.site.password)


async def drain_all(path: Path, saas: Saas) -> float:
    """Rows per second from the first look at the file until the SaaS holds every row."""
    async with open_outbox(path, SETTINGS) as outbox, trio.open_nursery() as nursery:
        rows = (await outbox.read(units.state, Lane.EVENTS)).waiting
        started = time.perf_counter()
        nursery.start_soon(run_uplink, outbox, access(saas), UPLINK, LinkStatus())
        await outbox.wait_empty()
        rate = rows / (time.perf_counter() - started)
        nursery.cancel_scope.cancel()
    return rate


async def _compare(folder: Path, sync: str, rows: int, bare: int) -> dict[str, float]:
    async with open_saas(folder, configuration=configuration(folder, sync)) as saas:
        result = {}
        for name, login, prefix in (
            ("direct", saas.backend, "machine_room.events.acme"),
            ("import", saas.site, "machine_room.events"),
        ):
            client = BareClient(saas.port, login.user, login.password)
            with closing(client):
                result[f"bare {name}"] = client.publish(f"{prefix}.bench.row", bare)
        fill(folder / "outbox.db", rows)
        result["drain"] = await drain_all(folder / "outbox.db", saas)
    return result


def measure_drain(where: Path, *, sync: str, scale: float = 1.0, rounds: int = 3) -> dict[str, float]:
    """Messages per second: bare pipelined publishes (into the stream's account, and through the customer's import,
    which is the agent's way), and the outbox's exactly-once drain; medians of alternating rounds."""
    found: dict[str, list[float]] = {}
    bare = int((100_000 if sync != "always" else 10_000) * scale)
    for _ in range(rounds):
        folder = Path(tempfile.mkdtemp(dir=where))
        for name, rate in trio.run(_compare, folder, sync, int(200_000 * scale), bare).items():
            found.setdefault(name, []).append(rate)
        shutil.rmtree(folder)
    return {name: median(rates) for name, rates in found.items()}


async def _latencies(folder: Path, rows: int) -> dict[str, float]:
    path = folder / "outbox.db"
    fill(path, rows)
    async with open_saas(folder) as saas, open_outbox(path, SETTINGS) as outbox, trio.open_nursery() as nursery:
        status = LinkStatus()
        nursery.start_soon(run_uplink, outbox, access(saas), UPLINK, status)
        await _settled(outbox, Lane.EVENTS, 1)
        first = trio.current_time() - status.since
        found = []
        while (await outbox.read(units.state, Lane.EVENTS)).waiting > rows // 20:
            started = trio.current_time()
            receipt = await outbox.append(Draft(Lane.SUBMISSIONS, "bench.live", BODY))
            await _settled(outbox, Lane.SUBMISSIONS, receipt.seq)
            found.append(trio.current_time() - started)
            await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    return {"first": first, "p50": median(found), "p99": quantiles(found, n=100)[98], "count": len(found)}


async def _settled(outbox: Outbox, lane: Lane, seq: int) -> None:
    # The daemon's own tasks have no need to wait for one row, so the measurement polls.
    while (await outbox.read(units.state, lane)).settled_through < seq:  # noqa: ASYNC110
        await trio.sleep(0.002)


def measure_latency(where: Path, scale: float = 1.0) -> dict[str, float]:
    """Seconds: connection to first settled row; append to settlement of live submissions beside a large backlog."""
    folder = Path(tempfile.mkdtemp(dir=where))
    try:
        return trio.run(_latencies, folder, int(1_000_000 * scale))
    finally:
        shutil.rmtree(folder)


def percent_rates(path: Path, total: int) -> tuple[float, float]:
    """Rows per second in the first and the last percent of the first `total` rows, by the settlements' own times."""
    with closing(sqlite.connect_readonly(path)) as connection:
        marks = connection.execute(
            "SELECT through_seq, mono FROM checkpoint WHERE lane = 'events' ORDER BY 1"
        ).fetchall()

    def rate(low: int, high: int) -> float:
        inside = [(seq, mono) for seq, mono in marks if low <= seq <= high]
        return (inside[-1][0] - inside[0][0]) / ((inside[-1][1] - inside[0][1]) / 1e9)

    return rate(0, total // 100), rate(total - total // 100, total)
