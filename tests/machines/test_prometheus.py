"""The metrics file is one valid document, whatever names and values go in, and is replaced as a whole."""

from __future__ import annotations

import math
import os
import re
import stat
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from mra.machines.prometheus import Family, Sample, folded, label_name, metric_name, render
from mra.machines.textfile import Textfile, write_textfile

if TYPE_CHECKING:
    from pathlib import Path


def gauge(name: str, value: float, **labels: str) -> Family:
    return Family(name, "gauge", "about it", (Sample(value, labels),))


def test_a_family_is_written_with_its_help_type_and_samples() -> None:
    family = Family("pump_flow", "gauge", "Choria Metric", (Sample(41.5, {"line": "b"}), Sample(2.0)))
    assert render([family]) == (
        '# HELP pump_flow Choria Metric\n# TYPE pump_flow gauge\npump_flow{line="b"} 41.5\npump_flow 2\n'
    )


def test_values_and_help_are_escaped() -> None:
    family = Family("m", "counter", "a\\b\nc", (Sample(1, {"path": 'C:\\x "y"\nz'}),))
    assert render([family]) == ('# HELP m a\\\\b\\nc\n# TYPE m counter\nm{path="C:\\\\x \\"y\\"\\nz"} 1\n')


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1e6, "1000000"), (0.1, "0.1"), (1e-9, "1e-09"), (1e300, "1e+300"), (math.nan, "NaN"),
     (math.inf, "+Inf"), (-math.inf, "-Inf"), (-2.5, "-2.5")],
)  # fmt: skip
def test_numbers_keep_their_precision(value: float, text: str) -> None:
    assert render([gauge("m", value)]).splitlines()[-1] == f"m {text}"


def test_a_name_that_occurs_twice_is_declared_once_and_a_series_stays_unique() -> None:
    text = render([gauge("m", 1, site="a"), gauge("n", 5), gauge("m", 2, site="a"), gauge("m", 3, site="b")])
    assert text.count("# TYPE m ") == 1
    assert [line for line in text.splitlines() if line[0] == "m"] == ['m{site="a"} 2', 'm{site="b"} 3']


def test_names_are_made_valid() -> None:
    assert metric_name("choria_flow rate-1") == "choria_flow_rate_1"
    assert metric_name("1st") == "_1st"
    assert metric_name("") == "_"
    assert label_name("__name__") == "_name__"
    assert label_name("größe:x") == "gr__e_x"
    assert folded('My Watcher, "A"') == "my_watcher___a_"


SERIES = re.compile(
    r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{[a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\["\\n])*"'
    r'(,[a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\["\\n])*")*\})? (NaN|[+-]Inf|[-+0-9.e]+)'
)
COMMENT = re.compile(r"# (HELP|TYPE) [a-zA-Z_:][a-zA-Z0-9_:]* .*")
words = st.text(st.characters(), max_size=10)


@given(
    st.lists(
        st.builds(
            Family,
            words,
            st.sampled_from(["gauge", "counter"]),
            words,
            st.lists(st.builds(Sample, st.floats(), st.dictionaries(words, words, max_size=3)), max_size=3).map(tuple),
        ),
        max_size=4,
    )
)
def test_any_families_make_a_valid_document(families: list[Family]) -> None:
    text = render(families).encode().decode()
    lines = text.split("\n")
    assert lines.pop() == ""
    assert all((COMMENT if line.startswith("#") else SERIES).fullmatch(line) for line in lines)
    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(series) == len(set(series))
    types = [line for line in lines if line.startswith("# TYPE")]
    assert len(types) == len({line.split()[2] for line in types})


def test_the_file_is_readable_by_the_exporter_and_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "mra.prom"
    before = os.umask(0o077)
    try:
        write_textfile(file, "one 1\n")
        with file.open() as reader:
            write_textfile(file, "two 2\n")
            assert reader.read() == "one 1\n"
    finally:
        os.umask(before)
    assert file.read_text() == "two 2\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["mra.prom"]


async def test_the_file_follows_its_owners_and_forgets_the_stale(tmp_path: Path, monkeypatch, autojump_clock) -> None:
    file = tmp_path / "mra.prom"
    board = Textfile(file, lambda: [gauge("start", 7)])
    send, written = trio.open_memory_channel[list[str]](math.inf)
    write = board.write

    async def write_and_tell() -> None:
        await write()
        send.send_nowait([line for line in file.read_text().splitlines() if line[0] != "#"])

    monkeypatch.setattr(board, "write", write_and_tell)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(board.run)
        board.put("a", [gauge("m", 1, owner="a")], lifetime=20)
        board.put("b", [gauge("m", 2, owner="b")])
        assert await written.receive() == ["start 7", 'm{owner="a"} 1', 'm{owner="b"} 2']
        board.put("b", [gauge("m", 3, owner="b")])
        assert await written.receive() == ["start 7", 'm{owner="a"} 1', 'm{owner="b"} 3']
        assert await written.receive() == ["start 7", 'm{owner="b"} 3']
        board.drop("b")
        assert await written.receive() == ["start 7"]
        nursery.cancel_scope.cancel()


async def test_many_changes_make_few_writes(tmp_path: Path, mock_clock, monkeypatch) -> None:
    writes = []
    board = Textfile(tmp_path / "mra.prom")

    async def count() -> None:
        await trio.lowlevel.checkpoint()
        writes.append(trio.current_time())

    monkeypatch.setattr(board, "write", count)
    mock_clock.autojump_threshold = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(board.run)
        for _ in range(100):
            board.put("a", [gauge("m", 1)])
            await trio.sleep(0.03)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert 4 <= len(writes) <= 5


async def test_when_the_one_who_writes_stops_another_takes_over(tmp_path: Path, monkeypatch, autojump_clock) -> None:
    board = Textfile.shared(tmp_path, "mra.prom")
    assert Textfile.shared(tmp_path, "mra.prom") is board
    send, written = trio.open_memory_channel[None](math.inf)

    async def tell() -> None:
        await trio.lowlevel.checkpoint()
        send.send_nowait(None)

    monkeypatch.setattr(board, "write", tell)
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as first:
            first.start_soon(board.run)
            await written.receive()
            nursery.start_soon(board.run)
            board.put("a", [gauge("m", 1)])
            first.cancel_scope.cancel()
        await written.receive()
        nursery.cancel_scope.cancel()


async def test_a_directory_that_is_missing_is_no_reason_to_stop(tmp_path: Path) -> None:
    board = Textfile(tmp_path / "missing" / "mra.prom")
    board.put("a", [gauge("m", 1)])
    await board.write()
    (tmp_path / "missing").mkdir()
    await board.write()
    assert (tmp_path / "missing" / "mra.prom").exists()


async def test_without_a_directory_nothing_is_written() -> None:
    board = Textfile(None)
    board.put("a", [gauge("m", 1)])
    await board.write()
