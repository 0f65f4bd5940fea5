"""The tasks of the service: it listens on one connection, decides in several workers, and reconnects for ever."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import trio

from mra.aio.session import Access, Message, Session, frame, open_session
from mra.backoff import full_jitter
from mra.enrol import messages
from mra.enrol.messages import REQUEST_SUBJECT
from mra.enrol.shapes import Challenge
from mra.errors import Busy, LinkLost, MraError, Refused, StoreBroken
from mra.groups import first
from mra.log import logger
from mra.provisioner import admission, ledger
from mra.provisioner.authority import active
from mra.provisioner.decision import Judge
from mra.tokens import callout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mra.enrol.shapes import Request
    from mra.provisioner.authority import Authority, Customers
    from mra.provisioner.helper import Helper
    from mra.provisioner.ledger import Ledger

T = TypeVar("T")

log = logger("provision")
QUEUE: Final = "provisioner"  # several services share the work
_WAITING = 2000  # messages that may wait for a worker; a node whose message is dropped asks again
_DOORKEEPERS = 2
_PING_SECONDS = 15.0


@dataclass(frozen=True)
class Service:
    """What the service needs; see `run_provisioner`."""

    authority: Authority
    customers: Customers
    ledger: Ledger
    helper: Helper
    workers: int = 4
    least: float = 1.0  # seconds between two questions to the helper about one node


async def run_provisioner(
    service: Service, access: Access, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve nodes until cancelled; `started` is called once it listens. Raises StoreBroken when it has no ledger.

    It does not end when the SaaS's server does: it connects again, for ever, with full jitter.
    """
    secret = await service.ledger.run(ledger.secret, "nonce")
    judge = Judge(service.authority, service.customers, service.ledger, service.helper, secret, least=service.least)
    delays = full_jitter(0.2, 10.0)
    told = False
    while True:
        try:
            async with open_session(access) as session, trio.open_nursery() as nursery:
                await _listen(nursery, session, service, judge, secret)
                delays = full_jitter(0.2, 10.0)
                log.info("listening for nodes", server=session.server)
                if not told:
                    task_status.started()
                    told = True
                await session.keep_alive(_PING_SECONDS)
                nursery.cancel_scope.cancel()
        except* MraError as group:
            log.once_per(60, "the SaaS's server is not reachable; it is tried again", reason=str(first(group)))
        await trio.sleep(next(delays))


async def _listen(nursery: trio.Nursery, session: Session, service: Service, judge: Judge, secret: bytes) -> None:
    """Start all workers of one session; the server sends them what it has when this returns."""
    door = _Door(session, service)
    desk = _Desk(session, judge, secret)
    for number in range(service.workers):
        nursery.start_soon(_work, desk.waiting, desk.decide, name=f"decide {number}")
    for subject, handle in ((callout.SUBJECT, door.handle), (f"{REQUEST_SUBJECT}.*", desk.handle)):
        sender, receiver = trio.open_memory_channel[Message](_WAITING)
        for number in range(_DOORKEEPERS):
            nursery.start_soon(_work, receiver, handle, name=f"{subject} {number}")
        await session.subscribe(subject, partial(_queue, sender), queue=QUEUE)
    await session.round_trip(_PING_SECONDS)


def _queue(sender: trio.MemorySendChannel[T], item: T) -> bool:
    """Whether there was room for it."""
    try:
        sender.send_nowait(item)
    except trio.WouldBlock:
        log.once_per(10, "too many nodes ask at once; some are left to ask again")
        return False
    return True


async def _work(receiver: trio.MemoryReceiveChannel[T], handle: Callable[[T], Awaitable[None]]) -> None:
    """Handle messages one by one; none of them can end the worker but by ending the link."""
    async for item in receiver:
        try:
            await handle(item)
        except LinkLost:
            raise
        except MraError as error:
            log.once_per(1, "a message is refused", reason=error.sentence)
        except Exception as error:
            log.failure("a message could not be handled", error)


class _Door:
    """Answers the server's question who connects."""

    def __init__(self, session: Session, service: Service) -> None:
        self._session = session
        self._service = service

    async def handle(self, message: Message) -> None:
        now, authority = time.time(), self._service.authority
        request = callout.read_request(message.body, now)
        try:
            connection = admission.proven_connection(request)
            entitlement = authority.entitlement(request.auth_token, now)
            wanted = entitlement.customer, entitlement.account
            await trio.to_thread.run_sync(active, self._service.customers, *wanted)
            await self._service.ledger.run(ledger.check_token, entitlement.token_id)
        except (Refused, StoreBroken, Busy) as error:
            log.once_per(1, "turned away", host=request.host, reason=error.sentence)
            answer = admission.turn_away(request, error.sentence, authority, now)
        else:
            answer = admission.admit(request, connection, authority, now)
        await self._session.send(frame(message.reply, "", b"", answer.encode()))


class _Asked(NamedTuple):
    """A request that waits for its decision."""

    connection: str
    reply: str
    request: Request


class _Desk:
    """Answers nodes that were let in. The subject tells which connection asks; the server vouches for it.

    Challenges are answered at once; requests, which may take a slow helper's time, wait for `decide`. A connection has
    one request under way: nodes repeat theirs while they wait.
    """

    def __init__(self, session: Session, judge: Judge, secret: bytes) -> None:
        self._session = session
        self._judge = judge
        self._secret = secret
        self._under_way: set[str] = set()
        self._sender, self.waiting = trio.open_memory_channel[_Asked](_WAITING)

    async def handle(self, message: Message) -> None:
        connection = message.subject.removeprefix(f"{REQUEST_SUBJECT}.")
        reply = admission.reply_subject(connection, message.reply)
        try:
            asked = messages.read_ask(message.body)
        except Refused as error:
            await self._answer(reply, _told(error))
            return
        if isinstance(asked, Challenge):
            await self._answer(reply, messages.tell_nonce(admission.make_nonce(self._secret, connection, time.time())))
        elif connection not in self._under_way and _queue(self._sender, _Asked(connection, reply, asked)):
            self._under_way.add(connection)

    async def decide(self, asked: _Asked) -> None:
        try:
            body = await self._judge.answer(asked.connection, asked.request)
        except Refused as error:
            body = _told(error)
        finally:
            self._under_way.discard(asked.connection)
        await self._answer(asked.reply, body)

    async def _answer(self, reply: str, body: bytes) -> None:
        await self._session.send(frame(reply, "", b"", body))


def _told(error: Refused) -> bytes:
    log.once_per(1, "a request proves nothing", reason=error.sentence)
    return messages.tell_error(error.sentence)
