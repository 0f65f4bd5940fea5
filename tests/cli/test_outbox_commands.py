"""`mra outbox ...`: each verb beside a live writer, for people and programs, and with everything one can get wrong."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from mra.cli import outbox_access
from mra.outbox import doubt, drain, inspection, operator, parking
from mra.outbox.record import Lane
from tests.outbox.desk import Desk

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shell

LANE = Lane.EVENTS
READING = (
    ["lanes"],
    ["ls"],
    ["show", "events", "3"],
    ["tail", "events"],
    ["parked"],
    ["losses"],
    ["verify"],
    ["export"],
)
WRITING = (["requeue", "1"], ["drop", "1", "--force"], ["vacuum"], ["adopt", "events", "--force"])


@pytest.fixture
def lived(desk: Desk) -> Desk:
    """Rows in every standing: 1-2 delivered, 3 in flight, 4 parked, 5 dropped, 6-8 wait."""
    desk.accept(LANE, *(b"body %d" % n for n in range(1, 9)), headers={"Colour": "red"})
    desk.deliver(LANE, 2)
    parking.park(desk.connection, LANE, [4], "[red]too large[/red] for \x1b[31mthe stream")
    operator.drop_waiting(desk.connection, LANE, [5], actor="olivia")
    desk.claim(LANE, 3)
    return desk


def documents(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


# -- looking -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("lived")
def test_lanes_add_up(shell: Shell) -> None:
    done = shell.mra("outbox", "lanes", "--json")
    assert (done.status, done.err) == (0, "")
    events = {lane["lane"]: lane for lane in json.loads(done.out)}["events"]
    standing = [events[name] for name in ("accepted", "delivered", "waiting", "parked", "shed")]
    assert standing == [8, 2, 4, 1, 1]
    assert set(events) >= {"waiting_bytes", "oldest_age", "held", "epoch", "settled_through", "last_seq"}
    assert "events" in shell.mra("outbox", "lanes").out


@pytest.mark.usefixtures("lived")
def test_waiting_rows_are_listed_oldest_first(shell: Shell) -> None:
    rows = documents(shell.mra("outbox", "ls", "events", "--json").out)
    assert [(row["seq"], row["in_flight"]) for row in rows] == [(3, True), (6, False), (7, False), (8, False)]
    assert [row["seq"] for row in documents(shell.mra("outbox", "ls", "--json", "--after", 6, "--limit", 1).out)] == [7]
    assert "some.subject" in shell.mra("outbox", "ls").out


@pytest.mark.parametrize(("seq", "standing"), [(1, "delivered"), (3, "in flight"), (4, "parked"), (6, "waiting")])
@pytest.mark.usefixtures("lived")
def test_a_row_is_shown_whole_with_where_it_stands(shell: Shell, seq: int, standing: str) -> None:
    row = json.loads(shell.mra("outbox", "show", "events", seq, "--json").out)
    assert (row["standing"], row["body"], row["headers"], row["intact"]) == (
        standing, f"body {seq}", "Colour: red\r\n", True,
    )  # fmt: skip
    people = shell.mra("outbox", "show", "events", seq).out
    assert f"body {seq}" in people
    assert standing in people


def test_a_body_that_is_no_text_is_told_apart_in_json(shell: Shell, desk: Desk) -> None:
    desk.accept(LANE, b"\xff\x00")
    assert json.loads(shell.mra("outbox", "show", "events", 1, "--json").out)["body"] == {"base64": "/wA="}


@pytest.mark.usefixtures("lived")
def test_the_tail_shows_the_newest_rows(shell: Shell) -> None:
    assert [row["seq"] for row in documents(shell.mra("outbox", "tail", "events", "-n", 2, "--json").out)] == [7, 8]
    assert len(shell.mra("outbox", "tail", "events").out.splitlines()) == 6


def test_the_tail_follows_until_it_is_interrupted(shell: Shell, desk: Desk) -> None:
    desk.accept(LANE, b"first")
    with shell.start("outbox", "tail", "events", "--follow", "--json", stdout=subprocess.PIPE) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        assert json.loads(tail.stdout.readline())["seq"] == 1
        desk.accept(LANE, b"second")
        assert json.loads(tail.stdout.readline())["seq"] == 2
        tail.send_signal(signal.SIGINT)
        assert tail.wait(20) == 130
        assert b"Traceback" not in tail.stderr.read()


@pytest.mark.usefixtures("lived")
def test_parked_rows_are_listed_with_their_reason_which_cannot_play_tricks(shell: Shell) -> None:
    [row] = documents(shell.mra("outbox", "parked", "--json").out)
    assert (row["no"], row["lane"], row["seq"], row["intact"]) == (1, "events", 4, True)
    people = shell.mra("outbox", "parked").out
    assert "[red]too large[/red] for \\x1b[31mthe stream" in people
    assert "\x1b" not in people
    assert shell.mra("outbox", "parked", "--lane", "metrics").out == "Nothing is parked.\n"


@pytest.mark.usefixtures("lived")
def test_losses_are_listed_by_reason(shell: Shell) -> None:
    [loss] = documents(shell.mra("outbox", "losses", "--json").out)
    assert (loss["lane"], loss["reason"], loss["count"], loss["first_seq"]) == ("events", "dropped", 1, 5)
    assert "dropped" in shell.mra("outbox", "losses").out


def test_verify_tells_whether_all_is_well_and_what_is_not(shell: Shell, lived: Desk) -> None:
    assert json.loads(shell.mra("outbox", "verify", "--json").out) == {"ok": True, "findings": []}
    lived.connection.execute("UPDATE row_events SET body = x'00' WHERE seq = 7")
    done = shell.mra("outbox", "verify", "--json")
    assert done.status == 1
    assert json.loads(done.out)["findings"] == [{"lane": "events", "problem": "row 7 does not match its checksum"}]
    done = shell.mra("outbox", "verify")
    assert (done.status, done.out.splitlines()[0]) == (1, "events: row 7 does not match its checksum")
    lived.connection.execute("UPDATE row_events SET body = CAST('body 7' AS BLOB) WHERE seq = 7")


@pytest.mark.usefixtures("lived")
def test_an_export_can_be_read_back(shell: Shell, tmp_path: Path) -> None:
    done = shell.mra("outbox", "export", "--lane", "events")
    assert done.err == "4 rows exported.\n"
    assert [base64.b64decode(row["body"]) for row in documents(done.out)] == [
        b"body 3",
        b"body 6",
        b"body 7",
        b"body 8",
    ]
    file = tmp_path / "rows.ndjson"
    assert shell.mra("outbox", "export", file, "--all").status == 0
    assert len(documents(file.read_text())) == 6


def test_an_export_into_a_link_keeps_the_link_and_into_a_device_keeps_the_device(
    shell: Shell, desk: Desk, tmp_path: Path
) -> None:
    desk.accept(LANE, b"row")
    (tmp_path / "link").symlink_to("rows.ndjson")
    assert shell.mra("outbox", "export", tmp_path / "link").status == 0
    assert (tmp_path / "link").is_symlink()
    assert len(documents((tmp_path / "rows.ndjson").read_text())) == 1
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert shell.mra("outbox", "export", tmp_path / "pipe").status == 0
    assert len(documents(os.read(reading, 65536).decode())) == 1
    os.close(reading)
    assert (tmp_path / "pipe").is_fifo()


def test_an_export_that_fails_leaves_the_older_one_and_nothing_else(
    shell: Shell, lived: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "out" / "rows.ndjson"
    file.parent.mkdir()
    file.write_text("older")
    monkeypatch.setattr(inspection, "export", lambda *_, **__: lived.connection.execute("SELECT nothing"))
    assert shell.mra("outbox", "export", file).status == 75
    assert [child.name for child in file.parent.iterdir()] == ["rows.ndjson"]
    assert file.read_text() == "older"


# -- changing ----------------------------------------------------------------------------------------------------------


def test_requeue_sends_parked_rows_again_and_leaves_an_audit_row(shell: Shell, lived: Desk) -> None:
    assert json.loads(shell.mra("outbox", "requeue", "1", "--json").out) == {"requeued": 1}
    assert lived.waiting(LANE)[-1] == b"body 4"
    actor, action = lived.connection.execute("SELECT actor, action FROM audit ORDER BY no DESC LIMIT 1").fetchone()
    assert action == "requeue"
    assert actor


@pytest.mark.parametrize("words", [["--all"], ["--lane", "events"]])
def test_requeue_takes_all_but_damaged_rows(shell: Shell, desk: Desk, words: list[str]) -> None:
    desk.accept(LANE, *(b"%d" % n for n in range(1200)))
    parking.park(desk.connection, LANE, range(1, 1101), "refused")
    desk.connection.execute("UPDATE parked SET body = x'00' WHERE no = 7")
    assert json.loads(shell.mra("outbox", "requeue", *words, "--json").out) == {"requeued": 1099}
    assert "damaged" in shell.mra("outbox", "requeue", 7).complains(2)
    assert json.loads(shell.mra("outbox", "drop", 7, "--force", "--json").out) == {"dropped": 1}


@pytest.mark.parametrize("words", [["requeue"], ["drop", "--force"]], ids=" ".join)
def test_one_wrong_number_among_many_changes_nothing(shell: Shell, desk: Desk, words: list[str]) -> None:
    desk.accept(LANE, *(b"%d" % n for n in range(700)))
    parking.park(desk.connection, LANE, range(1, 701), "refused")
    assert "no parked row 701" in shell.mra("outbox", *words, *range(1, 702)).complains(2)
    assert len(inspection.parked(desk.connection)) == 700


def test_drop_gives_rows_up_after_asking(shell: Shell, lived: Desk) -> None:
    refused = shell.mra("outbox", "drop", "--lane", "events", "6", stdin=b"n\n")
    assert (refused.status, refused.out) == (130, "")
    assert json.loads(shell.mra("outbox", "drop", "--lane", "events", "6", "7", "--json", stdin=b"y\n").out) == {
        "dropped": 2
    }
    assert json.loads(shell.mra("outbox", "drop", "--all-parked", "--force", "--json").out) == {"dropped": 1}
    assert lived.waiting(LANE) == [b"body 3", b"body 8"]


def test_vacuum_says_what_it_gave_back(shell: Shell, desk: Desk) -> None:
    desk.accept(LANE, *(bytes(4000) for _ in range(500)))
    desk.deliver(LANE)
    desk.sleep(90_000)
    desk.prune()
    assert json.loads(shell.mra("outbox", "vacuum", "--json").out)["freed_bytes"] > 1_000_000
    assert shell.mra("outbox", "vacuum").out == "0 B given back.\n"


def test_a_held_lane_is_adopted(shell: Shell, lived: Desk) -> None:
    assert "is not held" in shell.mra("outbox", "adopt", "events", "--force").complains(1)
    drain.hold(lived.connection, LANE, "fenced")
    assert json.loads(shell.mra("outbox", "adopt", "events", "--force", "--json").out) == {"adopted": "events"}
    assert lived.state(LANE).held is None


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("lived")
@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (["show", "events", "99"], 2, "not kept here"),
        (["show", "events", "0"], 2, "range"),
        (["show", "events", "99999999999999999999999"], 2, "range"),
        (["show", "nowhere", "1"], 2, "nowhere"),
        (["ls", "--limit", "0"], 2, "range"),
        (["ls", "--after", "99999999999999999999999"], 2, "range"),
        (["tail", "events", "-n", "99999999999999999999"], 2, "range"),
        (["requeue"], 2, "Say which rows"),
        (["requeue", "1", "--all"], 2, "Say which rows"),
        (["requeue", "99"], 2, "no parked row 99"),
        (["requeue", "one"], 2, "one"),
        (["requeue", "99999999999999999999999"], 2, "range"),
        (["drop", "--force"], 2, "Say which rows"),
        (["drop", "1", "--all-parked", "--force"], 2, "Say which rows"),
        (["drop", "--lane", "events", "--all-parked", "--force"], 2, "Say which rows"),
        (["drop", "--lane", "events", "1", "--force"], 2, "does not wait"),
        (["drop", "--lane", "events", "3", "--force"], 2, "on its way"),
        (["drop", "99", "--force"], 2, "no parked row 99"),
        (["export", "no/such/directory/file"], 2, "No such file or directory"),
        (["export", "."], 2, "is a directory"),
        (["nothing"], 2, "No such command"),
        (["lanes", "--nothing"], 2, "No such option"),
    ],
)
def test_a_mistake_is_one_sentence_and_changes_nothing(
    shell: Shell, desk: Desk, words: list[str], status: int, complaint: str
) -> None:
    before = desk.connection.execute("PRAGMA data_version").fetchone()
    assert complaint in shell.mra("outbox", *words).complains(status)
    assert desk.connection.execute("PRAGMA data_version").fetchone() == before


@pytest.mark.parametrize("words", [*READING, *WRITING], ids=" ".join)
def test_an_outbox_that_is_not_there_is_not_made(shell: Shell, words: list[str]) -> None:
    assert "There is no outbox" in shell.mra("outbox", *words).complains(2)
    assert not shell.database.exists()


@pytest.mark.parametrize("words", [*READING, *WRITING], ids=" ".join)
def test_a_file_that_is_no_outbox_is_named_and_left_alone(shell: Shell, words: list[str]) -> None:
    shell.database.parent.mkdir()
    shell.database.write_text("Dear diary\n" * 500)
    assert str(shell.database) in shell.mra("outbox", *words).complains(75)
    assert shell.database.read_text() == "Dear diary\n" * 500


@pytest.mark.parametrize("words", [*READING, *WRITING], ids=" ".join)
def test_a_configuration_that_is_not_there_is_named(shell: Shell, words: list[str]) -> None:
    assert "nothing.toml" in shell.mra("outbox", *words, "--config", "nothing.toml").complains(2)


@pytest.mark.parametrize("words", [*READING, *WRITING], ids=" ".join)
def test_a_damaged_page_is_a_sentence_and_the_daemon_hears_of_it(
    shell: Shell, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(outbox_access, "poke_daemon", lambda _, what="wake": told.append(what))
    with Desk.open(shell.database) as desk:
        desk.accept(LANE, *(bytes(1000) for _ in range(100)))
        parking.park(desk.connection, LANE, [1], "refused")
        drain.hold(desk.connection, LANE, "fenced")
        pages = [row[0] for row in desk.connection.execute("SELECT rootpage FROM sqlite_schema WHERE rootpage > 1")]
    with shell.database.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * 4096)
            file.write(b"\xee" * 4096)
    done = shell.mra("outbox", *words)
    if words == ["verify"]:
        assert (done.status, done.err) == (1, "")
    elif words != ["vacuum"]:
        assert "is damaged" in done.complains(75)
    if words != ["vacuum"]:
        assert told == ["examine"]
        assert doubt.since(shell.database), "for a daemon that starts later"


def test_another_writer_is_waited_for_and_named_when_it_takes_too_long(shell: Shell, lived: Desk) -> None:
    lived.connection.execute("BEGIN IMMEDIATE")
    assert "locked by another process" in shell.mra("outbox", "requeue", "1").complains(75)
    lived.connection.execute("ROLLBACK")
    assert shell.mra("outbox", "requeue", "1").status == 0
