"""An asyncio loop that lives as long as a Trio block."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import trio
import trio_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

T = TypeVar("T")


def _matters(record: logging.LogRecord) -> bool:
    # Said whenever an encrypted connection ends, because nats-py starts in the clear and upgrades; nothing follows.
    return not str(record.msg).startswith("returning true from eof_received()")


logging.getLogger("asyncio").addFilter(_matters)


class Loop:
    """Runs asyncio coroutines for Trio tasks."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    async def call(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        """Await `function(*args, **kwargs)` on the loop; cancelling the caller cancels the coroutine.

        A cancellation that comes from asyncio's side (the loop is going away) is raised as trio.BrokenResourceError:
        `asyncio.CancelledError` must not reach Trio code, which could neither catch it as an Exception nor tell it
        from its own.
        """
        try:
            result: T = await self._loop.run_aio_coroutine(function(*args, **kwargs))
        except asyncio.CancelledError as error:
            raise trio.BrokenResourceError("the asyncio side was cancelled") from error
        return result


@asynccontextmanager
async def open_loop() -> AsyncIterator[Loop]:
    """Open a loop; leaving the block cancels what still runs on it."""
    async with trio_asyncio.open_loop() as loop:
        yield Loop(loop)
