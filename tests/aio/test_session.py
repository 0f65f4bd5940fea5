"""One connection: it says who was refused, notices silence, and closes whatever the other end does."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from mra.aio.session import Access, NoAnswer, Silent, frame, open_session
from mra.errors import LinkLost, Misconfigured
from tests.harness.saas import EVENTS, LAB, Saas, open_saas

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.lab


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Saas]:
    async with open_saas(tmp_path / "saas") as running:
        yield running


def access(saas: Saas, password: str | None = None) -> Access:
    return Access((saas.url,), "n1", saas.site.user, password or saas.site.password, ping_seconds=1.0)


async def test_a_request_is_answered(saas: Saas) -> None:
    async with open_session(access(saas)) as session:
        answer = await session.request("machine_room.events.lifecycle.x", b"{}", patience=5)
    assert b'"seq":1' in answer.body
    assert session.max_payload == 1024 * 1024


async def test_frames_handed_over_in_one_write_are_stored_in_order(saas: Saas) -> None:
    """The private call of nats-py that a whole batch goes through; a new version has to keep this true."""
    bodies = [b"%d" % number for number in range(500)]
    async with open_session(access(saas)) as session:
        subject = "machine_room.events.lifecycle.x"
        await session.send(b"".join(frame(subject, "_INBOX.n1.none", b"", body) for body in bodies[:-1]))
        await session.request(subject, bodies[-1], patience=10)  # answered when everything before it is stored
    async with saas.connect() as wire:
        assert [message.body for message in await wire.read_stream(EVENTS)] == bodies


async def test_a_wrong_password_is_a_matter_of_configuration(saas: Saas) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(Misconfigured, match="credentials"), flatten_subgroups=True):
        async with open_session(access(saas, "wrong")):
            raise AssertionError("not reached")


async def test_nobody_there_is_a_lost_link() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(LinkLost, match="127.0.0.1"), flatten_subgroups=True):
        async with open_session(Access(("nats://127.0.0.1:9",), "n1")):
            raise AssertionError("not reached")


async def test_a_refused_permission_is_told_at_once_and_only_to_who_asked(saas: Saas) -> None:
    async with open_session(access(saas)) as session, trio.open_nursery() as nursery:
        with session.reply() as bystander, trio.fail_after(10):

            async def refused() -> None:
                with pytest.raises(Misconfigured, match="permissions violation"):
                    await session.request("$JS.API.STREAM.NAMES", patience=60)

            nursery.start_soon(refused)
            await trio.testing.wait_all_tasks_blocked(0.2)
        assert bystander.poll() is None


async def test_a_killed_server_is_noticed(saas: Saas) -> None:
    async with open_session(access(saas)) as session:
        await saas.kill()
        with trio.fail_after(10):
            await session.keep_alive(60)
        with pytest.raises(LinkLost):
            await session.send(b"PING\r\n")


async def test_a_silent_server_is_noticed_and_closing_does_not_wait_for_it(saas: Saas) -> None:
    with trio.fail_after(15):
        async with open_session(access(saas)) as session:
            await saas.suspend()
            await session.keep_alive(1.0)
            assert session.lost.is_set()
    saas.resume()


async def test_a_link_lives_on_when_the_answer_comes_after_one_was_patient(saas: Saas) -> None:
    async with open_session(access(saas)) as session:
        await saas.suspend()
        with pytest.raises(Silent):
            await session.round_trip(0.05)
        saas.resume()
        await session.round_trip(10)
        answer = await session.request("machine_room.events.lifecycle.x", b"{}", patience=10)
    assert b'"seq":1' in answer.body


async def test_an_answer_that_never_comes_is_a_lost_link(saas: Saas) -> None:
    async with open_session(access(saas)) as session:
        with session.reply() as reply, pytest.raises(LinkLost, match="unclear"):
            await reply.receive(0.05)


async def test_errors_name_the_other_end_as_its_user_knows_it(saas: Saas) -> None:
    async with open_session(replace(access(saas), peer="the site's leader")) as session:
        with session.reply() as reply, pytest.raises(NoAnswer, match="No answer from the site's leader"):
            await reply.receive(0.01)
        assert "The connection to the site's leader is lost" in session.why_lost().sentence


async def test_a_server_without_tls_is_not_told_a_password_that_was_to_go_encrypted(saas: Saas) -> None:
    wanted = replace(access(saas), tls=ssl.create_default_context())
    with pytest.RaisesGroup(pytest.RaisesExc(LinkLost, match="offers no TLS"), flatten_subgroups=True):
        async with open_session(wanted):
            raise AssertionError("not reached")


async def test_a_refused_inbox_is_told_at_once_and_not_as_a_silence(tmp_path: Path) -> None:
    """Without it no answer can ever come back; waiting for one would say "no answer" and hide the reason."""
    configuration = tmp_path / "saas.conf"
    text = (LAB / "nats" / "saas.conf").read_text()
    configuration.write_text(text.replace('subscribe: [ "_INBOX.>", ', "subscribe: [ "))
    async with (
        open_saas(tmp_path / "saas", configuration=configuration) as saas,
        open_session(access(saas)) as session,
    ):
        with trio.fail_after(20), pytest.raises(Misconfigured, match=r"(?i)_INBOX"):
            await session.request("machine_room.events.lifecycle.x", b"{}", patience=60)


@asynccontextmanager
async def open_impostor(*says: bytes) -> AsyncIterator[str]:
    """Something on a port that speaks these words, one after each thing it is told, and keeps the connection."""

    async def serve(stream: trio.SocketStream) -> None:
        try:
            for words in says:
                await stream.send_all(words)
                await stream.receive_some()
            await trio.sleep_forever()
        except trio.BrokenResourceError:
            pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        yield f"nats://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


async def test_a_connection_that_fails_says_why() -> None:
    async with open_impostor(b"HTTP/1.1 400 Bad Request\r\n") as url:
        with trio.fail_after(30), pytest.RaisesGroup(LinkLost, flatten_subgroups=True) as failed:
            async with open_session(Access((url,), "n1", connect_seconds=2)):
                raise AssertionError("not reached")
    (reason,) = failed.value.exceptions
    while isinstance(reason, BaseExceptionGroup):
        (reason,) = reason.exceptions
    assert "no servers available" not in str(reason)


async def test_words_that_nobody_understands_end_the_connection() -> None:
    """nats-py's reader dies of them and says nothing; what is sent afterwards would never be answered."""
    info = b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"headers":true}\r\n'
    async with (
        open_impostor(info, b"PONG\r\n", b"\xff\xfe NONSENSE\r\n" * 100) as url,
        open_session(Access((url,), "n1", connect_seconds=5)) as session,
    ):
        with trio.fail_after(20):
            reason = await session.keep_alive(3600)
    assert isinstance(reason, LinkLost)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Callable[[], str]], None]]:
    """A name server of the test's: names, and what is done, in a thread, to find the address of each."""
    known: dict[str, Callable[[], str]] = {}
    ask = socket.getaddrinfo

    def getaddrinfo(host: str | bytes, *arguments: Any, **options: Any) -> Any:
        flags = options.get("flags", arguments[4] if len(arguments) > 4 else 0)
        name = host.decode() if isinstance(host, bytes) else host
        if name in known and not flags & socket.AI_NUMERICHOST:
            host = known[name]()
        return ask(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known.__setitem__


async def test_a_name_server_that_answers_late_costs_an_attempt_and_no_more(
    names: Callable[[str, Callable[[], str]], None],
) -> None:
    """asyncio loses the cancellation of a look-up, and nats-py's time limit with it: that waited for ever."""
    answers = threading.Event()

    def late() -> str:
        answers.wait(60)
        return "127.0.0.1"

    names("late.example", late)
    try:
        with (
            trio.fail_after(20),
            pytest.RaisesGroup(pytest.RaisesExc(LinkLost, match="name server"), flatten_subgroups=True),
        ):
            async with open_session(Access(("nats://late.example:9",), "n1", connect_seconds=0.5)):
                raise AssertionError("not reached")
    finally:
        answers.set()


async def test_a_server_is_found_by_its_name(saas: Saas, names: Callable[[str, Callable[[], str]], None]) -> None:
    names("saas.example", lambda: "127.0.0.1")
    known = replace(access(saas), urls=(f"nats://saas.example:{saas.port}",))
    async with open_session(known) as session:
        assert b'"seq":1' in (await session.request("machine_room.events.lifecycle.x", b"{}", patience=5)).body


async def test_another_server_is_tried_when_one_has_no_address_or_does_not_answer(
    saas: Saas, names: Callable[[str, Callable[[], str]], None]
) -> None:
    def unknown() -> str:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    names("nowhere.example", unknown)
    urls = ("nats://nowhere.example:4222", "nats://127.0.0.1:9", saas.url)
    async with open_session(replace(access(saas), urls=urls)) as session:
        assert b'"seq":1' in (await session.request("machine_room.events.lifecycle.x", b"{}", patience=5)).body
    with pytest.RaisesGroup(
        pytest.RaisesExc(LinkLost, match=r"nowhere\.example.*127|127.*nowhere\.example"), flatten_subgroups=True
    ):
        async with open_session(replace(access(saas), urls=urls[:2])):
            raise AssertionError("not reached")
