"""`mra saas verify` on a real server: it finds what is missing, and nothing where nothing is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio

from mra.aio.session import Access, open_session
from mra.cli.main import invoke
from mra.outbox.outbox import open_outbox
from mra.outbox.policy import OutboxSettings
from mra.outbox.record import Draft, Lane, Row
from mra.saas.streams import check, deviations
from mra.saas.verify import verify_stream
from mra.uplink.batch import Batch
from mra.uplink.checkpoint import encode
from mra.uplink.service import LinkStatus, UplinkSettings, run_uplink
from tests.harness.saas import EVENTS, Saas, open_saas
from tests.harness.wire import Part

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.lab
ROWS = 2500


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Saas]:
    async with open_saas(tmp_path / "saas") as running:
        yield running


async def deliver(saas: Saas, folder: Path) -> None:
    access = Access((saas.url,), "n1", saas.site.user, saas.site.password)
    async with open_outbox(folder / "outbox.db", OutboxSettings(ballast=0)) as outbox, trio.open_nursery() as nursery:
        nursery.start_soon(run_uplink, outbox, access, UplinkSettings(), LinkStatus())
        await outbox.append_many([Draft(Lane.EVENTS, "machine.transition", b"%d" % n) for n in range(ROWS)])
        await outbox.wait_empty()
        nursery.cancel_scope.cancel()


def backend(saas: Saas) -> Access:
    return Access((saas.url,), "verify", saas.backend.user, saas.backend.password)


async def test_a_complete_stream_is_proven_complete(saas: Saas, tmp_path: Path) -> None:
    await deliver(saas, tmp_path)
    async with open_session(backend(saas)) as session:
        (lane,) = await verify_stream(session, EVENTS)
    assert lane.is_complete
    assert lane.rows == ROWS


async def test_a_message_removed_from_the_stream_is_named(saas: Saas, tmp_path: Path) -> None:
    await deliver(saas, tmp_path)
    await saas.delete_message(EVENTS, 100)
    async with open_session(backend(saas)) as session:
        (lane,) = await verify_stream(session, EVENTS)
    ((_, hole),) = lane.missing()
    assert hole == (100, 100)


@pytest.mark.parametrize(("sent", "problems"), [(b"as accepted", 0), (b"exchanged", 1)])
async def test_a_row_that_was_exchanged_breaks_the_digest(saas: Saas, sent: bytes, problems: int) -> None:
    row = Row(1, "a" * 32, "machine.transition", None, b"as accepted", 0, 0)
    batch = Batch(Lane.EVENTS, "e1", 0, 0, [row], may_continue=False)
    headers = {"Mra-Row": "n1-events e1 1 0", "Mra-Id": row.id}
    parts = [
        Part("machine_room.events.acme.machine.transition", sent, headers),
        Part("machine_room.events.acme.checkpoint.n1-events", encode(batch.checkpoint), {}),
    ]
    async with saas.connect() as wire:
        await wire.store_batch(parts)
    async with open_session(backend(saas)) as session:
        (lane,) = await verify_stream(session, EVENTS)
    assert len(lane.problems) == problems


HOSTILE = (
    b"Status: 404\r\n",  # as the server says that there is no more
    b"Status: 204\r\nDescription: EOB\r\n",
    b"Status: 503\r\n",
    b"Status: 100\r\nDescription: Idle Heartbeat\r\n",
    b"Nats-Sequence: first\r\nNats-Subject: machine_room.events.globex.x\r\n",
    b"Nats-Num-Pending: many\r\n",
    b"Mra-Row: n1-events e1\r\n",
    b"Mra-Row: n1-events \xff\xfe 1 0\r\n",
    b"\xff\xfe: x\r\n",
    b"no colon\r\n",
)


@pytest.mark.parametrize("headers", HOSTILE, ids=lambda headers: repr(headers[:24]))
async def test_nothing_that_a_customer_stores_hides_what_is_missing(saas: Saas, headers: bytes) -> None:
    """A message between the rows that plays the server, or a row, ends no reading and moves nobody's rows."""
    site = Access((saas.url,), "n1", saas.site.user, saas.site.password)
    rows = [Row(seq, f"{seq:032}", "machine.transition", None, b"x", 0, 0) for seq in (1, 3)]
    async with saas.connect() as wire:
        await wire.store(
            "machine_room.events.acme.machine.x", b"x", {"Mra-Row": "n1-events e1 1 0", "Mra-Id": rows[0].id}
        )
        async with open_session(site) as session:
            for body in (b"", b"{}"):
                await session.request("machine_room.events.machine.x", body, patience=5, headers=headers)
        batch = Batch(Lane.EVENTS, "e1", 2, 2, rows[1:], may_continue=False)
        await wire.store_batch(
            [
                Part("machine_room.events.acme.machine.x", b"x", {"Mra-Row": "n1-events e1 3 2", "Mra-Id": rows[1].id}),
                Part("machine_room.events.acme.checkpoint.n1-events", encode(batch.checkpoint), {}),
            ]
        )
    async with open_session(backend(saas)) as session:
        (lane,) = await verify_stream(session, EVENTS)
    assert (lane.customer, lane.rows, lane.missing()) == ("acme", 2, [("e1", (2, 2))])
    assert lane.problems == []


async def test_a_stream_set_up_otherwise_is_named(saas: Saas) -> None:
    await saas.change_stream(EVENTS, discard="old", allow_atomic=False)
    async with open_session(backend(saas)) as session:
        problems = await check(session)
    assert len(problems) == 2
    assert all(problem.startswith(EVENTS) for problem in problems)


def test_a_stream_with_a_limit_per_subject_is_named() -> None:
    good = {
        "name": "S", "retention": "limits", "discard": "new", "storage": "file", "allow_atomic": True,
        "allow_direct": True, "allow_rollup_hdrs": False, "allow_msg_ttl": True,
    }  # fmt: skip
    assert deviations(good) == []
    assert len(deviations({**good, "max_msgs_per_subject": 5})) == 1


def arguments(saas: Saas, folder: Path, password: str) -> list[str]:
    file = folder / "password"
    file.write_text(password)
    return ["saas", "verify", "--json", "--server", saas.url, "--user", saas.backend.user, "--password-file", str(file)]


async def test_the_command_exits_1_when_something_is_missing(
    saas: Saas, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await deliver(saas, tmp_path)
    verify = arguments(saas, tmp_path, saas.backend.password)
    assert await trio.to_thread.run_sync(invoke, verify) == 0
    assert json.loads(capsys.readouterr().out)["complete"] is True
    await saas.delete_message(EVENTS, 7)
    assert await trio.to_thread.run_sync(invoke, verify) == 1
    assert json.loads(capsys.readouterr().out)["complete"] is False


async def test_a_wrong_password_is_one_sentence(saas: Saas, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await trio.to_thread.run_sync(invoke, arguments(saas, tmp_path, "wrong")) == 1
    said = capsys.readouterr().err
    assert said.startswith("mra: ")
    assert said.count("\n") == 1
