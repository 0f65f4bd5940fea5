"""The outbox as the daemon's tasks see it: one commit for many, an answer for everyone, and a file that mends."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mra.errors import BadInput, Busy, MraError, OutboxFull, StoreBroken
from mra.outbox import inspection, lanes, salvage, sqlite, store, verification
from mra.outbox.outbox import Outbox, open_outbox
from mra.outbox.record import Draft, Lane
from tests.outbox.desk import SETTINGS, Desk, policy, settings

if TYPE_CHECKING:
    import threading
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from mra.outbox.policy import OutboxSettings

EVENT = Draft(Lane.EVENTS, "a.b", b"event")


@asynccontextmanager
async def opened(path: Path, bounds: OutboxSettings = SETTINGS) -> AsyncIterator[Outbox]:
    """An open outbox; one exception of the block comes out alone."""
    try:
        async with open_outbox(path, bounds) as outbox:
            yield outbox
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None


@pytest.fixture
async def outbox(path: Path) -> AsyncIterator[Outbox]:
    async with opened(path) as outbox:
        yield outbox


class Commits:
    """Counts commits, and can hold one up in the database thread."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.hold: Callable[[], None] = lambda: None

    def accept(self, connection: Any, path: Any, requests: Sequence[store.Request], *rest: Any) -> Any:
        self.hold()
        self.sizes.append(len(requests))
        return self.real(connection, path, requests, *rest)

    real = staticmethod(store.accept)


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> Commits:
    commits = Commits()
    monkeypatch.setattr(store, "accept", commits.accept)
    return commits


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process is in the middle of a write."""
    with closing(sqlite.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def waiting(outbox: Outbox, lane: Lane = Lane.EVENTS) -> list[bytes]:
    rows = await outbox.read(lambda connection: list(inspection.export(connection, lane, everything=False)))
    return [row["body"] for row in rows]


# -- group commit ----------------------------------------------------------------------------------------------------


async def test_what_arrives_during_a_commit_goes_into_the_next_one_together(outbox: Outbox, commits: Commits) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(257):
            nursery.start_soon(outbox.append, Draft(Lane.EVENTS, "a.b", b"%d" % number))
            if number == 0:
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
    assert sum(commits.sizes) == 257
    assert len(commits.sizes) <= 3
    assert len(await waiting(outbox)) == 257


async def test_a_producer_returns_after_its_own_commit_and_order_is_kept(outbox: Outbox) -> None:
    receipts = [await outbox.append(EVENT) for _ in range(3)]
    receipts += await outbox.append_many([EVENT, EVENT])
    assert [receipt.seq for receipt in receipts] == [1, 2, 3, 4, 5]


async def test_a_group_is_bounded_by_rows_and_by_bytes(outbox: Outbox, commits: Commits) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(outbox.append, Draft(Lane.EVENTS, "a.b", bytes(9 << 20)))
        for _ in range(3):
            nursery.start_soon(outbox.append_many, [EVENT] * 4000)
    assert max(commits.sizes) <= 4
    assert len(commits.sizes) >= 4


async def test_nothing_offered_is_accepted_as_nothing(outbox: Outbox) -> None:
    assert await outbox.append_many([]) == []


# -- failures of one producer ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draft", "error"),
    [
        (EVENT._replace(subject="not a subject"), BadInput),
        (EVENT._replace(lane="nowhere"), BadInput),  # type: ignore[arg-type]
        (EVENT._replace(body="text"), BadInput),  # type: ignore[arg-type]
        (EVENT._replace(body=None), TypeError),  # type: ignore[arg-type]
        (EVENT._replace(ttl=1e300), BadInput),
        (EVENT._replace(subject=["a"]), TypeError),  # type: ignore[arg-type]
        (EVENT._replace(headers=5), AttributeError),  # type: ignore[arg-type]
    ],
)
async def test_nonsense_from_one_producer_fails_that_producer_alone(
    outbox: Outbox, draft: Draft, error: type[Exception]
) -> None:
    failures: list[Exception] = []

    async def nonsense() -> None:
        try:
            await outbox.append(draft)
        except Exception as failure:
            failures.append(failure)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.append, EVENT)
        nursery.start_soon(nonsense)
        nursery.start_soon(outbox.append, EVENT)
    assert [type(failure) for failure in failures] == [error]
    assert await waiting(outbox) == [b"event"] * 2


async def test_a_failing_also_reaches_its_producer_as_it_was_raised(outbox: Outbox) -> None:
    def fail(connection: object) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        await outbox.append_many([EVENT], also=fail)
    await outbox.append(EVENT)
    assert await waiting(outbox) == [b"event"]


async def test_a_full_lane_is_told_to_its_producer(path: Path) -> None:
    async with opened(path, settings({Lane.EVENTS: policy(max_bytes=300)})) as outbox:
        await outbox.append(EVENT)
        await outbox.append(EVENT)
        with pytest.raises(OutboxFull):
            await outbox.append(EVENT)


# -- cancellation ------------------------------------------------------------------------------------------------------


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opened at the end in any case, so that no thread waits for ever."""
    import threading

    gate = threading.Event()
    yield gate
    gate.set()


async def test_a_producer_cancelled_while_it_queues_leaves_nothing_behind(
    outbox: Outbox, commits: Commits, gate: threading.Event
) -> None:
    commits.hold = gate.wait  # type: ignore[assignment]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.append, Draft(Lane.EVENTS, "a.b", b"first"))
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            nursery.start_soon(outbox.append, Draft(Lane.EVENTS, "a.b", b"third"))
            scope.cancel()
            await outbox.append(Draft(Lane.EVENTS, "a.b", b"second"))
        assert scope.cancelled_caught
        gate.set()
    assert sorted(await waiting(outbox)) == [b"first", b"third"]


async def test_a_producer_cancelled_during_its_commit_may_have_been_accepted_and_harms_nobody(
    outbox: Outbox, commits: Commits, gate: threading.Event
) -> None:
    commits.hold = gate.wait  # type: ignore[assignment]
    cancelled = trio.CancelScope()

    async def impatient() -> None:
        with cancelled:
            await outbox.append(Draft(Lane.EVENTS, "a.b", b"impatient"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        nursery.start_soon(outbox.append, Draft(Lane.EVENTS, "a.b", b"patient"))
        await wait_all_tasks_blocked()
        cancelled.cancel()
        await wait_all_tasks_blocked()
        gate.set()
    assert sorted(await waiting(outbox)) == [b"impatient", b"patient"]


async def test_many_impatient_retries_do_not_pile_up(outbox: Outbox, commits: Commits, gate: threading.Event) -> None:
    commits.hold = gate.wait  # type: ignore[assignment]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.append, Draft(Lane.EVENTS, "a.b", b"first"))
        await wait_all_tasks_blocked()
        for _ in range(50):
            with trio.CancelScope() as scope:
                scope.cancel()
                await outbox.append(Draft(Lane.EVENTS, "a.b", b"again"))
        gate.set()
    assert await waiting(outbox) == [b"first"]


async def test_cancelling_everything_at_random_loses_no_acknowledged_row(path: Path) -> None:
    dice = random.Random(7)
    acknowledged: list[int] = []
    for _ in range(10):
        with trio.CancelScope() as everything:
            async with opened(path) as outbox, trio.open_nursery() as nursery:

                async def produce(outbox: Outbox = outbox) -> None:
                    while True:
                        acknowledged.append((await outbox.append(EVENT)).seq)

                for _ in range(8):
                    nursery.start_soon(produce)
                for _ in range(dice.randrange(200)):
                    await trio.lowlevel.checkpoint()
                everything.cancel()
    with Desk.open(path) as desk:
        assert len(acknowledged) == len(set(acknowledged))
        assert set(acknowledged) <= set(desk.kept(Lane.EVENTS))
        assert desk.problems() == []


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_who_still_queues_when_the_outbox_closes_is_told_so(
    path: Path, commits: Commits, gate: threading.Event
) -> None:
    commits.hold = gate.wait  # type: ignore[assignment]
    errors: list[MraError] = []

    async def late(outbox: Outbox) -> None:
        try:
            await outbox.append(EVENT)
        except StoreBroken as error:
            errors.append(error)

    async with trio.open_nursery() as nursery, opened(path) as outbox:
        nursery.start_soon(outbox.append, EVENT)
        await wait_all_tasks_blocked()
        nursery.start_soon(late, outbox)
        nursery.start_soon(late, outbox)
        await wait_all_tasks_blocked()
        gate.set()
    assert len(errors) == 2
    assert len({id(error) for error in errors}) == len(errors)


async def test_a_closed_outbox_refuses_at_once(path: Path) -> None:
    async with opened(path) as outbox:
        pass
    with pytest.raises(StoreBroken, match="stopping"):
        await outbox.append(EVENT)
    with pytest.raises(StoreBroken, match="closed"):
        await outbox.read(lambda connection: None)


# -- a file that fails -------------------------------------------------------------------------------------------------


def damage_lane(path: Path) -> None:
    """The root of a lane's table becomes rubbish, as a broken disk may leave it."""
    with closing(sqlite.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'row_events'").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((root - 1) * sqlite.PAGE_SIZE)
        file.write(b"\xee" * sqlite.PAGE_SIZE)


async def fill(outbox: Outbox, rows: int = 500) -> None:
    await outbox.append_many([Draft(Lane.EVENTS, "a.b", b"%d" % number) for number in range(rows)])


async def test_damage_found_while_running_is_salvaged_without_a_restart(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as outbox:
        await fill(outbox)
    damage_lane(path)
    async with opened(path) as outbox:
        with pytest.raises(sqlite.Damaged):
            await waiting(outbox)
        assert len(await waiting(outbox)) == 500
        await outbox.append(EVENT)
        assert await outbox.read(verification.verify) == []
    assert any("salvaged" in record.message for record in caplog.records)
    assert len([file for file in path.parent.iterdir() if "damaged" in file.name]) in (1, 2)


async def test_everyone_who_meets_the_damage_is_answered_and_it_is_mended_once(path: Path) -> None:
    """Readers, the writer and producers all run into the same broken page at once."""
    async with opened(path) as outbox:
        await fill(outbox)
    damage_lane(path)
    outcomes: list[object] = []

    async with opened(path) as outbox:

        async def append() -> None:
            try:
                outcomes.append(await outbox.append(EVENT))
            except StoreBroken as error:
                outcomes.append(error)

        async def read() -> None:
            try:
                outcomes.append(await waiting(outbox))
            except StoreBroken as error:
                outcomes.append(error)

        async def settle() -> None:
            try:
                outcomes.append(
                    await outbox.run_unit(
                        lambda connection: connection.execute("SELECT count(*) FROM row_events").fetchone()
                    )
                )
            except StoreBroken as error:
                outcomes.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                for act in (append, read, settle):
                    nursery.start_soon(act)
        assert len(outcomes) == 30
        assert any(isinstance(outcome, sqlite.Damaged) for outcome in outcomes)
        await outbox.append(EVENT)
        assert await outbox.read(verification.verify) == []
        assert len(await waiting(outbox)) >= 501
    kept = {file.name.removesuffix("-wal") for file in path.parent.iterdir() if "damaged" in file.name}
    assert len(kept) == 1


async def test_a_damaged_first_page_is_salvaged_at_the_start(path: Path) -> None:
    async with opened(path) as outbox:
        await fill(outbox)
    with path.open("r+b") as file:
        file.write(bytes(sqlite.PAGE_SIZE))
    async with opened(path) as outbox:
        assert len(await waiting(outbox)) == 500


async def test_a_salvage_killed_in_the_middle_is_finished_at_the_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path) as outbox:
        await fill(outbox)
    with monkeypatch.context() as patch:
        patch.setattr(salvage, "finish", lambda path: False)
        salvage.salvage(path)
    async with opened(path) as outbox:
        assert len(await waiting(outbox)) == 500


async def test_a_failing_reopening_leaves_nobody_waiting_and_is_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is gone for a while: producers get errors, not silence, and it goes on by itself afterwards."""
    async with opened(path) as outbox:
        await outbox.append(EVENT)
        with monkeypatch.context() as patch:
            patch.setattr(store, "accept", broken)
            patch.setattr(sqlite, "connect", broken)
            for _ in range(3):
                with pytest.raises(StoreBroken):
                    await outbox.append(EVENT)
            with pytest.raises(StoreBroken):
                await waiting(outbox)
        with pytest.raises(StoreBroken):
            await outbox.append(EVENT)  # finds it closed and reopens it
        await outbox.append(EVENT)
        assert len(await waiting(outbox)) == 2


def broken(*_: object, **__: object) -> None:
    raise StoreBroken("The disk is gone.")


async def test_a_salvage_that_fails_leaves_nobody_waiting(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path) as outbox:
        await fill(outbox)
    damage_lane(path)
    async with opened(path) as outbox:
        with monkeypatch.context() as patch:
            patch.setattr(salvage, "salvage", broken)
            for _ in range(2):
                with pytest.raises(StoreBroken):
                    await waiting(outbox)
        with pytest.raises(StoreBroken):
            await waiting(outbox)
        assert len(await waiting(outbox)) == 500


async def test_a_lock_that_is_held_too_long_is_named_and_nothing_is_reopened(
    outbox: Outbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await outbox.run_unit(lambda connection: connection.execute("PRAGMA busy_timeout = 1").fetchall())
    with locked(path), pytest.raises(Busy, match="locked by another process"):
        await outbox.append(EVENT)
    await outbox.append(EVENT)
    assert await waiting(outbox) == [b"event"]


# -- waking ------------------------------------------------------------------------------------------------------------


async def test_a_commit_wakes_its_lanes_and_no_other(outbox: Outbox) -> None:
    events, nodes = outbox.changed(Lane.EVENTS), outbox.changed(Lane.NODES)
    await outbox.append(EVENT)
    assert events.is_set()
    assert not nodes.is_set()


async def test_waiting_for_an_empty_outbox_ends_when_the_last_row_is_settled(outbox: Outbox) -> None:
    from mra.outbox import drain

    await outbox.append_many([EVENT, Draft(Lane.NODES, "a", b"held")])
    await outbox.run_unit(drain.hold, Lane.NODES, "held for a test")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.wait_empty)
        await wait_all_tasks_blocked()
        await outbox.run_unit(drain.advance, Lane.EVENTS, settled=drain.Settlement("e", 1, 1, 1))
    state = await outbox.read(lanes.load, Lane.EVENTS)
    assert state.waiting == 0
