"""Desired state in a site: followers read the leader's copy, so the orders reach them while the SaaS is away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mra.aio.session import frame
from mra.config import store
from mra.config.bucket import Entry
from mra.config.index import INDEX_KEY
from mra.config.index import encode as encode_index
from mra.errors import LinkLost, MraError, Unavailable
from mra.log import logger
from mra.site.words import FEED, PREFIX, answer, decode, encode
from mra.uplink.checkpoint import Mark  # noqa: TC001 - msgspec reads it

if TYPE_CHECKING:
    from collections.abc import Callable

    from mra.aio.session import Message, Session
    from mra.config.mirror import Mirror
    from mra.outbox.outbox import Outbox
    from mra.outbox.sqlite import Connection

log = logger("site")
VERB = "desired"
_FEED_SUBJECT = f"{FEED}.{VERB}"
_PATIENCE = 5.0


class Wanted(msgspec.Struct, frozen=True):
    """Asks for a key, or for the index."""

    key: str


class Written(msgspec.Struct, frozen=True):
    """The newest write to it as the leader knows it; revision 0 when there is none."""

    key: str
    revision: Mark = 0
    value: bytes | None = None
    written: Mark = 0
    bucket: str = ""

    def entry(self) -> Entry | None:
        """As the mirror takes it."""
        return Entry(self.key, self.revision, self.value, self.written, self.bucket) if self.revision else None


class DesiredDesk:
    """The leader's side."""

    def __init__(self, outbox: Outbox, mirror: Mirror) -> None:
        self._outbox = outbox
        self._mirror = mirror

    async def answer(self, _: str, body: bytes) -> Written:
        """Answer a follower. Raises BadInput, Unavailable while the leader has no desired state itself."""
        return await self._find(decode(body, Wanted).key)

    async def feed(self, session: Session) -> None:
        """Tell all followers of every change, until cancelled."""
        while True:
            changed = self._mirror.changed()
            try:
                word = await self._find(INDEX_KEY)
            except Unavailable:
                pass  # nothing is known yet
            else:
                await session.send(frame(_FEED_SUBJECT, "", b"", encode(word)))
            await changed.wait()

    async def _find(self, key: str) -> Written:
        found = await self._outbox.read(_find, self._mirror.customer, key)
        if found is None:
            raise Unavailable("The leader has received no desired state yet: it is asked again.")
        return found


def _find(connection: Connection, customer: str, key: str) -> Written | None:
    if key == INDEX_KEY:
        mark, revisions = store.load(connection, customer)
        if mark is None:
            return None
        return Written(key, mark.revision, encode_index(revisions), mark.written, mark.bucket)
    known, row = store.find(connection, customer, key)
    if not known:
        return None
    return Written(key, row.stored.revision, row.stored.value) if row else Written(key)


class BusBucket:
    """The follower's side: implements `mra.config.bucket.Bucket`."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._subject = f"{PREFIX}.{name}.{VERB}"

    async def follow(self, receive: Callable[[Entry], None]) -> None:
        """See `Bucket.follow`; what is no word of the leader's is dropped."""

        def take(message: Message) -> None:
            try:
                entry = answer(message.body, Written).entry()
            except MraError as error:
                log.once_per(60, "the feed of desired state is garbled", reason=error.sentence)
                return
            if entry is not None:
                receive(entry)

        await self._session.subscribe(_FEED_SUBJECT, take)

    async def read(self, key: str) -> Entry | None:
        """See `Bucket.read`."""
        message = await self._session.request(self._subject, encode(Wanted(key)), patience=_PATIENCE)
        if message.status:
            raise LinkLost("The bus of the site stands, and its leader is not there.")
        return answer(message.body, Written).entry()
