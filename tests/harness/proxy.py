"""A TCP proxy between a site and its SaaS that misbehaves on command.

The controls are plain functions that take effect at once on what is connected, and stay until `heal`:

    cut                     reset every connection
    refuse / accept         stop and start listening; connecting fails meanwhile
    stall                   hold bytes back both ways, connections stay open
    drop_upstream           bytes to the server vanish; those from it arrive
    drop_downstream         bytes from the server vanish; those to it arrive
    half_open               the peers of what is connected vanish, not even acknowledging bytes (`darkness`)
    blackhole               the same, and connecting hangs
    cut_when                cut the connection whose bytes satisfy a condition, those bytes delivered or not
    upstream, downstream    each way's delay, bandwidth and byte counts

`lose_answer` is the fault that makes exactly-once hard: the request reached the server, its answer never returns.
"""

from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from tests.harness.darkness import darken, lighten
from tests.harness.ports import free_port
from tests.harness.ways import Flow, Predicate, Trigger, Way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHUNK_BYTES = 64 << 10
CHUNKS_ON_THE_WAY = 1_000
STEP_SECONDS = 0.05
Travelling = tuple[float, bytes]  # when it is due, and what
RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time to linger: close sends RST


class _Connection:
    """A client and the server's end, each with the pump that reads from it."""

    def __init__(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        self.client, self.server = client, server
        self.scope = trio.CancelScope()
        self.lit = trio.Event()
        self.lit.set()

    def cut(self, *, keep: trio.SocketStream | None = None) -> None:
        """Reset both ends, once; one to `keep` is closed in order, so that what was sent there is read first."""
        if self.scope.cancel_called:
            return
        for end in (self.client, self.server):
            if end is not keep:
                end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.socket.close()
        self.scope.cancel()

    def darken(self) -> None:
        self.lit = trio.Event()
        for end in (self.client, self.server):
            darken(end.socket)

    def lighten(self) -> None:
        if not self.lit.is_set():
            for end in (self.client, self.server):
                lighten(end.socket)
            self.lit.set()


class Proxy:
    """Listens on a loopback `port` and connects to `target_port`. Made by `open_proxy`."""

    def __init__(self, nursery: trio.Nursery, target_port: int) -> None:
        self.port, self.target_port = free_port(), target_port
        self.upstream, self.downstream = Way(), Way()
        self.accepted = 0
        """Connections so far."""
        self._nursery = nursery
        self._connections: set[_Connection] = set()
        self._listener: trio.SocketListener | None = None
        self._arrival = trio.Event()

    # What a test breaks.

    def accept(self) -> None:
        """Listen. Nothing changes when it does already."""
        if self._listener is None:
            listening = trio.socket.from_stdlib_socket(socket.create_server(("127.0.0.1", self.port), backlog=100))
            self._listener = trio.SocketListener(listening)
            self._nursery.start_soon(self._accept, self._listener)

    def refuse(self) -> None:
        """Stop listening; what is connected stays."""
        if self._listener is not None:
            self._listener.socket.close()
            self._listener = None

    def cut(self) -> None:
        """Reset every connection on both sides."""
        for connection in self._connections:
            connection.cut()

    def stall(self) -> None:
        """Hold back what is sent either way."""
        self.upstream.flow = self.downstream.flow = Flow.HOLD

    def drop_upstream(self) -> None:
        """Let what the client sends vanish."""
        self.upstream.flow = Flow.SWALLOW

    def drop_downstream(self) -> None:
        """Let what the server sends vanish."""
        self.downstream.flow = Flow.SWALLOW

    def half_open(self) -> None:
        """Make the peers of the present connections vanish; new connections work."""
        for connection in self._connections:
            connection.darken()

    def blackhole(self) -> None:
        """Make everything behind this port vanish: connections stand dead, connecting hangs."""
        self.half_open()
        if self._listener is not None:
            darken(self._listener.socket)

    def cut_when(self, way: Way, matches: Predicate, *, deliver: bool, refuse: bool = False) -> trio.Event:
        """Cut the connection on whose `way` the latest bytes match, once; the event is set when that happened.

        With `deliver` the matching bytes reach their receiver before it sees the end, without it they never do. With
        `refuse` no new connection is taken from that moment on.
        """
        trigger = Trigger(matches, deliver, refuse)
        way.triggers.append(trigger)
        return trigger.fired

    def lose_answer(self, answer: bytes, *, refuse: bool = False) -> trio.Event:
        """Cut in place of the next answer that contains these bytes: what it acknowledges is done, nobody hears it."""
        return self.cut_when(self.downstream, lambda recent: answer in recent, deliver=False, refuse=refuse)

    def heal(self) -> None:
        """Forward everything again, held bytes first, undelayed; disarm triggers; listen."""
        for way in (self.upstream, self.downstream):
            way.triggers.clear()
            way.delay, way.bytes_per_second = 0.0, float("inf")
            way.flow = Flow.FORWARD
        for connection in self._connections:
            connection.lighten()
        if self._listener is not None:
            lighten(self._listener.socket)
        self.accept()

    async def wait_accepted(self, total: int) -> None:
        """Wait until that many connections were accepted since the start."""
        while self.accepted < total:
            await self._arrival.wait()

    # How bytes travel.

    async def _accept(self, listener: trio.SocketListener) -> None:
        while True:
            try:
                client = await listener.accept()
            except trio.ClosedResourceError:
                return
            self._nursery.start_soon(self._connect, client)

    async def _connect(self, client: trio.SocketStream) -> None:
        self.accepted += 1
        self._arrival.set()
        self._arrival = trio.Event()
        async with client:
            try:
                server = await trio.open_tcp_stream("127.0.0.1", self.target_port)
            except OSError:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return
            async with server:
                await self._join(_Connection(client, server))

    async def _join(self, connection: _Connection) -> None:
        self._connections.add(connection)
        try:
            with connection.scope:
                async with trio.open_nursery() as pumps:
                    client, server = connection.client, connection.server
                    pumps.start_soon(self._pump, connection, self.upstream, client, server)
                    pumps.start_soon(self._pump, connection, self.downstream, server, client)
        finally:
            self._connections.remove(connection)

    async def _pump(
        self, connection: _Connection, way: Way, source: trio.SocketStream, sink: trio.SocketStream
    ) -> None:
        departures, arrivals = trio.open_memory_channel[Travelling](CHUNKS_ON_THE_WAY)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, connection, way, source, departures)
                nursery.start_soon(self._write, connection, way, sink, arrivals)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            connection.cut()

    async def _read(
        self,
        connection: _Connection,
        way: Way,
        source: trio.SocketStream,
        departures: trio.MemorySendChannel[Travelling],
    ) -> None:
        async with departures:
            while True:
                await way.wait_flow(Flow.FORWARD, Flow.SWALLOW)
                await connection.lit.wait()
                data = await source.receive_some(CHUNK_BYTES)
                if not data:
                    return
                await departures.send((trio.current_time() + way.delay, data))

    async def _write(
        self,
        connection: _Connection,
        way: Way,
        sink: trio.SocketStream,
        arrivals: trio.MemoryReceiveChannel[Travelling],
    ) -> None:
        async for due, data in arrivals:
            await trio.sleep_until(due)
            trigger = way.triggered(connection, data)
            if trigger is None or trigger.deliver:
                await self._deliver(connection, way, sink, data)
            if trigger is not None:
                self._fire(trigger, connection, sink)
        await way.wait_flow(Flow.FORWARD)
        await connection.lit.wait()
        await sink.send_eof()

    async def _deliver(self, connection: _Connection, way: Way, sink: trio.SocketStream, data: bytes) -> None:
        step = max(1, int(min(len(data), way.bytes_per_second * STEP_SECONDS)))
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            flow = await way.wait_flow(Flow.FORWARD, Flow.SWALLOW)
            await connection.lit.wait()
            if flow is Flow.SWALLOW:
                way.swallowed += len(piece)
                continue
            await trio.sleep(len(piece) / way.bytes_per_second)
            await sink.send_all(piece)
            way.forwarded += len(piece)

    def _fire(self, trigger: Trigger, connection: _Connection, sink: trio.SocketStream) -> None:
        if trigger.refuse:
            self.refuse()
        connection.cut(keep=sink if trigger.deliver else None)
        trigger.fired.set()


@asynccontextmanager
async def open_proxy(target_port: int) -> AsyncIterator[Proxy]:
    """A listening proxy for the length of the block; leaving it resets every connection."""
    async with trio.open_nursery() as nursery:
        proxy = Proxy(nursery, target_port)
        proxy.accept()
        try:
            yield proxy
        finally:
            proxy.refuse()
            proxy.cut()
            nursery.cancel_scope.cancel()
