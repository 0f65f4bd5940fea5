"""Task: takes submissions of other users and programs of this host through a Unix socket.

Everyone may connect (mode 0666 by default; the directory may be closer), so everything is bounded: connections of a
user and of all together, bytes of a request, and seconds that a request may take to arrive. Who submits is what the
kernel says of the other end (SO_PEERCRED).
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from mra import clock
from mra.errors import BadInput, MraError, Unavailable
from mra.log import logger
from mra.outbox.record import Draft, Receipt
from mra.submit import protocol
from mra.submit.connection import Connection, User
from mra.submit.message import MAX_PAYLOAD, draft_of
from mra.submit.peer import sender_of, uid_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logger("submit")

Append = Callable[[Draft], Awaitable[Receipt]]
"""Returns once the draft is on disk. For an id that was accepted before, returns the earlier receipt, `repeated`."""


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """Bounds of the intake; times are seconds.

    Attributes:
        path: of the socket.
        identity: name of this node, written into every record.
        mode: of the socket; 0o666 lets every local user submit, 0o660 the group.
        max_payload: bytes of a submission.
        per_user: connections of one user.
        connections: of all users together.
        request_seconds: for a request's length to arrive, for the rest of it, and for its answer to be taken.
        idle_seconds: until a connection without a request is closed.
    """

    path: Path
    identity: str
    mode: int = 0o666
    max_payload: int = MAX_PAYLOAD
    per_user: int = 8
    connections: int = 64
    request_seconds: float = 10.0
    idle_seconds: float = 60.0


async def run_intake(
    settings: IntakeSettings, append: Append, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve the socket until cancelled; nothing that a client sends or omits disturbs another client.

    Raises BadInput when the socket cannot be made. Cancelling removes it; a submission whose commit is under way then
    stays unanswered, and its sender may submit it again.
    """
    listener = trio.socket.from_stdlib_socket(_listen(settings))
    try:
        task_status.started()
        await trio.serve_listeners(_Intake(settings, append).serve, [trio.SocketListener(listener)])
    finally:
        settings.path.unlink(missing_ok=True)


def _listen(settings: IntakeSettings) -> socket.socket:
    """A listening socket. The daemon's lock says that no other daemon uses the path."""
    path = settings.path
    if not hasattr(socket, "SO_PEERCRED"):
        raise BadInput("This system does not tell who connects to a Unix socket: switch the submission socket off.")
    if path.exists() and not path.is_socket():
        raise BadInput(f"{path} is in the way of the submission socket: move it elsewhere.")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(settings.mode)  # before listening, so nobody connects under another mode
        listener.listen(32)
    except OSError as error:
        listener.close()
        raise BadInput(f"Cannot listen at {path} ({error}): choose a state directory with a shorter path.") from error
    return listener


class _Intake:
    """Everything that the connections share."""

    def __init__(self, settings: IntakeSettings, append: Append) -> None:
        self._settings = settings
        self._append = append
        self._users: dict[int, User] = {}
        self._connections = 0
        self._lookups = trio.CapacityLimiter(4)  # a directory service that hangs keeps these threads and no others

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection, from its first byte to its close. Raises nothing but cancellation."""
        connection = Connection(self._settings, stream)
        try:
            uid = uid_of(stream)
            with self._admitted(uid) as user:
                sender = await sender_of(uid, self._lookups)
                await connection.serve(user, partial(self._accept, uid, sender))
        except MraError as error:
            log.once_per(60, "a submission connection was closed", reason=error.sentence)
            await connection.refuse(error)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("a submitter went away")
        except Exception as error:
            log.failure("a submission connection failed", error)
        finally:
            await trio.aclose_forcefully(stream)

    @contextmanager
    def _admitted(self, uid: int) -> Iterator[User]:
        user = self._users.get(uid) or User()
        if user.connections >= self._settings.per_user:
            raise Unavailable(f"User {uid} has {user.connections} connections open: close one and try again.")
        if self._connections >= self._settings.connections:
            raise Unavailable("Too many programs submit at this moment: try again.")
        self._users[uid] = user
        user.connections += 1
        self._connections += 1
        try:
            yield user
        finally:
            user.connections -= 1
            self._connections -= 1
            if not user.connections:
                self._users.pop(uid, None)

    async def _accept(self, uid: int, sender: str, document: bytes) -> Receipt:
        """The receipt for one request. Raises MraError."""
        draft = draft_of(
            protocol.decode_request(document),
            identity=self._settings.identity,
            sender=sender,
            scope=str(uid),
            wall_ns=clock.now().wall,
            max_payload=self._settings.max_payload,
        )
        try:
            return await self._append(draft)
        except MraError:
            raise
        except Exception as error:
            log.failure("a submission could not be stored", error)
            raise Unavailable("The agent failed to store the submission: submit it again.") from error
