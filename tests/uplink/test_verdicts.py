"""Our marks against the SaaS's checkpoint: every small case, played through."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from mra.outbox.lanes import LaneState
from mra.outbox.record import Lane
from mra.uplink.checkpoint import Checkpoint, Stored
from mra.uplink.reconcile import Adopt, Ahead, Behind, Foreign, InStep, Likeness, Verdict, judge, needs_likeness

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_OURS, OURS = Likeness(), Likeness(is_ours=True, unsettled=1)


def here(epoch: str, settled: int, *, total: int | None = None, checkpoint_seq: int = 40) -> LaneState:
    return LaneState(
        name=Lane.EVENTS, epoch=epoch, next_seq=100, claimed_through=settled, settled_through=settled,
        checkpoint_seq=checkpoint_seq, epoch_total=settled if total is None else total, thinned_through=0, thin_until=0,
        accepted=99, delivered=settled, waiting=99 - settled, parked=0, shed=0, accepted_bytes=0, waiting_bytes=0,
        held=None,
        singly_through=0,
    )  # fmt: skip


def stored(epoch: str, through: int, *, count: int = 1, total: int | None = None, seq: int = 50) -> Stored:
    return Stored(Checkpoint(epoch, through, through, count, through if total is None else total, 0, "digest"), seq)


@pytest.mark.parametrize(
    ("state", "found", "likeness", "verdict"),
    [
        (here("a", 0), None, NOT_OURS, InStep),
        (here("a", 5), None, NOT_OURS, Behind),
        (here("a", 5, total=0), None, NOT_OURS, Behind),  # adopted, nothing sent since, and then the SaaS was wiped
        (here("a", 5), stored("a", 5), NOT_OURS, InStep),
        (here("a", 5, total=0), stored("a", 5, count=0, total=0), NOT_OURS, InStep),  # a marker after an adoption
        (here("a", 5), stored("a", 6), OURS, Ahead),
        (here("a", 5), stored("a", 6), NOT_OURS, Foreign),
        (here("a", 5), stored("a", 8, total=6), replace(OURS, unsettled=3), Foreign),  # its writer left two rows out
        (here("a", 5), stored("a", 8, total=8), replace(OURS, unsettled=1), Ahead),  # we lost two of them to damage
        (here("a", 5), stored("a", 6, count=0), OURS, Foreign),  # a marker proves no row
        (here("a", 5), stored("a", 3), NOT_OURS, Behind),
        (here("a", 0, checkpoint_seq=0), stored("b", 8), NOT_OURS, Adopt),
        (here("a", 0, checkpoint_seq=0), stored("b", 1), OURS, Ahead),
        (here("a", 0, checkpoint_seq=0), stored("b", 8), replace(OURS, unsettled=8), Adopt),
        (here("a", 5, total=0, checkpoint_seq=0), stored("b", 8), NOT_OURS, Adopt),  # adopted by hand
        (replace(here("a", 0, checkpoint_seq=0), exported_through=9), stored("b", 8), NOT_OURS, Foreign),
        (here("a", 0, checkpoint_seq=50), stored("b", 8), NOT_OURS, InStep),  # adopted before, nothing sent since
        (here("a", 0, checkpoint_seq=49), stored("b", 8), NOT_OURS, Foreign),
        (here("a", 5), stored("b", 8), NOT_OURS, Foreign),
        (here("a", 5), stored("b", 6), OURS, Ahead),
        (here("a", 5), stored("b", 8), replace(OURS, unsettled=3), Foreign),
        (here("a", 5), stored("b", 5), OURS, Foreign),
        (here("a", 5, checkpoint_seq=60), stored("b", 3), OURS, Behind),  # restored from before a change of epoch
        (here("a", 5, checkpoint_seq=60), stored("b", 3), NOT_OURS, Foreign),
        (here("a", 5), stored("b", 5, count=0), NOT_OURS, Foreign),
    ],
)
def test_the_verdict(state: LaneState, found: Stored | None, likeness: Likeness, verdict: type) -> None:
    assert isinstance(judge(state, found, likeness), verdict)


def test_rows_are_only_read_where_they_decide() -> None:
    assert not needs_likeness(here("a", 5), None)
    assert not needs_likeness(here("a", 5), stored("a", 5))
    assert not needs_likeness(here("a", 5), stored("a", 3))
    assert not needs_likeness(here("a", 5), stored("b", 8, count=0))
    assert needs_likeness(here("a", 5), stored("a", 6))
    assert needs_likeness(here("a", 5), stored("b", 3))


# -- small scope -----------------------------------------------------------------------------------------------------
# A writer has rows 1..4 and sends them in batches; each answer may be lost; a copy of its database may go on instead
# of it, with other rows behind the copied ones; the stream may be set back to any earlier moment. Whatever the moment
# at which the writer looks, following the verdict leaves no row settled that is not stored, and none stored twice.

ROWS = 4


@dataclass(frozen=True)
class World:
    """What the stream holds (row names in order, the checkpoint), and what the writer knows."""

    stream: tuple[str, ...] = ()
    checkpoint: Stored | None = None
    clock: int = 0  # last stream sequence; restored together with the stream
    settled: int = 0
    total: int = 0
    seen: int = 0  # the checkpoint sequence that the writer was told last


def send(world: World, rows: list[str], first: int, *, epoch: str = "a", told: bool) -> World:
    """The rows as one batch of a writer that stands at the stream's checkpoint."""
    through = first + len(rows) - 1
    before = world.checkpoint.checkpoint.total if world.checkpoint and world.checkpoint.checkpoint.epoch == epoch else 0
    clock = world.clock + len(rows) + 1
    made = Checkpoint(epoch, first, through, len(rows), before + len(rows), 0, " ".join(rows))
    after = replace(
        world, stream=world.stream + tuple(rows), checkpoint=Stored(made, clock), clock=clock
    )  # fmt: skip
    return replace(after, settled=through, total=made.total, seen=clock) if told else after


def ours(first: int, last: int) -> list[str]:
    return [f"row{seq}" for seq in range(first, last + 1)]


def histories() -> Iterator[World]:
    """One to three batches with or without an answer, a copy that sends in between, and a stream set back or not."""
    for cuts in itertools.product(range(1, 3), repeat=2):
        for told in itertools.product((True, False), repeat=2):
            moments = [World()]
            for size, heard in zip(cuts, told, strict=True):
                last = moments[-1]
                end = last.checkpoint.checkpoint.through_seq if last.checkpoint else 0
                if last.settled != end:
                    break  # the writer looks before it goes on after a lost answer
                moments.append(send(last, ours(end + 1, end + size), end + 1, told=heard))
            now = moments[-1]
            yield now
            for earlier in moments[:-1]:
                yield replace(now, stream=earlier.stream, checkpoint=earlier.checkpoint, clock=earlier.clock)
            for copied, fresh, epoch in itertools.product(range(3), range(3), ("a", "c")):
                yield from copies(now, copied, fresh, epoch)


def copies(world: World, copied: int, fresh: int, epoch: str) -> Iterator[World]:
    """A copy made now sends some of the rows that wait here, and then some of its own."""
    end = world.checkpoint.checkpoint.through_seq if world.checkpoint else 0
    rows = ours(end + 1, min(ROWS, end + copied)) + [f"copy{number}" for number in range(fresh)]
    if rows:
        yield send(world, rows, end + 1, epoch=epoch, told=False)
    if len(rows) > 1:  # the same in two batches
        first = send(world, rows[:1], end + 1, epoch=epoch, told=False)
        yield send(first, rows[1:], end + 2, epoch=epoch, told=False)


def look(world: World) -> tuple[LaneState, Likeness]:
    state = here("a", world.settled, total=world.total, checkpoint_seq=world.seen)
    found = world.checkpoint
    if found is None or not needs_likeness(state, found):
        return state, NOT_OURS
    made = found.checkpoint
    is_ours = made.digest == " ".join(ours(made.first_seq, min(ROWS, made.through_seq)))
    return state, Likeness(is_ours, max(0, min(ROWS, made.through_seq) - world.settled) if is_ours else 0)


def follow(world: World, verdict: Verdict) -> tuple[set[str], list[str]]:
    """Rows settled after following the verdict, and what the stream then holds once everything else was sent."""
    match verdict:
        case InStep():
            settled = world.settled
        case Ahead(found):
            settled = found.checkpoint.through_seq
        case Behind(found, _):
            settled = found.checkpoint.through_seq if found else 0
        case Adopt() | Foreign():
            return set(ours(1, world.settled)), list(world.stream)
    return set(ours(1, settled)), [*world.stream, *ours(settled + 1, ROWS)]


def test_no_small_history_settles_what_is_not_stored_or_stores_a_row_twice() -> None:
    seen: set[type] = set()
    count = 0
    for world in histories():
        state, likeness = look(world)
        verdict = judge(state, world.checkpoint, likeness)
        settled, stream = follow(world, verdict)
        seen.add(type(verdict))
        count += 1
        if not isinstance(verdict, Foreign):
            assert settled <= set(world.stream), (world, verdict)
        assert len(stream) == len(set(stream)), (world, verdict)
    assert seen >= {InStep, Ahead, Behind, Foreign}
    assert count > 200


def test_the_small_histories_would_find_a_writer_that_trusts_itself() -> None:
    """Negative control."""
    wrong = [
        world
        for world in histories()
        if len((stream := follow(world, InStep(0)))[1]) != len(set(stream[1])) or not stream[0] <= set(world.stream)
    ]
    assert wrong


@pytest.mark.parametrize("likeness", [NOT_OURS, OURS])
def test_any_combination_of_small_marks_has_a_verdict_that_agrees_with_the_checkpoint(likeness: Likeness) -> None:
    both = (True, False)
    for settled, through, count, same, fresh in itertools.product(range(4), range(4), range(2), both, both):
        state = here("a", settled, total=0 if fresh else settled, checkpoint_seq=0 if fresh else 40)
        found = stored("a" if same else "b", through, count=count)
        verdict = judge(state, found, likeness)
        if isinstance(verdict, InStep):
            assert verdict.expected == found.stream_seq
            assert same
            assert through == settled
        if isinstance(verdict, Ahead):
            assert likeness.is_ours
            assert count
            assert through > settled
        if isinstance(verdict, Behind):
            assert through < settled
            assert same
        if isinstance(verdict, Adopt):
            assert not same
            assert fresh
