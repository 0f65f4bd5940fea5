"""Each control of the proxy, seen from a client and a server that only know sockets."""

from __future__ import annotations

import errno
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.harness.proxy import Proxy, open_proxy
from tests.harness.saas import EVENTS, Saas
from tests.harness.ways import Flow
from tests.harness.wire import Part, WireError, open_wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SUBJECT = "machine_room.events.acme.metric.cpu"
LONG_ENOUGH_SECONDS = 0.05  # loopback delivers in microseconds: what is not there by then is not coming


@asynccontextmanager
async def echo_through_proxy() -> AsyncIterator[Proxy]:
    async def echo(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            async for data in stream:
                await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, echo, 0)
        async with open_proxy(listeners[0].socket.getsockname()[1]) as proxy:
            yield proxy
        nursery.cancel_scope.cancel()


async def connect(proxy: Proxy) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", proxy.port)


async def expect_silence(stream: trio.SocketStream) -> None:
    with trio.move_on_after(LONG_ENOUGH_SECONDS):
        pytest.fail(f"heard {await stream.receive_some()!r}")


async def read_to_end(stream: trio.SocketStream) -> None:
    while await stream.receive_some():
        pass


async def expect_reset(stream: trio.SocketStream) -> None:
    with pytest.raises(trio.BrokenResourceError) as broken:
        await read_to_end(stream)
    assert isinstance(broken.value.__cause__, OSError)
    assert broken.value.__cause__.errno == errno.ECONNRESET


async def test_bytes_pass_and_are_counted() -> None:
    async with echo_through_proxy() as proxy, await connect(proxy) as client:
        await client.send_all(b"hello")
        assert await client.receive_some() == b"hello"
        await client.send_eof()
        assert await client.receive_some() == b""
        assert proxy.upstream.forwarded == proxy.downstream.forwarded == 5
        assert proxy.accepted == 1


async def test_cut_resets_what_is_connected_and_lets_new_ones_in() -> None:
    async with echo_through_proxy() as proxy, await connect(proxy) as client:
        await proxy.wait_accepted(1)
        await client.send_all(b"hello")
        assert await client.receive_some() == b"hello"
        proxy.cut()
        await expect_reset(client)
        async with await connect(proxy) as again:
            await again.send_all(b"again")
            assert await again.receive_some() == b"again"


async def test_refused_until_accepting_again() -> None:
    async with echo_through_proxy() as proxy, await connect(proxy) as client:
        await client.send_all(b"one")
        assert await client.receive_some() == b"one"
        proxy.refuse()
        with pytest.raises(OSError, match="failed"):
            await connect(proxy)
        await client.send_all(b"two")
        assert await client.receive_some() == b"two"
        proxy.accept()
        await (await connect(proxy)).aclose()


async def test_client_is_reset_when_the_server_is_away() -> None:
    async with echo_through_proxy() as proxy:
        proxy.target_port = 1
        async with await connect(proxy) as client:
            await expect_reset(client)


async def test_stalled_bytes_arrive_after_healing() -> None:
    async with echo_through_proxy() as proxy, await connect(proxy) as client:
        proxy.stall()
        await client.send_all(b"hello")
        await expect_silence(client)
        proxy.heal()
        assert await client.receive_some() == b"hello"


async def test_stall_fills_the_senders_buffers() -> None:
    async with echo_through_proxy() as proxy, await connect(proxy) as client:
        proxy.stall()
        with trio.move_on_after(0.2) as patience:
            while True:
                await client.send_all(bytes(1 << 20))
        assert patience.cancelled_caught


@pytest.mark.parametrize("direction", ["upstream", "downstream"])
async def test_one_dropped_direction_loses_bytes_for_good(direction: str) -> None:
    async with echo_through_proxy() as proxy, await connect(proxy) as client:
        way, other = proxy.upstream, proxy.downstream
        if direction == "upstream":
            proxy.drop_upstream()
        else:
            proxy.drop_downstream()
            way, other = other, way
        assert (way.flow, other.flow) == (Flow.SWALLOW, Flow.FORWARD)
        await client.send_all(b"lost")
        await expect_silence(client)
        assert way.swallowed == 4
        proxy.heal()
        await client.send_all(b"kept")
        assert await client.receive_some() == b"kept"


async def test_half_open_peer_does_not_even_acknowledge() -> None:
    async with echo_through_proxy() as proxy, await connect(proxy) as client:
        await client.send_all(b"hello")
        assert await client.receive_some() == b"hello"
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
        proxy.half_open()
        await client.send_all(b"into the dark")
        with pytest.raises(trio.BrokenResourceError) as broken:
            await client.receive_some()
        assert isinstance(broken.value.__cause__, OSError)
        assert broken.value.__cause__.errno == errno.ETIMEDOUT
        async with await connect(proxy) as again:
            await again.send_all(b"again")
            assert await again.receive_some() == b"again"


async def test_swallowing_peer_acknowledges_so_that_no_timeout_helps() -> None:
    async with echo_through_proxy() as proxy, await connect(proxy) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 100)
        proxy.drop_upstream()
        await client.send_all(b"swallowed")
        with trio.move_on_after(0.5) as patience:
            await client.receive_some()
        assert patience.cancelled_caught


async def test_half_open_connection_goes_on_after_healing() -> None:
    async with echo_through_proxy() as proxy, await connect(proxy) as client:
        await client.send_all(b"hello")
        assert await client.receive_some() == b"hello"
        proxy.half_open()
        await client.send_all(b"late")
        await expect_silence(client)
        proxy.heal()
        assert await client.receive_some() == b"late"


async def test_black_hole_lets_connecting_hang() -> None:
    async with echo_through_proxy() as proxy:
        proxy.blackhole()
        with trio.move_on_after(LONG_ENOUGH_SECONDS) as patience:
            await connect(proxy)
        assert patience.cancelled_caught
        assert proxy.accepted == 0
        proxy.heal()
        await (await connect(proxy)).aclose()


async def test_delay_holds_for_every_byte(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = LONG_ENOUGH_SECONDS
    async with echo_through_proxy() as proxy, await connect(proxy) as client:
        proxy.upstream.delay, proxy.downstream.delay = 60, 5
        started = trio.current_time()
        await client.send_all(b"hello")
        assert await client.receive_some() == b"hello"
        assert trio.current_time() - started == pytest.approx(65)


async def test_bandwidth_is_limited(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = LONG_ENOUGH_SECONDS
    async with echo_through_proxy() as proxy, await connect(proxy) as client:
        proxy.upstream.bytes_per_second = 10
        started = trio.current_time()
        await client.send_all(bytes(2))
        assert len(await client.receive_some()) == 1
        assert len(await client.receive_some()) == 1
        assert trio.current_time() - started == pytest.approx(0.2)


async def test_trigger_looks_only_at_what_comes_after_it_was_set() -> None:
    async with echo_through_proxy() as proxy, await connect(proxy) as client:
        await client.send_all(b"password")
        assert await client.receive_some() == b"password"
        fired = proxy.lose_answer(b"password")
        await client.send_all(b"harmless")
        assert await client.receive_some() == b"harmless"
        assert not fired.is_set()
        for piece in (b"pass", b"word"):
            await client.send_all(piece)
        await expect_reset(client)
        assert fired.is_set()


async def test_trigger_fires_once() -> None:
    async with echo_through_proxy() as proxy:
        proxy.lose_answer(b"x")
        async with await connect(proxy) as client:
            await client.send_all(b"x")
            await expect_reset(client)
        async with await connect(proxy) as client:
            await client.send_all(b"x")
            assert await client.receive_some() == b"x"


def batch() -> list[Part]:
    return [Part(SUBJECT, b"%d" % number, {}) for number in range(1_000)]


async def stored(saas: Saas) -> int:
    async with saas.connect() as wire:
        return len(await wire.read_stream(EVENTS))


async def test_batch_is_stored_though_its_answer_is_lost(saas: Saas) -> None:
    async with open_proxy(saas.port) as proxy:
        lost = proxy.lose_answer(b'"batch":', refuse=True)
        async with open_wire(proxy.port, saas.backend.user, saas.backend.password) as wire:
            with pytest.raises((WireError, trio.BrokenResourceError)):
                await wire.store_batch(batch())
        assert lost.is_set()
        with pytest.raises(OSError, match="failed"):
            await connect(proxy)
        assert await stored(saas) == 1_000


async def test_batch_is_not_stored_when_cut_before_its_commit(saas: Saas) -> None:
    async with open_proxy(saas.port) as proxy:
        cut = proxy.cut_when(proxy.upstream, lambda recent: b"Nats-Batch-Commit" in recent, deliver=False)
        async with open_wire(proxy.port, saas.backend.user, saas.backend.password) as wire:
            with pytest.raises((WireError, trio.BrokenResourceError)):
                await wire.store_batch(batch())
        assert cut.is_set()
        assert await stored(saas) == 0


async def test_what_was_delivered_before_a_cut_is_read_by_the_server(saas: Saas) -> None:
    async with open_proxy(saas.port) as proxy:
        cut = proxy.cut_when(proxy.upstream, lambda recent: b"the last one\r\n" in recent, deliver=True)
        async with open_wire(proxy.port, saas.backend.user, saas.backend.password) as wire:
            with pytest.raises((WireError, trio.BrokenResourceError)):
                await wire.store(SUBJECT, b"the last one")
        assert cut.is_set()
        async with saas.connect() as wire:
            while (await wire.stream_info(EVENTS))["state"]["messages"] == 0:
                pass  # the test's deadline ends this when the message never comes
