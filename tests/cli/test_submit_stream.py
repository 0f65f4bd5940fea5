"""`mra submit` acknowledges record by record: what it printed is on disk, whoever kills it, whatever comes later."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import threading
from contextlib import closing, suppress
from typing import IO, TYPE_CHECKING

import pytest

from mra.cli import submit
from mra.outbox import opening, salvage, sqlite
from mra.outbox.record import Lane
from tests.cli.conftest import CONFIG
from tests.outbox.desk import Desk

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

KILLS = 30


def stored(shell: Shell) -> list[tuple[str, bytes]]:
    with closing(sqlite.connect_readonly(shell.database)) as connection:
        return connection.execute("SELECT id, body FROM row_submissions ORDER BY seq").fetchall()


def bound(shell: Shell, **bounds: object) -> None:
    """Bounds of the submissions lane and of the file."""
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in bounds.items())
    shell.config.write_text(CONFIG + f"[lanes.submissions]\n{lines}")


@pytest.mark.timeout(120)
def test_no_acknowledged_record_is_missing_after_many_kills(shell: Shell) -> None:
    """Killed at random moments under load; every id that was printed, even by its first half, is there once."""
    dice = random.Random(3)
    printed: list[str] = []
    for _ in range(KILLS):
        with shell.start("submit", "a.b", "--lines", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            feeder = threading.Thread(target=feed, args=(child.stdin, dice.randrange(1 << 30)))
            feeder.start()
            printed.append(child.stdout.readline().decode().strip())  # it is under way
            printed += [child.stdout.readline().decode().strip() for _ in range(dice.randrange(300))]
            child.send_signal(signal.SIGKILL)
            printed += [line.decode().strip() for line in child.stdout if line.endswith(b"\n")]
            feeder.join()
            child.stdin = None
    with Desk.open(shell.database) as desk:
        kept = [id_ for id_, _ in stored(shell)]
        assert len(kept) == len(set(kept))
        assert len(printed) > KILLS * 20
        assert set(printed) <= set(kept)
        assert desk.problems() == []


def feed(stream: IO[bytes], seed: int) -> None:
    """Lines without end, in pieces of any size, until nobody reads them."""
    dice = random.Random(seed)
    with suppress(OSError):
        while True:
            stream.write(b"".join(b"%d\n" % dice.randrange(1 << 60) for _ in range(dice.randrange(1, 400))))
            stream.flush()
    with suppress(OSError):
        stream.close()


def test_lines_are_accepted_as_they_come_not_when_the_stream_ends(shell: Shell) -> None:
    with shell.start("submit", "a.b", "--lines", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"first\nsec")
        child.stdin.flush()
        id_ = child.stdout.readline().decode().strip()
        assert stored(shell) == [(id_, b"first")]
        child.stdin.write(b"ond\r\n\r\n\nlast")
        child.stdin.close()
        assert child.wait(20) == 0
    assert [body for _, body in stored(shell)] == [b"first", b"second", b"last"]


def test_a_refusal_half_way_tells_which_records_are_accepted(shell: Shell) -> None:
    bound(shell, max_bytes="256KiB", overflow="reject")
    done = shell.mra("submit", "a.b", "--lines", stdin=b"\n".join(b"%d" % n + b"x" * 500 for n in range(3000)))
    assert done.status == 75
    ids = done.out.split()
    assert [id_ for id_, _ in stored(shell)] == ids
    assert done.err.splitlines()[0] == f"mra: {len(ids)} records are accepted, those whose ids are printed."
    assert "is full" in done.err.splitlines()[1]


def test_one_record_too_many_is_refused_whole(shell: Shell) -> None:
    bound(shell, max_bytes="64KiB", overflow="reject")
    assert shell.mra("submit", "a.b", stdin=b"x" * 40_000).status == 0
    assert "is full" in shell.mra("submit", "a.b", stdin=b"x" * 40_000).complains(75)
    assert "never fit" in shell.mra("submit", "a.b", stdin=b"x" * 80_000).complains(2)


def test_a_record_without_end_is_refused(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "LARGEST_BODY", 200_000)
    assert "more than 200000 bytes" in shell.mra("submit", "a.b", "/dev/zero").complains(2)


def test_a_line_that_no_server_takes_is_refused_without_reading_on(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "LARGEST_BODY", 200_000)
    done = shell.mra("submit", "a.b", "--lines", stdin=b"first\n" + b"x" * 300_000)
    assert (done.status, len(done.out.split())) == (2, 1)
    assert [body for _, body in stored(shell)] == [b"first"]


@pytest.mark.parametrize(
    ("words", "stdin", "complaint"),
    [
        (["a b"], b"x", "Subject 'a b'"),
        (["a.b"], b"", "empty"),
        (["a.b", "--lines"], b"\n\n", "no records"),
        (["a.b", "nothing.txt"], b"", "Cannot read nothing.txt"),
        (["a.b", "."], b"", "Cannot read ."),
        (["a.b", "--ttl", "soon"], b"x", "--ttl is 'soon'"),
        (["a.b", "--ttl", "9" * 400 + "w"], b"x", "--ttl"),
        (["a.b", "--ttl", "0s"], b"x", "ttl"),
        (["a.b", "-H", "novalue"], b"x", "NAME=VALUE"),
        (["a.b", "-H", "Nats-Rollup=all"], b"x", "reserved"),
        (["a.b", "-H", "A=x\r\nB: y"], b"x", "header A"),
        (["a.b", "--lane", "events", "-H", "A=x\r\nB: y"], b"x", "header A"),
        (["a.b", "-H", "A=\udcff"], b"x", "header A"),
        (["a.b", "--id", "a\nb"], b"x", "Id"),
        (["a.b", "--lane", "events", "--id", "a\r\nNats-Rollup: all"], b"x", "Id"),
        (["a.b", "--lane", "nodes", "--key", "\x00"], b"x", "Key"),
        (["a.b", "--lane", "nowhere"], b"x", "nowhere"),
        ([], b"x", "SUBJECT"),
        (["checkpoint.site1-events", "--lane", "events"], b"x", "checkpoints"),
    ],
)
def test_a_mistake_is_one_sentence_and_accepts_nothing(
    shell: Shell, words: list[str], stdin: bytes, complaint: str
) -> None:
    assert complaint in shell.mra("submit", *words, stdin=stdin).complains(2)
    assert not shell.database.exists() or stored(shell) == []


def test_a_record_written_while_the_file_was_salvaged_is_not_acknowledged(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon replaces a damaged file: what goes into the old one counts for nothing, and is not said to count."""
    with Desk.open(shell.database) as desk:
        desk.accept(Lane.EVENTS, b"row")
    confirm = opening.Guest.confirm

    def salvaged_first(guest: opening.Guest) -> None:
        salvage.salvage(shell.database)
        confirm(guest)

    monkeypatch.setattr(opening.Guest, "confirm", salvaged_first)
    assert "was salvaged meanwhile" in shell.mra("submit", "a.b", stdin=b"x").complains(75)
    monkeypatch.undo()


def test_what_is_made_belongs_to_the_user_alone(shell: Shell) -> None:
    before = os.umask(0)
    try:
        assert shell.mra("submit", "a.b", stdin=b"x").status == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(shell.database.stat().st_mode) == 0o600
    assert stat.S_IMODE(shell.database.parent.stat().st_mode) == 0o700


def test_json_tells_where_each_record_stands(shell: Shell) -> None:
    done = shell.mra("submit", "a.b", "--lines", "--json", stdin=b"one\ntwo\n")
    documents = [json.loads(line) for line in done.out.splitlines()]
    assert [(d["lane"], d["seq"], d["repeated"]) for d in documents] == [
        ("submissions", 1, False), ("submissions", 2, False),
    ]  # fmt: skip
    assert [d["id"] for d in documents] == [id_ for id_, _ in stored(shell)]
