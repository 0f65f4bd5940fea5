"""Answers by file: what settles, and everything that must not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mra.errors import BadInput, MraError, Refused
from mra.outbox import drain, exports
from mra.outbox.record import Lane
from mra.sealed import acknowledgement
from mra.sealed.keys import SealingSecret
from mra.sealed.reading import open_sealed
from mra.uplink.batch import Batch
from mra.uplink.checkpoint import Stored
from tests.sealed.courier import SECRET, Island

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVENTS, NODES = Lane.EVENTS, Lane.NODES


@pytest.fixture
def island(tmp_path: Path) -> Iterator[Island]:
    with Island.open(tmp_path / "island") as island:
        yield island


def taken(path: Path, stream_seq: int = 50) -> dict[Lane, Stored]:
    """Checkpoints of a SaaS that has just stored the file."""
    found: dict[Lane, Stored] = {}
    with open_sealed(path, SECRET) as file:
        for bundle in file.bundles():
            part = file.part(bundle.lane)
            before = found[bundle.lane].checkpoint.total if bundle.lane in found else part.total_before
            batch = Batch(bundle.lane, part.epoch, part.begins_behind, before, bundle.rows, may_continue=False)
            found[bundle.lane] = Stored(batch.checkpoint, stream_seq)
    return found


def answer(path: Path, secret: SealingSecret = SECRET, customer: str = "acme", **changes: Any) -> bytes:
    with open_sealed(path, SECRET) as file:
        return acknowledgement.write_answer(
            file.header, customer, changes.get("checkpoints") or taken(path, changes.get("stream_seq", 50)), secret
        )


def test_an_answer_settles_every_lane_of_its_file(island: Island) -> None:
    island.accept(1500)
    island.accept(2, NODES)
    settled = island.settle(answer(island.export()))
    assert settled == {EVENTS: (1500, 1500), NODES: (2, 2)}
    assert island.standing() == (1500, 0)


def test_rows_accepted_since_go_on_waiting(island: Island) -> None:
    island.accept(3)
    path = island.export()
    island.accept(2)
    island.settle(answer(path))
    assert island.standing() == (3, 2)


def test_an_answer_counts_once(island: Island) -> None:
    island.accept(3)
    raw = answer(island.export())
    island.settle(raw)
    with pytest.raises(Refused, match="settled before"):
        island.settle(raw)


def test_an_answer_by_anyone_else_is_refused(island: Island) -> None:
    island.accept(3)
    with pytest.raises(Refused, match="not by the SaaS"):
        island.settle(answer(island.export(), SealingSecret.generate()))
    assert island.standing() == (0, 3)


def test_an_answer_of_which_a_word_was_changed_is_refused(island: Island) -> None:
    island.accept(3)
    path = island.export()
    letter = json.loads(answer(path))
    for old, new in (('"through_seq":3', '"through_seq":2'), ("site1", "site2"), (path.stem, "x"), ("50", "51")):
        changed = letter | {"answer": letter["answer"].replace(old, new)}
        if changed != letter:
            with pytest.raises(Refused):
                island.settle(json.dumps(changed).encode())
    assert island.standing() == (0, 3)


def test_an_answer_for_another_agent_or_customer_is_refused(island: Island, tmp_path: Path) -> None:
    island.accept(3)
    path = island.export()
    with pytest.raises(Refused, match="for site1 of globex"):
        island.settle(answer(path, customer="globex"))
    with Island.open(tmp_path / "other", "site2") as other:
        other.accept(3)
        foreign = other.export()
        with pytest.raises(Refused, match="for site2"):
            island.settle(answer(foreign))


def test_an_answer_to_a_file_of_another_outbox_is_refused(island: Island, tmp_path: Path) -> None:
    island.accept(3)
    island.export()
    with Island.open(tmp_path / "other") as other:
        other.accept(3)
        with pytest.raises(Refused, match="is waited for"):
            island.settle(answer(other.export()))


def test_an_answer_from_before_the_saas_lost_rows_is_refused(island: Island) -> None:
    island.accept(3)
    path = island.export()
    raw = answer(path)
    island.desk.deliver(EVENTS)  # over the link
    drain.rewind(island.desk.connection, EVENTS, through_seq=0, total=0, stream_seq=1)  # and the SaaS was wiped
    with pytest.raises(Refused, match="is waited for"):
        island.settle(raw)
    assert island.standing() == (0, 3)


def test_a_later_answer_covers_earlier_files_too(island: Island) -> None:
    island.accept(3)
    first = island.export()
    raw = answer(first)
    island.accept(2)
    island.settle(answer(island.export()))
    assert island.standing() == (5, 0)
    with pytest.raises(Refused):
        island.settle(raw)


def test_an_answer_that_the_link_has_overtaken_changes_nothing(island: Island) -> None:
    """Of two lanes in the file one has come further over the link, the other is still to be settled."""
    island.accept(3)
    island.accept(2, NODES)
    raw = answer(island.export())
    island.accept(4)
    here = island.desk.state(EVENTS)
    drain.advance(island.desk.connection, EVENTS, settled=drain.Settlement(here.epoch, 7, 7, 90))
    assert island.settle(raw) == {NODES: (2, 2)}
    assert island.standing() == (7, 0)


def test_an_answer_interrupted_between_lanes_settles_the_rest_later(island: Island) -> None:
    island.accept(3)
    island.accept(2, NODES)
    path = island.export()
    found = taken(path)[EVENTS]
    settled = drain.Settlement(found.checkpoint.epoch, 3, 3, found.stream_seq)
    drain.advance(island.desk.connection, EVENTS, settled=settled)  # killed here
    assert island.settle(answer(path)) == {NODES: (2, 2)}


def test_a_copy_that_went_its_own_way_does_not_settle_by_the_answer_to_the_other(
    island: Island, tmp_path: Path
) -> None:
    island.accept(3)
    island.export()
    island.copy(tmp_path / "copy")
    with Island.open(tmp_path / "copy") as copy:
        copy.accept(2)
        other = taken(copy.export())
    island.accept(2)
    path = island.export()
    with pytest.raises(Refused, match="does not fit"):
        island.settle(answer(path, checkpoints=other))
    assert island.standing() == (0, 5)


def test_rows_shed_after_the_hold_are_not_waited_for(island: Island) -> None:
    island.accept(4, Lane.METRICS)
    path = island.export()
    raw = answer(path)
    island.desk.sleep(60 * 86400)
    island.desk.shed_aged()
    assert island.settle(raw) == {Lane.METRICS: (0, 4)}
    assert exports.lanes_of(island.desk.connection, island.last.file) == []


@given(
    raw=st.binary(max_size=200)
    | st.dictionaries(st.text(max_size=9), st.text(max_size=20)).map(json.dumps).map(str.encode)
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_one_sentence(raw: bytes) -> None:
    with pytest.raises(MraError) as error:
        acknowledgement.read_answer(raw, SECRET.public)
    assert isinstance(error.value, BadInput | Refused)
    assert "\n" not in error.value.sentence
