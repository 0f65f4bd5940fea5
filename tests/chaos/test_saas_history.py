"""The SaaS forgets, goes back, is set up wrongly, is full, or refuses: rows wait, and what it lost is sent again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio

from mra.outbox.record import Lane
from tests.chaos.ending import count_perfect, drained, until
from tests.harness.saas import EVENTS, SUBMISSION

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.saas import Saas
    from tests.harness.site import Site

pytestmark = pytest.mark.chaos


async def test_a_wiped_saas_gets_the_replay_window_again(saas: Saas, site: Site) -> None:
    await site.produce(site.load(count=300, pause=0))
    await site.start()
    await drained(site)
    await saas.kill()
    saas.wipe()
    await saas.start()
    await saas.create_streams()
    await site.produce(site.load(count=50, pause=0))
    await sent_again(site, 1200)
    await drained(site)
    await count_perfect("wiped", saas, site.accepted(), at_least=1400)


async def test_a_saas_restored_from_an_old_backup_gets_what_it_lost(saas: Saas, site: Site, tmp_path: Path) -> None:
    await site.produce(site.load(count=200, pause=0))
    await site.start()
    await drained(site)
    await saas.stop()
    saas.backup(tmp_path / "backup")
    await saas.start()
    await site.produce(site.load(count=300, pause=0))
    await drained(site)
    await saas.kill()
    saas.restore(tmp_path / "backup")
    await saas.start()
    await site.produce(site.load(count=10, pause=0))
    await sent_again(site, 1200)
    await drained(site)
    await count_perfect("restored", saas, site.accepted(), at_least=2040)


async def test_a_stream_recreated_while_the_agent_runs_gets_the_replay_window_again(saas: Saas, site: Site) -> None:
    """The connection never breaks: only answers tell. Producers go on throughout."""
    await site.produce(site.load(Lane.EVENTS, count=300, pause=0))
    await site.start()
    await drained(site)
    producer = site.start_producer(site.load(Lane.EVENTS, Lane.SUBMISSIONS, group=5, pause=0.02))
    await until(lambda status: status["lanes"]["events"]["delivered"] > 350, site)
    await saas.delete_stream(EVENTS)
    await until(lambda status: status["lanes"]["events"]["last_error"], site)
    await saas.create_streams_missing()
    await sent_again(site, 300)
    await producer.kill()
    await drained(site)
    assert (await site.status())["link"]["connections"] == 1
    await count_perfect("recreated", saas, site.accepted(), at_least=350)


async def sent_again(site: Site, rows: int) -> None:
    """Wait until the agent has noticed that the SaaS went back: that many rows were taken up again."""
    audit = "SELECT coalesce(sum(count), 0) FROM v_audit WHERE action = 'rewind'"
    with trio.fail_after(30):
        while True:
            done = await trio.run_process(
                ["sqlite3", "-readonly", str(site.database), audit], capture_stdout=True, check=False
            )
            if int(done.stdout or b"0") >= rows:
                return
            await trio.sleep(0.1)


async def test_rows_wait_for_a_stream_that_is_missing(saas: Saas, site: Site) -> None:
    await saas.delete_stream(EVENTS)
    await site.produce(site.load(count=100, pause=0))
    await site.start()
    await until(lambda status: status["lanes"]["events"]["state"] in ("waiting", "held"), site)
    status = await site.status()
    assert status["lanes"]["submissions"]["held"] is None, "one lane's trouble is not another's"
    assert "stream" in status["lanes"]["events"]["last_error"]
    await saas.create_streams_missing()
    await drained(site)
    await count_perfect("missing stream", saas, site.accepted(), at_least=400)


async def test_rows_wait_for_a_stream_that_is_full(saas: Saas, site: Site) -> None:
    await saas.change_stream(EVENTS, max_bytes=64 * 1024)
    await site.produce(site.load(Lane.EVENTS, Lane.SUBMISSIONS, count=1000, pause=0, size=512))
    await site.start()
    await until(lambda status: status["lanes"]["events"]["state"] == "waiting", site)
    lanes = (await site.status())["lanes"]
    assert lanes["events"]["parked"] == lanes["events"]["shed"] == 0
    await saas.change_stream(EVENTS, max_bytes=64 * 1024 * 1024)
    await drained(site)
    await count_perfect("full stream", saas, site.accepted(), at_least=2000)


async def test_a_message_larger_than_the_server_takes_is_parked_and_the_lane_goes_on(
    saas: Saas, site: Site, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"x" * (1024 * 1024 + 1))
    await site.produce(site.load(Lane.EVENTS, count=50, pause=0))
    await site.mra("submit", "--lane", "events", "machine.large", str(large))
    await site.produce(site.load(Lane.EVENTS, count=50, pause=0))
    await site.start()
    await drained(site)
    (row,) = [json.loads(line) for line in (await site.mra("outbox", "parked", "--json")).stdout.splitlines()]
    assert row["subject"] == "machine.large"
    assert "larger than" in row["reason"]
    await count_perfect("one too large", saas, site.accepted(), at_least=100)


async def test_rows_that_the_stream_refuses_are_parked_and_can_be_requeued(
    saas: Saas, site: Site, tmp_path: Path
) -> None:
    """A message size limit of the stream's own hits three of a hundred rows; raised, they are delivered too."""
    await saas.change_stream(SUBMISSION, max_msg_size=2048)
    large = tmp_path / "large"
    large.write_bytes(b"x" * 4096)
    for _ in range(3):
        await site.produce(site.load(Lane.SUBMISSIONS, count=30, pause=0))
        await site.mra("submit", "app.large", str(large))
    await site.start()
    await drained(site)
    assert (await site.status())["lanes"]["submissions"]["parked"] == 3
    await count_perfect("three refused", saas, site.accepted(), at_least=90)
    await saas.change_stream(SUBMISSION, max_msg_size=-1)
    await site.mra("outbox", "requeue", "--all")
    await until(lambda status: status["lanes"]["submissions"]["delivered"] >= 93, site)
    async with saas.connect() as wire:
        stored = await wire.read_stream(SUBMISSION)
    assert sum(message.body == large.read_bytes() for message in stored) == 3


async def test_refused_credentials_are_named_and_nothing_is_lost(saas: Saas, site: Site) -> None:
    await site.produce(site.load(count=100, pause=0))
    password = site.directory / "password"
    password.write_text("wrong")
    await site.start()
    await until(lambda status: "credentials" in str(status["link"]["last_error"]), site)
    assert await site.terminate() == 0
    password.write_text(saas.site.password)
    await site.start()
    await drained(site)
    await count_perfect("wrong password", saas, site.accepted(), at_least=400)
