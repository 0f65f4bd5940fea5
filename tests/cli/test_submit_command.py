"""`mra submit`, with the daemon down, and as a user who may not touch the outbox."""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio

from mra.app import run_agent
from mra.cli.main import invoke
from mra.outbox import sqlite
from mra.settings import read_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "agent.toml"
    file.write_text(
        '[agent]\nname = "site1"\nstate = "state"\n'
        '[saas]\nurls = ["nats://127.0.0.1:1"]\nuser = "acme"\npassword_file = "password"\n'
        "[outbox]\nmin_free = 0\nballast = 0\n[facts]\nenabled = false\n"
    )
    return file


@pytest.fixture
def submit(config, tmp_path):
    """Run the command on a payload and give its exit code."""
    payload = tmp_path / "payload"

    def run(*arguments: str, body: bytes = b"ordered") -> int:
        payload.write_bytes(body)
        return invoke(["submit", "--config", str(config), "app.orders", str(payload), *arguments])

    return run


def stored(config, lane="submissions"):
    with closing(sqlite.connect_readonly(config.parent / "state" / "outbox.db")) as connection:
        return connection.execute(f"SELECT subject, headers, body, id, key FROM row_{lane} ORDER BY seq").fetchall()


def headers_of(row):
    return dict(line.split(": ", 1) for line in row[1].splitlines())


def test_the_agent_says_who_submitted_and_from_where(submit, config):
    assert submit("--reliable", "--priority", "1", "--tries", "5", "-H", "Colour=red") == 0
    headers = headers_of(stored(config)[0])
    assert headers["Choria-Identity"] == "site1"
    assert headers["Choria-Sender"].startswith("user ")
    assert (headers["Choria-Reliable"], headers["Choria-Priority"], headers["Colour"]) == ("1", "1", "red")


def test_who_may_write_the_outbox_may_speak_for_another(submit, config):
    assert submit("--sender", "till 7") == 0
    assert headers_of(stored(config)[0])["Choria-Sender"] == "till 7"


def test_a_repeated_id_is_one_record(submit, config, capsys):
    assert submit("--id", "order-1", "--json") == 0
    assert submit("--id", "order-1", "--json", body=b"again") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["id"] == second["id"]
    assert (first["repeated"], second["repeated"]) == (False, True)
    assert [row[2] for row in stored(config)] == [b"ordered"]


def test_lines_are_records_of_their_own_in_order(submit, config, capsys):
    assert submit("--lines", body=b"one\ntwo\n\nthree\n") == 0
    assert [row[2] for row in stored(config)] == [b"one", b"two", b"three"]
    assert len(set(capsys.readouterr().out.split())) == 3


def test_other_lanes_take_records_as_they_are(submit, config):
    assert submit("--lane", "nodes", "--key", "n1", "--id", "abc") == 0
    assert stored(config, "nodes") == [("app.orders", None, b"ordered", "abc", "n1")]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--lane", "events", "--reliable"), "belong to submissions"),
        (("--lines", "--id", "x"), "leave one of them out"),
        (("-H", "Choria-Sender=root"), "reserved"),
        (("--ttl", "40d"), "ttl"),
        (("--priority", "9"), "priority"),
        (("--socket", "s", "--key", "k"), "leave --lane and --key out"),
    ],
)
def test_a_mistake_is_told_in_a_sentence_and_nothing_is_accepted(submit, config, capsys, arguments, complaint):
    assert submit(*arguments) == 2
    assert complaint in capsys.readouterr().err
    assert not (config.parent / "state" / "outbox.db").exists() or not stored(config)


def test_a_socket_that_nobody_serves_is_worth_another_try(submit, tmp_path, capsys):
    assert submit("--socket", str(tmp_path / "nobody.sock")) == 75
    assert "mra run" in capsys.readouterr().err


AS_NOBODY = """
import os, sys
import mra.cli.submit, mra.settings, mra.submit.message  # while the interpreter's files can still be read
from mra.cli.main import invoke
os.setgroups([]), os.setgid(65534), os.setuid(65534)
sys.exit(invoke(sys.argv[1:]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_a_user_who_may_not_touch_the_outbox_is_served_through_the_socket(config, tmp_path):
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(directory.stat().st_mode | 0o055)
    (tmp_path / "password").write_text("secret")
    (tmp_path / "password").chmod(0o600)
    config.write_text(config.read_text() + f'[submit]\nsocket = "{tmp_path}/submit.sock"\n')
    (tmp_path / "payload").write_text("one\ntwo")
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(run_agent, read_settings(config), stop)
        with trio.fail_after(20):
            while not (tmp_path / "submit.sock").exists():  # noqa: ASYNC110 - no event tells of a file
                await trio.sleep(0.02)
            done = await trio.run_process(
                [sys.executable, "-c", AS_NOBODY, "submit", "app.orders", str(tmp_path / "payload"), "--lines"],
                env={"PYTHONPATH": str(ROOT), "MRA_CONFIG": str(config)},
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        stop.set()
    assert (done.returncode, done.stderr) == (0, b"")
    rows = stored(config)
    assert [row[2] for row in rows] == [b"one", b"two"]
    assert [row[3] for row in rows] == done.stdout.decode().split()
    assert {headers_of(row)["Choria-Sender"] for row in rows} == {"user nobody"}
