"""The daemon's control socket: other commands of the same user ask it things.

A connection carries one request and one answer, each one line of JSON: `{"ask": "status"}`, `{"ask": "tree"}`,
`{"ask": "wake"}`; `with` holds what a request needs, as in `{"ask": "machines.show", "with": {"name": "pump"}}`. An
answer is `{"answer": ...}` or `{"error": "<one sentence>"}`, with `"refused": true` when asking again is useless. The
socket is 0600 in a 0700 directory; nobody else can connect.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from mra.errors import BadInput, MraError, Refused, Unavailable
from mra.log import logger

if TYPE_CHECKING:
    from pathlib import Path

log = logger("control")


class NoDaemon(Unavailable):
    """Nobody answers at the socket: the daemon is down, or too busy to answer in time."""


Answers = Mapping[str, Callable[..., Awaitable[object]]]
_LONGEST = 64 * 1024
_PATIENCE = 10.0


async def run_control(
    path: Path,
    answers: Answers,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the socket at `path` until cancelled; one bad client cannot disturb another.

    Raises BadInput when no socket can be made there.
    """
    listener = trio.socket.from_stdlib_socket(_listen(path))
    try:

        async def serve(stream: trio.SocketStream) -> None:
            await _answer(stream, answers)

        task_status.started()
        await trio.serve_listeners(serve, [trio.SocketListener(listener)])
    finally:
        _remove(path)


def _listen(path: Path) -> socket.socket:
    """A listening socket that only its owner can connect to; the daemon lock says that no other daemon uses it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)  # left by a daemon that was killed
        listener.bind(str(path))
        listener.listen(16)
    except OSError as error:
        listener.close()
        reason = error.strerror or error  # a path that is too long has no number of its own
        raise BadInput(f"Cannot listen at {path} ({reason}): choose another, shorter agent.state.") from error
    finally:
        os.umask(before)
    return listener


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


async def _answer(stream: trio.SocketStream, answers: Answers) -> None:
    with trio.move_on_after(_PATIENCE):
        try:
            line = b""
            while b"\n" not in line and len(line) < _LONGEST:
                piece = await stream.receive_some(4096)
                if not piece:
                    return
                line += piece
            await stream.send_all(await _reply(line, answers) + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("a client went away")
        finally:
            await trio.aclose_forcefully(stream)


async def _reply(line: bytes, answers: Answers) -> bytes:
    try:
        request = json.loads(line)
        answer, given = answers[request["ask"]], request.get("with", {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return json.dumps({"error": f"Unknown request: ask one of {', '.join(sorted(answers))}."}).encode()
    try:
        return json.dumps({"answer": await answer(**given)}).encode()
    except Refused as error:
        return json.dumps({"error": error.sentence, "refused": True}).encode()
    except Exception as error:
        return json.dumps({"error": str(error) or type(error).__name__}).encode()


def ask_daemon(path: Path, what: str, given: Mapping[str, str] | None = None, *, patience: float = 5.0) -> Any:
    """The daemon's answer. Blocking.

    Raises NoDaemon when nobody answers, Unavailable when the daemon cannot say now, BadInput when it refuses.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(patience)
        try:
            client.connect(str(path))
            client.sendall(json.dumps({"ask": what, "with": dict(given or {})}).encode() + b"\n")
            with client.makefile("rb") as lines:
                reply = json.loads(lines.readline())
        except (OSError, ValueError) as error:
            raise NoDaemon(f"No daemon answers at {path}: start it with `mra run`.") from error
    if reply.get("refused"):
        raise BadInput(reply["error"])
    if "error" in reply:
        raise Unavailable(f"The daemon answered: {reply['error']}")
    return reply["answer"]


def poke_daemon(path: Path, what: str = "wake") -> bool:
    """Tell a running daemon that there are new rows ("wake"), or that its file is damaged ("examine").

    Return whether there is one. Never raises.
    """
    try:
        ask_daemon(path, what, patience=1.0)
    except MraError:
        return False
    return True
