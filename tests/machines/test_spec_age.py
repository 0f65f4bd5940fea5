from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.machines.accepted import REMEMBERED, Accepted, FileMemory, Superseded, accept
from mra.machines.spec import Specification, read, sign
from tests.machines.test_spec import KEY, SEED, plugin


def spec(name, serial=None, key="k"):
    return Specification((), f"{name:0>64}", serial, key)


def after(*specifications):
    """What is remembered after all of these were accepted in turn."""
    last = None
    for each in specifications:
        last = accept(each, last)
    return last


def test_what_was_replaced_does_not_come_back():
    last = after(spec("a"), spec("b"))
    with pytest.raises(Superseded, match="replaced by a newer one"):
        accept(spec("a"), last)
    assert accept(spec("b"), last) == last
    assert accept(spec("c"), last).digest == spec("c").digest


def test_a_smaller_serial_is_older_and_an_equal_one_must_be_the_same():
    last = after(spec("a", 5))
    with pytest.raises(Superseded, match="has serial 4, but 5"):
        accept(spec("z", 4), last)
    with pytest.raises(Superseded, match="differs from the one accepted"):
        accept(spec("z", 5), last)
    assert accept(spec("a", 5), last) == last


def test_stripping_the_serial_is_no_way_around_it():
    with pytest.raises(Superseded, match="has no serial"):
        accept(spec("new"), after(spec("a", 5)))


def test_a_greater_serial_brings_an_old_list_back():
    assert after(spec("a", 1), spec("b", 2), spec("a", 3)).serial == 3


def test_serials_can_be_introduced_later():
    assert after(spec("a"), spec("b"), spec("b", 1)).serial == 1


def test_another_key_begins_another_history():
    assert after(spec("a", 9), spec("b", 10), spec("a", 1, key="other")) == Accepted("other", spec("a").digest, 1)


def test_without_a_key_nobody_vouches_so_age_is_not_judged():
    assert after(spec("a", key=""), spec("b", key=""), spec("a", key="")).digest == spec("a").digest


def test_memory_is_bounded_and_forgets_the_oldest_first():
    last = after(*(spec(str(number)) for number in range(REMEMBERED + 2)))
    assert len(last.superseded) == REMEMBERED
    assert spec("0").digest not in last.superseded
    assert last.superseded[-1] == spec(str(REMEMBERED)).digest


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 9)), max_size=30))
def test_serials_never_go_back_and_the_last_is_always_acceptable(story):
    last, greatest = None, -1
    for name, serial in story:
        try:
            last = accept(spec(str(name), serial), last)
        except Superseded:
            continue
        assert last.serial is None or last.serial >= greatest
        greatest = max(greatest, last.serial if last.serial is not None else -1)
        assert last.digest not in last.superseded
        assert accept(spec(str(name), last.serial), last) == last


async def test_a_replayed_document_is_refused_across_restarts(tmp_path):
    old, new = sign([plugin("old")], SEED, 1), sign([plugin("new")], SEED, 2)
    memory = FileMemory(tmp_path / "accepted.json")
    assert await memory.load() is None
    for document in (old, new):
        await memory.save(accept(read(document, KEY), await memory.load()))
    with pytest.raises(Superseded):
        accept(read(old, KEY), await FileMemory(tmp_path / "accepted.json").load())
    assert (tmp_path / "accepted.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"key": "k", "digest": "short"}', b"[" * 50_000])
async def test_a_damaged_memory_is_not_taken_for_an_empty_one(tmp_path, content):
    (tmp_path / "accepted.json").write_bytes(content)
    with pytest.raises(BadInput, match="remove that file to start anew"):
        await FileMemory(tmp_path / "accepted.json").load()
