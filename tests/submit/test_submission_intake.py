"""Local programs submit through a real socket; whatever they send, only what was stored is answered with a receipt."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mra.errors import BadInput, OutboxFull, Refused, Unavailable
from mra.outbox.outbox import open_outbox
from mra.outbox.policy import OutboxSettings
from mra.outbox.record import Draft, Lane, Receipt
from mra.submit import IntakeSettings, Submission, protocol, run_intake, submit_over_socket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GOOD = Submission("app.metrics", b'{"cpu":1}', id="order-17")


class Shelf:
    """The outbox's promise in a list: one row for each id."""

    def __init__(self) -> None:
        self.rows: list[Draft] = []
        self.trouble: Exception | None = None
        self.commit = trio.Event()
        self.commit.set()
        self.waiting = 0

    async def append(self, draft: Draft) -> Receipt:
        self.waiting += 1
        await self.commit.wait()
        self.waiting -= 1
        if self.trouble:
            raise self.trouble
        for seq, row in enumerate(self.rows, 1):
            if row.id == draft.id:
                return Receipt(draft.lane, seq, str(draft.id), repeated=True)
        self.rows.append(draft)
        return Receipt(draft.lane, len(self.rows), str(draft.id))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def bounds(tmp_path: Path) -> IntakeSettings:
    return IntakeSettings(tmp_path / "submit.sock", "n1.acme.example")


@asynccontextmanager
async def running(bounds: IntakeSettings, append) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(run_intake, bounds, append)
        yield
        nursery.cancel_scope.cancel()


async def submit(bounds: IntakeSettings, submission: Submission = GOOD) -> Receipt:
    return await trio.to_thread.run_sync(partial(submit_over_socket, bounds.path, submission, patience=20))


class Line:
    """A submitter that says exactly what the test wants."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream

    async def say(self, document: bytes) -> None:
        await self.stream.send_all(protocol.frame(document))

    async def answer(self) -> dict[str, object]:
        length = int.from_bytes(await self._read(4), "big")
        return json.loads(await self._read(length))

    async def ended(self) -> bool:
        try:
            return await self.stream.receive_some(1) == b""
        except trio.BrokenResourceError:
            return True

    async def _read(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            piece = await self.stream.receive_some(count - len(found))
            assert piece, "the agent closed the connection"
            found += piece
        return found


@asynccontextmanager
async def connected(bounds: IntakeSettings) -> AsyncIterator[Line]:
    async with await trio.open_unix_socket(str(bounds.path)) as stream:
        yield Line(stream)


def request(**fields: object) -> bytes:
    return json.dumps({"v": 1, "subject": "app.metrics", "payload": "eA==", **fields}).encode()


async def test_a_submission_is_stored_under_the_name_of_its_user(bounds, shelf) -> None:
    async with running(bounds, shelf.append):
        receipt = await submit(bounds, replace(GOOD, sender="somebody else", headers={"Site": "north"}))
    (row,) = shelf.rows
    assert receipt == Receipt(Lane.SUBMISSIONS, 1, str(row.id))
    assert (row.subject, row.body) == ("app.metrics", b'{"cpu":1}')
    assert row.headers["Choria-Identity"] == "n1.acme.example"
    assert row.headers["Choria-Sender"].startswith("user ")
    assert row.headers["Site"] == "north"


async def test_the_kernel_says_who_submits(bounds, shelf) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can submit as another user")
    program = (
        "import os, sys; from pathlib import Path; from mra.submit import Submission, submit_over_socket\n"
        "os.setgid(65534); os.setuid(54321)\n"
        "print(submit_over_socket(Path(sys.argv[1]), Submission('app', b'x', id='order-17')).seq)"
    )
    bounds = replace(bounds, path=Path(f"/tmp/mra-test-{os.getpid()}.sock"))
    async with running(bounds, shelf.append):
        await submit(bounds)
        result = await trio.run_process([sys.executable, "-c", program, str(bounds.path)], capture_stdout=True)
    assert result.stdout == b"2\n", "the same id of another user is another record"
    assert shelf.rows[1].headers["Choria-Sender"] == "user 54321"


async def test_the_answer_comes_after_the_commit(bounds, shelf) -> None:
    shelf.commit = trio.Event()
    async with running(bounds, shelf.append), connected(bounds) as line:
        await line.say(request())
        while not shelf.waiting:
            await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await line.stream.receive_some(1)
            raise AssertionError("answered before the commit")
        shelf.commit.set()
        assert (await line.answer())["receipt"]["seq"] == 1


async def test_asking_again_under_the_same_id_is_safe(bounds, shelf) -> None:
    async with running(bounds, shelf.append):
        first = await submit(bounds)
        second = await submit(bounds)
    assert second == first._replace(repeated=True)
    assert len(shelf.rows) == 1


async def test_many_requests_on_one_connection_keep_their_order(bounds, shelf) -> None:
    async with running(bounds, shelf.append), connected(bounds) as line:
        await line.stream.send_all(b"".join(protocol.frame(request(subject=f"app.n{n}")) for n in range(50)))
        seqs = [(await line.answer())["receipt"]["seq"] for _ in range(50)]
    assert seqs == list(range(1, 51))
    assert [row.subject for row in shelf.rows] == [f"app.n{n}" for n in range(50)]


@pytest.mark.parametrize(
    ("trouble", "raised"),
    [(OutboxFull("No room."), Unavailable), (Refused("Never."), BadInput), (RuntimeError("a bug"), Unavailable)],
)
async def test_a_refusal_reaches_the_submitter_as_what_it_is(bounds, shelf, trouble, raised) -> None:
    shelf.trouble = trouble
    async with running(bounds, shelf.append):
        with pytest.raises(raised):
            await submit(bounds)
        shelf.trouble = None
        assert (await submit(bounds)).seq == 1


async def test_the_submitter_is_told_what_is_wrong(bounds, shelf) -> None:
    async with running(bounds, shelf.append), connected(bounds) as line:
        await line.say(request(subject="checkpoint.n1-submissions"))
        answer = await line.answer()
        assert answer == {"v": 1, "error": answer["error"], "retry": False}
        assert "checkpoint" in answer["error"]
        await line.say(request())
        assert "receipt" in await line.answer()
    assert len(shelf.rows) == 1


async def test_the_client_refuses_what_could_never_pass_before_it_connects(bounds) -> None:
    with pytest.raises(BadInput, match="Subject"):
        await submit(bounds, replace(GOOD, subject="\udcff"))


async def test_without_an_agent_the_client_says_so(bounds, tmp_path) -> None:
    with pytest.raises(Unavailable, match="No agent answers"):
        await submit(bounds)
    bounds.path.write_text("no socket")
    with pytest.raises(Unavailable, match="No agent answers"):
        await submit(bounds)


NONSENSE = [
    b"",
    b"\0\0",
    b"\0\0\0\x05{",
    b"\xff\xff\xff\xff{}",
    protocol.frame(b"nonsense"),
    protocol.frame(b"{}"),
    protocol.frame(b'{"v":1,"receipt":{"lane":"x","seq":1,"id":""}}'),
    protocol.frame(b'{"v":1,"error":"no","retry":true}'),
]


@pytest.mark.parametrize("answer", NONSENSE)
async def test_an_agent_that_answers_nonsense_is_not_believed(bounds, answer: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(answer)
        await stream.aclose()

    with socket.socket(socket.AF_UNIX) as plain:
        plain.bind(str(bounds.path))
        plain.listen()
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(plain))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, serve, [listener])
            with pytest.raises((Unavailable, BadInput)):
                await submit(bounds)
            nursery.cancel_scope.cancel()


async def test_a_request_that_is_too_long_is_refused_before_it_is_read(bounds, shelf) -> None:
    async with running(replace(bounds, max_payload=1000), shelf.append):
        with pytest.raises(BadInput, match="at once"):
            await submit(bounds, replace(GOOD, payload=bytes(5_000_000)))
        async with connected(bounds) as line:
            await line.stream.send_all(b"\xff\xff\xff\xff")
            assert "4294967295 bytes" in (await line.answer())["error"]
            assert await line.ended()
        with pytest.raises(BadInput, match="1000 or fewer"):
            await submit(bounds, replace(GOOD, payload=bytes(1001)))
        assert (await submit(bounds, replace(GOOD, payload=bytes(1000)))).seq == 1


async def test_the_largest_submission_passes_with_all_its_headers(bounds, shelf) -> None:
    big = Submission("app", bytes(bounds.max_payload), headers={f"h{n}": "é" * 60 for n in range(60)})
    async with running(bounds, shelf.append):
        assert (await submit(bounds, big)).seq == 1
    assert shelf.rows[0].body == big.payload


async def test_a_user_may_hold_only_so_many_connections(bounds, shelf) -> None:
    async with running(replace(bounds, per_user=2), shelf.append):
        async with connected(bounds) as first, connected(bounds) as second:
            for line in (first, second):
                await line.say(request())
                await line.answer()
            async with connected(bounds) as third:
                answer = await third.answer()
                assert answer["retry"] is True
                assert await third.ended()
        with trio.fail_after(10):
            while True:  # the agent has to notice that the two have left
                try:
                    assert (await submit(bounds)).seq == 3
                    break
                except Unavailable:
                    await trio.testing.wait_all_tasks_blocked()


async def test_all_users_together_may_hold_only_so_many_connections(bounds, shelf) -> None:
    async with running(replace(bounds, connections=1), shelf.append), connected(bounds) as first:
        await first.say(request())
        await first.answer()
        with pytest.raises(Unavailable, match="Too many"):
            await submit(bounds)


async def test_a_request_that_drips_in_is_given_up(bounds, shelf, autojump_clock) -> None:
    async with running(bounds, shelf.append), connected(bounds) as line:
        for byte in protocol.frame(request())[:13]:  # the length in 3 s, then the document
            await line.stream.send_all(bytes([byte]))
            await trio.sleep(1)
        assert "more than 10 s" in (await line.answer())["error"]
        assert await line.ended()
    assert shelf.rows == []


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not(bounds, shelf, autojump_clock) -> None:
    async with running(bounds, shelf.append), connected(bounds) as line:
        for _ in range(5):
            await line.say(request())
            await line.answer()
            await trio.sleep(50)
        await trio.sleep(11)
        assert await line.ended()
    assert len(shelf.rows) == 5


async def test_a_slow_commit_is_not_held_against_the_submitter(bounds, shelf, autojump_clock) -> None:
    shelf.commit = trio.Event()
    async with running(bounds, shelf.append), connected(bounds) as line:
        await line.say(request())
        await trio.sleep(3600)
        shelf.commit.set()
        assert "receipt" in await line.answer()


async def test_one_user_has_one_long_request_in_memory_at_a_time(bounds, shelf) -> None:
    shelf.commit = trio.Event()
    long = request(payload="eHh4" * 40_000)
    async with running(bounds, shelf.append), connected(bounds) as first, connected(bounds) as second:
        await first.say(long)
        while not shelf.waiting:
            await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(second.say, long)
            for _ in range(10):
                await trio.testing.wait_all_tasks_blocked()
            assert shelf.waiting == 1
            async with connected(bounds) as small:
                await small.say(request())
                while shelf.waiting < 2:
                    await trio.testing.wait_all_tasks_blocked()
            shelf.commit.set()
        assert (await first.answer())["receipt"]
        assert (await second.answer())["receipt"]


async def test_a_submitter_that_leaves_in_the_middle_disturbs_nobody(bounds, shelf) -> None:
    async with running(bounds, shelf.append):
        for part in (b"\0", b"\0\0\0\x40", protocol.frame(request())[:-1]):
            async with connected(bounds) as line:
                await line.stream.send_all(part)
        shelf.commit = trio.Event()
        async with connected(bounds) as line:
            await line.say(request(id="left before the answer"))
        shelf.commit.set()
        assert (await submit(bounds)).seq in (1, 2)


async def test_the_socket_is_open_to_all_and_goes_when_the_agent_stops(bounds, shelf) -> None:
    async with running(bounds, shelf.append):
        assert stat.S_IMODE(bounds.path.stat().st_mode) == 0o666
    assert not bounds.path.exists()
    async with running(replace(bounds, mode=0o660), shelf.append):
        assert stat.S_IMODE(bounds.path.stat().st_mode) == 0o660


async def test_a_socket_that_a_killed_agent_left_is_replaced(bounds, shelf) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(bounds.path))
    async with running(bounds, shelf.append):
        assert (await submit(bounds)).seq == 1


@pytest.mark.parametrize("place", ["file", "folder/missing/submit.sock", "x" * 120])
async def test_a_place_where_no_socket_can_be_is_named(bounds, shelf, tmp_path, place: str) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(BadInput, match=r"in the way|Cannot listen"):
        await run_intake(replace(bounds, path=tmp_path / place), shelf.append)
    assert (tmp_path / "file").read_text() == "precious"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["v", "subject", "payload", "id", "reliable", "ttl", "priority", "tries", "headers", "sender"])
hostile = (
    st.binary(max_size=200)
    | st.binary(max_size=60).map(protocol.frame)
    | st.dictionaries(keys, json_values, max_size=5).map(lambda fields: protocol.frame(request(**fields)))
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.lists(hostile, max_size=3))
@example(sent=[protocol.frame(b"[" * 60_000)])
@example(sent=[protocol.frame(request(ttl=1e400))])
@example(sent=[protocol.frame(b'{"v":1,"subject":"\xff","payload":""}')])
@example(sent=[protocol.frame(request(id="\ud800"))])
def test_whatever_is_sent_the_next_submitter_is_served(tmp_path_factory, sent: list[bytes]) -> None:
    shelf = Shelf.__new__(Shelf)

    async def story() -> None:
        shelf.__init__()
        bounds = IntakeSettings(tmp_path_factory.getbasetemp() / "fuzz.sock", "n1")
        async with running(bounds, shelf.append):
            async with connected(bounds) as line:
                await line.stream.send_all(b"".join(sent))
                await line.stream.send_eof()
                try:
                    while await line.stream.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass
            async with connected(bounds) as line:
                await line.say(request(id="the next"))
                assert "receipt" in await line.answer()

    trio.run(story)
    assert all(row.headers["Choria-Identity"] == "n1" for row in shelf.rows)
    assert not any(row.subject.startswith("checkpoint") for row in shelf.rows)


async def test_the_real_outbox_keeps_the_promise(bounds, tmp_path) -> None:
    async with (
        open_outbox(tmp_path / "outbox.db", OutboxSettings(min_free=0, ballast=0)) as outbox,
        running(bounds, outbox.append),
    ):
        first = await submit(bounds)
        second = await submit(bounds)
        third = await submit(bounds, replace(GOOD, id="order-18"))
    assert (first.repeated, second) == (False, first._replace(repeated=True))
    assert third.seq == first.seq + 1
