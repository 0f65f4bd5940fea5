from __future__ import annotations

import hashlib

import pytest
import trio

from mra.errors import Refused
from mra.machines.picture import Condition, MachinePicture
from mra.machines.trial import PATIENCE_SECONDS, PROBATION_SECONDS, FleetTrials
from tests.machines.archives.samples import MANIFEST
from tests.machines.doubles import KINDS

DIGEST = hashlib.sha256(MANIFEST).hexdigest()


class Fleet:
    """A fleet that shows what the test says, at the times the test says."""

    def __init__(self, store):
        self.store = store
        self.shown = []
        self.asked_to_look = 0

    def look_soon(self):
        self.asked_to_look += 1

    def show(self, digest=DIGEST, condition=Condition.RUNNING, problem=""):
        directory = str(self.store / "echo")
        self.shown = [MachinePicture("echo", "1.0.0", condition, "RUN", directory, digest=digest, problem=problem)]

    def pictures(self):
        return self.shown


@pytest.fixture
def fleet(tmp_path):
    (tmp_path / "echo").mkdir()
    (tmp_path / "echo" / "machine.yaml").write_bytes(MANIFEST)
    return Fleet(tmp_path)


@pytest.fixture
def trials(fleet):
    return FleetTrials(lambda: fleet, KINDS)


async def later(seconds, *calls):
    for call in calls:
        await trio.sleep(seconds)
        call()


async def test_a_machine_that_lasts_is_proven(fleet, trials, autojump_clock, nursery):
    nursery.start_soon(later, 10, fleet.show)
    began = trio.current_time()
    await trials.prove(fleet.store / "echo")
    assert 10 + PROBATION_SECONDS <= trio.current_time() - began < 17
    assert fleet.asked_to_look == 1


async def test_a_problem_of_the_version_before_says_nothing(fleet, trials, autojump_clock, nursery):
    fleet.show("old", problem="It crashed.")
    nursery.start_soon(later, 10, fleet.show)
    await trials.prove(fleet.store / "echo")


@pytest.mark.parametrize(
    "show",
    [
        {"digest": "old", "problem": "line 3 is wrong"},
        {"digest": "", "condition": Condition.REFUSED, "problem": "line 3 is wrong"},
        {"digest": "", "condition": Condition.DENIED, "problem": "line 3 is wrong"},
        {"problem": "line 3 is wrong"},
    ],
)
async def test_what_the_fleet_refuses_is_refused_with_its_reason(fleet, trials, autojump_clock, nursery, show):
    fleet.show("old")
    nursery.start_soon(later, 10, lambda: fleet.show(**show))
    with pytest.raises(Refused, match="line 3 is wrong"):
        await trials.prove(fleet.store / "echo")


async def test_a_machine_that_crashes_soon_is_refused(fleet, trials, autojump_clock, nursery):
    nursery.start_soon(later, 3, fleet.show, lambda: fleet.show(problem="It crashed."))
    with pytest.raises(Refused, match="It crashed"):
        await trials.prove(fleet.store / "echo")


async def test_a_machine_that_nobody_picks_up_is_refused(fleet, trials, autojump_clock):
    began = trio.current_time()
    with pytest.raises(Refused, match="did not run within 60 seconds"):
        await trials.prove(fleet.store / "echo")
    assert trio.current_time() - began == pytest.approx(PATIENCE_SECONDS)


async def test_what_is_no_machine_of_the_fleet_needs_no_proof(fleet, trials, tmp_path_factory):
    await trials.prove(tmp_path_factory.mktemp("elsewhere"))
    (fleet.store / "files").mkdir()
    await trials.prove(fleet.store / "files")


def test_a_manifest_is_read_as_the_fleet_will_read_it(trials, fleet):
    trials.check(fleet.store / "echo")
    (fleet.store / "echo" / "machine.yaml").write_bytes(MANIFEST.replace(b"timer", b"nonsense"))
    with pytest.raises(Refused, match="nonsense"):
        trials.check(fleet.store / "echo")
    (fleet.store / "echo" / "machine.yaml").unlink()
    trials.check(fleet.store / "echo")
    (fleet.store / "echo" / "machine.yaml").mkdir()
    with pytest.raises(Refused, match="cannot be read"):
        trials.check(fleet.store / "echo")
