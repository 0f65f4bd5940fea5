"""The mirror: follows the bucket while there is a link, and answers from the copy whether or not there is one."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from mra import clock
from mra.backoff import full_jitter
from mra.config import store
from mra.config.bucket import Bucket, Entry, SessionBucket, index_of
from mra.config.index import INDEX_KEY, Index, Mark, Relation, check_customer, plan, relate
from mra.config.store import Stored
from mra.errors import MraError, Unavailable
from mra.log import logger

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mra.aio.session import Session
    from mra.outbox.outbox import Outbox

log = logger("config")
POLL_SECONDS = 180.0
RETRY_FIRST, RETRY_CAP = 1.0, 60.0
MOST_PENDING = 1024  # keys with unread news; beyond this the index is read instead


@dataclass
class MirrorStatus:
    """What `mra status` shows of desired state."""

    state: str = "waiting"  # waiting, following, stale
    keys: int = 0
    revision: int = 0  # of the index followed; 0 before the first
    checked_at: float | None = None  # Trio time when the copy was last found to be the newest
    last_error: str | None = None


class News:
    """Live writes that nobody has looked at yet: the newest of each key, in bounded memory."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._arrived = trio.Event()
        self._lost = False

    def put(self, entry: Entry) -> None:
        """Note a write; never blocks."""
        known = self._entries.get(entry.key)
        if known is None and len(self._entries) >= MOST_PENDING:
            self._lost = True
        else:
            # The last to arrive stands, whatever its number: a new bucket counts from one again.
            self._entries[entry.key] = entry
        self._arrived.set()

    def take(self) -> tuple[list[Entry], bool]:
        """(what has come since the last call, whether more came than was kept)."""
        entries, lost = sorted(self._entries.values(), key=lambda entry: entry.revision), self._lost
        self._entries, self._lost, self._arrived = {}, False, trio.Event()
        return entries, lost

    async def wait(self, seconds: float) -> None:
        """Return when there is news, or after `seconds`."""
        with trio.move_on_after(seconds):
            await self._arrived.wait()


class Mirror:
    """The copy of one customer's keys. Reading needs no network; `follow` is one task, run while there is a link."""

    def __init__(self, outbox: Outbox, customer: str) -> None:
        """Raises BadInput when `customer` cannot be a customer's id."""
        self.customer = check_customer(customer)
        self.status = MirrorStatus()
        self._outbox = outbox
        self._changed = trio.Event()
        self._went_back: Mark | None = None  # an older index that one reading showed

    async def get(self, key: str) -> Stored | None:
        """The newest value known; None when the key is absent or removed.

        Raises Unavailable while no index was ever seen (whether the key exists is then unknown), StoreBroken.
        """
        row = await self._find(key)
        return row.stored if row else None

    async def wait_changed(self, key: str, revision: int | None) -> None:
        """Return once the key's revision is another than this one (None: absent), or its value came anew.

        While nothing is known it waits. Raises StoreBroken.
        """
        first = True
        change: int | None = None
        while True:
            changed = self._changed
            known, row = await self._outbox.read(store.find, self.customer, key)
            if known:
                if (row.stored.revision if row else None) != revision:
                    return
                if not first and row is not None and row.change != change:
                    return
                first, change = False, row.change if row else None
            await changed.wait()

    def changed(self) -> trio.Event:
        """Set at the next change of any key: take it, look, then wait for it, in this order."""
        return self._changed

    async def follow(self, session: Session) -> None:
        """Keep the copy the newest over `session` until cancelled; see `keep_up`."""
        await self.keep_up(SessionBucket(session, self.customer))

    async def keep_up(self, bucket: Bucket) -> None:
        """Follow `bucket` until cancelled.

        Whatever it says or fails to say is noted in `status` and tried again: it raises no `MraError`. Whoever knows
        that the link is lost cancels it.
        """
        try:
            await self._keep_up(bucket)
        finally:
            self.status.state = "stale" if self.status.revision else "waiting"

    async def _keep_up(self, bucket: Bucket) -> None:
        news = News()
        following = False
        delays = full_jitter(RETRY_FIRST, RETRY_CAP)
        due = trio.current_time()  # when the index is to be read
        while True:
            try:
                if not following:
                    await bucket.follow(news.put)  # before the first reading, so that nothing falls in between
                    following = True
                if trio.current_time() >= due:
                    await self._reread(bucket)
                    delays = full_jitter(RETRY_FIRST, RETRY_CAP)
                    # Spread, so that a fleet does not ask in step.
                    due = trio.current_time() + POLL_SECONDS * random.uniform(0.75, 1.0)  # noqa: S311
                entries, incomplete = news.take()
                for entry in entries:
                    incomplete |= not await self._take(bucket, entry)
                if incomplete:
                    due = trio.current_time()
                    continue
            except MraError as error:
                self._note(error)
                due = trio.current_time()
                news.take()  # the index is read next, and tells all of it
                await trio.sleep(RETRY_FIRST)
                await news.wait(next(delays))  # what comes may be what was missing
                continue
            await news.wait(due - trio.current_time())

    async def _reread(self, bucket: Bucket) -> None:
        """Read the index and put the copy right. Raises MraError when that is not possible; the copy then stays."""
        index = index_of(await bucket.read(INDEX_KEY))
        if index is None:
            raise Unavailable(f"The SaaS has no index of desired state for {self.customer}: nothing is changed.")
        await self._obey(bucket, index, live=False)

    async def _take(self, bucket: Bucket, entry: Entry) -> bool:
        """Take one live write; whether that went without the index having to be read."""
        if entry.key == INDEX_KEY:
            index = index_of(entry)
            return index is not None and await self._obey(bucket, index, live=True)
        copy = await self._outbox.read(store.load, self.customer)
        if copy.mark is None:
            return False
        known = copy.revisions.get(entry.key, 0)
        if entry.revision == known:
            return True
        if entry.revision < max(known, copy.mark.revision):
            return False  # late, or from a new bucket: the index knows
        put = {} if entry.value is None else {entry.key: Stored(entry.value, entry.revision)}
        drop = [entry.key] if entry.value is None else []
        await self._apply(copy.mark, put, drop)
        return True

    async def _obey(self, bucket: Bucket, index: Index, *, live: bool) -> bool:
        """Bring the copy in line with `index`; False for a live one that went back: a reading shall tell.

        Raises Unavailable when the SaaS does not show (yet) what its index names; what could be read is stored.
        """
        copy = await self._outbox.read(store.load, self.customer)
        relation = relate(index, copy.mark)
        mark = Mark(index.revision, index.written, index.bucket)
        if relation is Relation.BACK:
            if live:
                return False
            if self._went_back != mark:
                self._went_back = mark
                self._note(Unavailable("The SaaS shows an older index than before; it will count if it stays."))
                return True
            log.warning("desired state goes back to an older index, as after a restore", revision=index.revision)
        self._went_back = None
        afresh = relation is not Relation.NEXT
        steps = plan(copy.revisions, index, afresh=afresh)
        put, drop, behind = await self._read_all(bucket, steps.read, index)
        if behind and (afresh or copy.mark is None):
            raise Unavailable(f"The index names {behind[0]}, which the SaaS does not show yet; nothing is changed.")
        drop = (drop | steps.drop) & copy.revisions.keys()
        if behind and copy.mark is not None:
            mark = copy.mark
        if copy.mark != mark or put or drop:
            await self._apply(mark, put, drop)
        if behind:
            raise Unavailable(f"The index names a newer {behind[0]} than the SaaS shows; the older one stays.")
        self.status.state, self.status.revision, self.status.keys = "following", index.revision, len(index.keys)
        self.status.checked_at, self.status.last_error = trio.current_time(), None
        return True

    async def _read_all(
        self, bucket: Bucket, keys: frozenset[str], index: Index
    ) -> tuple[dict[str, Stored], set[str], list[str]]:
        """(values to put, keys to drop, keys whose value the index knows to be newer than what was read)."""
        put: dict[str, Stored] = {}
        drop: set[str] = set()
        behind: list[str] = []
        for key in sorted(keys):
            entry = await bucket.read(key)
            if entry is not None and entry.revision < index.keys.get(key, 0):
                behind.append(key)
            elif entry is None or entry.value is None:
                drop.add(key)
            else:
                put[key] = Stored(entry.value, entry.revision)
        return put, drop, behind

    async def _apply(self, mark: Mark, put: Mapping[str, Stored], drop: Collection[str]) -> None:
        await self._outbox.run_unit(store.apply, self.customer, mark, put, drop, clock.now().wall)
        if put or drop:
            log.info("desired state changed", put=", ".join(put) or "-", removed=", ".join(sorted(drop)) or "-")
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def _find(self, key: str) -> store.Row | None:
        known, row = await self._outbox.read(store.find, self.customer, key)
        if not known:
            raise Unavailable(f"No desired state was ever received for {self.customer}: connect the agent once.")
        return row

    def _note(self, error: MraError) -> None:
        self.status.last_error = error.sentence
        log.once_per(60, "desired state is not the newest", reason=error.sentence)
