"""A change of leader: what was acknowledged stays where it is, what was not goes elsewhere, and nothing goes twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mra.clock import now
from mra.errors import Refused
from mra.outbox import drain, exports
from mra.site import terms
from tests.site.short_circuit import FOLLOWER, LANE, ShortCircuit

if TYPE_CHECKING:
    from collections.abc import Iterator

A, B = 0, 1
HELLO, JOINED, LOOK, COMMIT = range(4)  # requests of a first session, in order


@pytest.fixture
def site() -> Iterator[ShortCircuit]:
    made = ShortCircuit()
    made.take_over(A)
    yield made
    made.close()


def test_rows_that_the_old_leader_acknowledged_are_not_sent_to_the_new_one(site: ShortCircuit) -> None:
    site.accept(5)
    site.drain(A)
    site.take_over(B)
    site.accept(3)
    site.drain(B)
    site.finish()
    assert site.nodes[A].numbers() == [1, 2, 3, 4, 5]
    assert site.nodes[B].numbers() == [6, 7, 8]


def test_a_batch_whose_answer_was_lost_goes_to_the_new_leader_and_the_old_one_forgets_it(site: ShortCircuit) -> None:
    site.accept(5)
    site.drain(A, breaks_at=COMMIT, late=True)
    assert site.nodes[A].unsettled() == 2  # a batch
    site.nodes[A].deliver()
    assert site.nodes[A].numbers() == []  # nobody knows yet whose they are
    site.take_over(B)
    site.drain(B)
    site.finish()
    assert site.nodes[A].numbers() == []
    assert site.nodes[A].unsettled() == 0
    assert site.nodes[B].numbers() == [1, 2, 3, 4, 5]


def test_a_settled_batch_of_which_no_word_came_is_delivered_by_the_old_leader_once_it_hears(site: ShortCircuit) -> None:
    site.accept(2)
    site.drain(A, reports=False)
    site.take_over(B)
    site.accept(1)
    site.drain(B)
    site.nodes[A].restart()
    site.nodes[A].deliver()
    assert site.nodes[A].numbers() == []
    site.greet(A)
    site.nodes[A].deliver()
    assert site.nodes[A].numbers() == [1, 2]
    site.finish()
    assert site.delivered() == [1, 2, 3]


def test_a_batch_that_was_not_settled_is_not_the_leaders_although_the_next_one_came(site: ShortCircuit) -> None:
    site.accept(4)
    site.drain(A, crashes_at=3, slow=True)  # at the settlement of the first batch, while the second one is stored
    assert site.nodes[A].unsettled() == 4
    site.nodes[A].deliver()
    site.take_over(B)
    site.drain(B)
    site.finish()
    assert site.nodes[A].numbers() == []
    assert site.nodes[B].numbers() == [1, 2, 3, 4]


def test_the_mark_of_a_stint_is_kept_until_the_old_leader_has_heard_it(site: ShortCircuit) -> None:
    site.accept(5)
    site.drain(A, reports=False)
    site.take_over(B)
    site.drain(B)
    connection = site.follower.outbox.connection
    site.greet(A, breaks_at=0)
    assert terms.ended(connection)
    site.greet(A, breaks_at=0, late=True)  # it heard, and we do not know
    assert terms.ended(connection)
    site.greet(A)
    assert not [mark for mark in terms.ended(connection) if mark.leader == "n1"]
    site.finish()
    assert site.nodes[A].numbers() == [1, 2, 3, 4, 5]


def test_an_old_leader_that_comes_back_is_left_alone(site: ShortCircuit) -> None:
    site.take_over(B)
    site.drain(B)
    site.accept(4)
    site.drain(A)
    state = drain.state(site.follower.outbox.connection, LANE)
    assert (state.waiting, state.settled_through) == (4, 0)
    current = terms.current(site.follower.outbox.connection)
    assert current is not None
    assert current.leader == "n2"


def test_a_leader_of_a_term_that_another_leads_is_not_joined(site: ShortCircuit) -> None:
    site.accept(2)
    site.drain(A)
    site.nodes[B].lead(site.nodes[A].term)
    site.accept(2)
    site.drain(B)
    assert site.nodes[B].unsettled() == 0
    site.drain(A)
    site.finish()
    assert site.delivered() == [1, 2, 3, 4]


def test_a_leader_that_leads_again_finds_its_followers_in_a_new_stint(site: ShortCircuit) -> None:
    site.accept(3)
    site.drain(A, breaks_at=COMMIT, late=True)
    site.take_over(B)
    site.take_over(A)
    site.drain(A)
    site.accept(2)
    site.drain(A)
    site.finish()
    assert site.nodes[A].numbers() == [1, 2, 3, 4, 5]


def test_rows_of_a_follower_that_lost_its_database_are_delivered(site: ShortCircuit) -> None:
    """Nobody else has what it had handed over; a hello that merely does not mention them is not enough."""
    site.accept(3)
    site.drain(A, reports=False)
    site.follower.outbox.close()
    for file in site.follower.folder.iterdir():
        file.unlink()
    site.follower.outbox.connection = type(site.follower.outbox)(
        site.follower.outbox.path, site.follower.outbox.settings
    ).connection
    site.accept(2)
    site.drain(A)
    site.finish()
    assert site.nodes[A].numbers() == [1, 2, 3, 4, 5]


def test_a_leader_that_lost_its_disk_gets_again_what_it_had_and_nothing_of_the_one_before(site: ShortCircuit) -> None:
    site.accept(5)
    site.drain(A)
    site.take_over(B)
    site.accept(4)
    site.drain(B)
    site.nodes[B].lose_disk()
    site.finish()
    assert site.nodes[A].numbers() == [1, 2, 3, 4, 5]
    assert site.nodes[B].numbers() == [6, 7, 8, 9]


def test_a_follower_that_leads_itself_tells_its_old_leader_where_it_ended(site: ShortCircuit) -> None:
    site.accept(2)
    site.drain(A, reports=False)
    terms.leave(site.follower.outbox.connection)
    site.greet(A)
    site.nodes[A].deliver()
    assert site.nodes[A].numbers() == [1, 2]
    assert terms.ended(site.follower.outbox.connection) == []


def test_rows_of_a_follower_that_does_not_come_back_are_delivered_when_somebody_says_so(site: ShortCircuit) -> None:
    site.accept(2)
    site.drain(A, breaks_at=COMMIT, late=True)
    site.nodes[A].deliver()
    assert site.nodes[A].numbers() == []
    assert trio.run(site.nodes[A].leader.deliver_unsettled, FOLLOWER) == 2
    site.nodes[A].deliver()
    assert site.nodes[A].numbers() == [1, 2]
    site.accept(1)
    site.finish()  # and should it come back after all, it finds them stored
    assert site.delivered() == [1, 2, 3]


def test_a_follower_exports_nothing_because_its_leader_does(site: ShortCircuit) -> None:
    site.accept(2)
    site.drain(A)
    with pytest.raises(Refused, match="n1, the leader of its site"):
        exports.begin(site.follower.outbox.connection, "file", [LANE], hold=1.0, stamp=now(), actor="test")


STEPS = st.one_of(
    st.tuples(st.just("accept"), st.integers(1, 12)),
    st.tuples(st.just("take over"), st.integers(0, 1)),
    st.tuples(st.just("drain"), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("break"), st.integers(0, 1), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("crash"), st.integers(0, 1), st.integers(0, 9), st.booleans(), st.booleans()),
    st.tuples(st.just("leader crashes"), st.integers(0, 1), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("greet"), st.integers(0, 1), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("deliver"), st.integers(0, 1)),
    st.tuples(st.just("restart"), st.integers(0, 1)),
)


def play(site: ShortCircuit, step: tuple[object, ...]) -> None:
    match step:
        case ("accept", int(count)):
            site.accept(count)
        case ("take over", int(node)):
            site.take_over(node)
        case ("drain", int(node), bool(reports)):
            site.drain(node, reports=reports)
        case ("break", int(node), int(at), bool(late)):
            site.drain(node, breaks_at=at, late=late)
        case ("crash", int(node), int(at), bool(late), bool(slow)):
            site.drain(node, crashes_at=at, late=late, slow=slow)
        case ("leader crashes", int(node), int(at), bool(late)):
            site.drain(node, leader_crashes_at=at, late=late)
        case ("greet", int(node), int(at), bool(late)):
            site.greet(node, breaks_at=at, late=late)
        case ("deliver", int(node)):
            site.nodes[node].deliver()
        case ("restart", int(node)):
            site.nodes[node].restart()


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, max_size=25))
def test_whatever_happens_each_row_is_delivered_once_and_in_order(steps: list[tuple[object, ...]]) -> None:
    site = ShortCircuit()
    try:
        site.take_over(A)
        for step in steps:
            play(site, step)
            site.check()
        site.finish()
        site.check()
        assert site.delivered() == sorted(site.accepted)
    finally:
        site.close()
