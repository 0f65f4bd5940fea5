"""The leader's relay: it leads to the SaaS and nowhere else, for a while, and leaves nothing behind."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from mra.errors import Unavailable
from mra.site import relay
from mra.site.relay import run_relay

HOST = "127.0.0.1"


async def echo(stream: trio.SocketStream) -> None:
    async for piece in stream:
        await stream.send_all(b"saas " + piece)


@pytest.fixture
async def saas(nursery: trio.Nursery) -> str:
    listeners = await nursery.start(partial(trio.serve_tcp, echo, 0, host=HOST))
    return f"nats://{HOST}:{listeners[0].socket.getsockname()[1]}"


async def is_turned_away(port: int, words: bytes = b"") -> bool:
    """Whether a new connection on which this is said is ended by the other side, in order or not."""
    async with await trio.open_tcp_stream(HOST, port) as stream:
        try:
            await stream.send_all(words)
            return await stream.receive_some() == b""
        except trio.BrokenResourceError:
            return True


async def test_what_a_node_says_reaches_the_saas_and_back(saas: str, nursery: trio.Nursery) -> None:
    port = await nursery.start(partial(run_relay, (HOST, 0), [saas]))
    with trio.fail_after(10):
        async with await trio.open_tcp_stream(HOST, port) as node:
            await node.send_all(b"hello")
            assert await node.receive_some() == b"saas hello"


async def test_a_connection_ends_when_its_time_is_up(saas: str, nursery: trio.Nursery) -> None:
    port = await nursery.start(partial(run_relay, (HOST, 0), [saas], longest=0.2))
    with trio.fail_after(10):
        assert await is_turned_away(port)


async def test_without_a_way_to_the_saas_a_node_is_told_at_once(nursery: trio.Nursery) -> None:
    port = await nursery.start(partial(run_relay, (HOST, 0), [f"nats://{HOST}:1"]))
    with trio.fail_after(10):
        assert await is_turned_away(port)


async def test_who_comes_when_it_is_full_comes_again_later(
    saas: str, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "MOST_CONNECTIONS", 1)
    port = await nursery.start(partial(run_relay, (HOST, 0), [saas]))
    with trio.fail_after(10):
        async with await trio.open_tcp_stream(HOST, port) as node:
            await node.send_all(b"hello")
            assert await node.receive_some() == b"saas hello"
            assert await is_turned_away(port)
        while await is_turned_away(port, b"again"):  # until the first one's end is noticed
            pass


async def test_a_port_that_is_taken_is_said_in_a_sentence(saas: str) -> None:
    port = int(saas.rpartition(":")[2])
    with pytest.raises(Unavailable, match=str(port)):
        await run_relay((HOST, port), [saas])
