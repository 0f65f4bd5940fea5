"""`kv`: keeps a key of desired state in the machine's data (section 3.9 of the reference)."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from mra.errors import BadInput, MraError, Unavailable
from mra.machines import decode, gjson, hiera
from mra.machines.decode import Properties
from mra.machines.manifest import IntervalRule
from mra.machines.watchers.base import Outcome
from mra.machines.watchers.polling import PollingWatcher, describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mra.machines.context import Stored
    from mra.machines.definition import WatcherDef

CHANGED, UNCHANGED = "changed", "unchanged"
_RETRY_SECONDS: Final = 30.0  # until a bucket that is not there is looked for again, to follow it


class KvProperties(Properties):
    """Which key, where its value goes, and what counts as a change."""

    bucket: str = decode.text(required=True)
    key: str = decode.text(required=True)
    mode: str = decode.text("poll")
    bucket_prefix: bool = decode.flag(default=True)
    store_key: str = decode.text()
    on_successful_get: bool = decode.flag()
    on_matching_update: bool = decode.flag()
    hiera_config: bool = decode.flag()
    query: str = decode.text()
    republish_trigger: str = decode.text()

    def faults(self) -> Iterable[tuple[str, str]]:
        """Only two modes are known."""
        if self.mode not in ("poll", "watch"):
            yield "mode", f"{self.mode[:40]!r} is no mode; write poll or watch"


class KvWatcher(PollingWatcher[KvProperties]):
    """Polls the agent's own copy of the bucket, which answers without a network.

    Nothing is published when a value changes, only at every `announce_interval`. Differences to Choria, on purpose:

    - `mode: watch`, documented there but refused, polls as soon as the value has changed, and needs no interval.
    - `republish_trigger` does the same: the copy follows republished values already, so no subject is subscribed to.
    - Poll mode without an interval, which ends the Go process, is refused when the manifest is read.
    - Malformed JSON is an error that keeps the last good value, instead of a warning that replaces it by an empty one.
    - Whole numbers equal the floats they become on disk, so a restart does not report a change.
    """

    kind = "kv"
    schema: ClassVar[type[Properties]] = KvProperties
    interval_rule = IntervalRule()
    first_outcome = "error"

    _known: tuple[str, Any] | None = None  # data key and value that were seen last; None stands for no value
    _revision: int | None = None  # seen last in this run
    _polled_at: float = -math.inf
    _prompted: bool = False  # the value has changed, so an evaluation is due whatever the interval says

    @classmethod
    def faults(cls, definition: WatcherDef) -> Iterable[tuple[str, str]]:
        """Polling needs an interval."""
        properties = definition.properties
        if isinstance(properties, KvProperties) and properties.mode == "poll" and not definition.interval:
            yield "interval", "polling needs an interval; give it one, like 30s"

    async def run(self) -> None:
        if self.properties.mode != "watch" and not self.properties.republish_trigger:
            await super().run()
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, name=f"{self.definition.name} follows {self.properties.bucket}")
            await super().run()

    def first_wait(self) -> float:
        return 0.0

    def heeds_change(self) -> bool:
        return self._prompted or trio.current_time() - self._polled_at >= self.definition.interval.seconds

    async def evaluate(self) -> Outcome:
        self._prompted, self._polled_at = False, trio.current_time()
        key = self.context.expand(self.properties.key)
        stored = await self.context.services.desired.get(self.properties.bucket, key)
        changed = await self._take(self._data_key(key), stored)
        return self.success(CHANGED, announce=False) if changed else Outcome(UNCHANGED)

    def failed(self, fault: Exception) -> Outcome:
        """Nothing is published here either."""
        return Outcome("error", transition=self.definition.fail_transition, reason=describe(fault))

    def report(self) -> Mapping[str, Any]:
        key = {"key": self.properties.key} if self.properties.key else {}
        return {"state": self.outcome, "bucket": self.properties.bucket, **key, "mode": self.properties.mode}

    def _data_key(self, key: str) -> str:
        name = self.context.expand(self.properties.store_key) or key
        return f"{self.properties.bucket}_{name}" if self.properties.bucket_prefix else name

    async def _take(self, data_key: str, stored: Stored | None) -> bool:
        """Bring the data in line with what is stored; whether that counts as a change."""
        if self._known is None or self._known[0] != data_key:
            self._known = data_key, self.context.data.get(data_key)
        known = self._known[1]
        if stored is None:
            self._revision = None
            if known is not None:
                await self.context.data.delete(data_key)
            self._known = data_key, None
            return known is not None
        value = self._parsed(stored.value)
        newer = self._revision is not None and stored.revision > self._revision
        self._revision = stored.revision
        if known is None or not _same(value, known):
            await self.context.data.put(data_key, value)
            self._known = data_key, value  # only now: a value that was not written comes again
            return True
        return self.properties.on_successful_get or (self.properties.on_matching_update and newer)

    def _parsed(self, raw: bytes) -> Any:
        """A value as machines see it: a JSON object or list, or the text itself. Raises `MraError`."""
        text = raw.decode("utf-8", "replace")
        trimmed = text.strip()
        if trimmed[:1] + trimmed[-1:] not in ("{}", "[]"):
            return text
        try:
            value = json.loads(trimmed)
        except (ValueError, RecursionError) as fault:
            sentence = f"the value in bucket {self.properties.bucket} is no JSON ({fault}); publish it again"
            raise BadInput(sentence) from fault
        if isinstance(value, dict) and self.properties.hiera_config:
            value = hiera.resolve(value, self.context.services.facts())
        if isinstance(value, dict) and self.properties.query:
            found = gjson.get(value, self.properties.query)
            return text if found is gjson.MISSING or found is None else found
        return value

    async def _follow(self) -> None:
        """Ask for an evaluation whenever the value changes; runs until cancelled."""
        desired, bucket = self.context.services.desired, self.properties.bucket
        while True:
            try:
                key = self.context.expand(self.properties.key)
                stored = None
                with suppress(Unavailable):  # nothing is known yet, and the first that is will be a change
                    stored = await desired.get(bucket, key)
                await desired.wait_changed(bucket, key, stored.revision if stored else None)
            except MraError:
                await trio.sleep(_RETRY_SECONDS)  # the polls report why
                continue
            self._prompted = True
            super().state_changed(self.context.state())


def _same(one: Any, other: Any) -> bool:
    """Deep equality in which numbers compare by value, and nothing but a boolean equals a boolean."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
        case list(), list():
            return len(one) == len(other) and all(map(_same, one, other))
        case _:
            return isinstance(one, bool) == isinstance(other, bool) and one == other
