"""When a server is left for another one of its cluster: when it serves no lane, for long."""

from __future__ import annotations

import pytest

from mra.uplink.reach import CutOff, Reach


def test_it_is_left_when_nothing_was_served_for_the_whole_stay() -> None:
    reach = Reach(stay=20)
    reach.unserved(100)
    reach.unserved(119.9)
    with pytest.raises(CutOff):
        reach.unserved(120)


def test_one_lane_that_is_served_speaks_for_the_server() -> None:
    """The stream of the others is missing, or has no leader: that is so everywhere."""
    reach = Reach(stay=20)
    for moment in range(0, 1000, 15):
        reach.unserved(moment)
        reach.served()


def test_the_next_server_is_given_a_stay_of_its_own() -> None:
    reach = Reach(stay=20)
    reach.unserved(100)
    reach.connected()
    reach.unserved(121)


def test_stays_double_until_something_is_served() -> None:
    reach = Reach(stay=20)
    for stay in (20, 40, 80, 160, 320, 320, 320):
        leave(reach, stay)
    reach.served()
    leave(reach, 20)


def leave(reach: Reach, stay: float) -> None:
    """Connect and be served by nobody: fails unless the server is left after `stay`, and not before."""
    reach.connected()
    reach.unserved(1000)
    reach.unserved(1000 + stay - 0.1)
    with pytest.raises(CutOff):
        reach.unserved(1000 + stay)


def test_the_only_server_is_never_left() -> None:
    reach = Reach()
    reach.unserved(0)
    reach.unserved(1e9)
