from __future__ import annotations

import json
import os
import stat

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mra.errors import BadInput, Unavailable
from mra.machines.data import FILE_NAME, MOST_BYTES, MachineData

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


async def test_values_survive_a_restart(tmp_path):
    data = MachineData.load(tmp_path)
    await data.put("level", {"high": 3, "ok": True})
    await data.put("site", "north")
    await data.delete("level")
    assert MachineData.load(tmp_path).copy() == {"site": "north"}
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    assert (tmp_path / FILE_NAME).read_bytes() == b'{"site":"north"}'


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_any_json_comes_back_as_it_was(tmp_path, values):
    async def keep():
        await MachineData(tmp_path / FILE_NAME).update(values)

    trio.run(keep)
    assert MachineData.load(tmp_path).copy() == values


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b" " * (MOST_BYTES + 1)],
    ids=["empty", "cut", "list", "null", "bytes", "deep list", "deep map", "huge"],
)
async def test_a_corrupt_file_counts_as_empty_and_is_replaced(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    data = MachineData.load(tmp_path)
    assert data.copy() == {}
    await data.put("a", 1)
    assert MachineData.load(tmp_path).copy() == {"a": 1}


async def test_a_pipe_in_place_of_the_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / FILE_NAME)
    assert MachineData.load(tmp_path).copy() == {}


async def test_a_directory_in_place_of_the_file_is_survived(tmp_path):
    (tmp_path / FILE_NAME).mkdir()
    data = MachineData.load(tmp_path)
    with pytest.raises(Unavailable, match="could not be written"):
        await data.put("a", 1)


async def test_a_failed_write_is_told_and_the_value_holds_in_memory(tmp_path):
    home = tmp_path / "machine"
    home.mkdir()
    data = MachineData.load(home)
    home.rmdir()
    with pytest.raises(Unavailable, match=r"machine_data.json could not be written \(No such file or directory\)"):
        await data.put("a", 1)
    assert data.get("a") == 1
    home.mkdir()
    await data.put("a", 1)
    assert MachineData.load(home).copy() == {"a": 1}


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}, b"x"])
async def test_what_is_no_json_is_refused_and_changes_nothing(tmp_path, value):
    data = MachineData.load(tmp_path)
    await data.put("a", 1)
    with pytest.raises(BadInput, match="JSON values only"):
        await data.put("a", value)
    assert data.copy() == {"a": 1}


async def test_an_unchanged_value_and_an_absent_key_write_nothing(tmp_path):
    data = MachineData.load(tmp_path)
    await data.put("a", 1)
    before = os.stat(tmp_path / FILE_NAME).st_ino
    await data.put("a", 1)
    await data.delete("b")
    assert os.stat(tmp_path / FILE_NAME).st_ino == before


async def test_what_a_kill_left_half_written_is_cleared_away(tmp_path):
    (tmp_path / f".{FILE_NAME}.x1y2").write_bytes(b"{half")
    (tmp_path / FILE_NAME).write_text('{"a":1}')
    assert MachineData.load(tmp_path).copy() == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


async def test_a_change_can_be_waited_for(tmp_path):
    data = MachineData.load(tmp_path)
    for change in (lambda: data.put("a", 1), lambda: data.delete("a")):
        changed = data.changed()
        await change()
        assert changed.is_set()
    changed = data.changed()
    await data.delete("a")
    assert not changed.is_set()


async def test_writes_of_several_watchers_all_arrive(tmp_path):
    data = MachineData.load(tmp_path)
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(data.put, f"key{number}", number)
    assert json.loads((tmp_path / FILE_NAME).read_text()) == {f"key{number}": number for number in range(20)}
