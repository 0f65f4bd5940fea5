"""What stands around machines in tests: an agent with its journal in memory, and watchers that play a script."""

from __future__ import annotations

import json
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import trio

from mra.errors import Unavailable
from mra.machines import decode
from mra.machines.context import MachineRow, Services, Stored
from mra.machines.data import MachineData
from mra.machines.decode import Properties
from mra.machines.machine import Machine
from mra.machines.manifest import IntervalRule, load_manifest
from mra.machines.watchers.base import Outcome
from mra.machines.watchers.polling import PollingWatcher
from mra.machines.watchers.registry import registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from mra.machines.durations import Duration
    from mra.outbox.record import Draft


class Journal:
    """Stands for the outbox: keeps rows and events in the order in which they were stored, or refuses them."""

    def __init__(self) -> None:
        self.entries: list[tuple[MachineRow | None, list[dict[str, Any]]]] = []
        self.subjects: list[str] = []
        self.refuses = False
        self.stores = trio.Event()  # cleared by `hold`
        self.stores.set()

    async def __call__(self, row: MachineRow | None, drafts: Sequence[Draft], /) -> None:
        await trio.lowlevel.checkpoint()
        await self.stores.wait()
        if self.refuses:
            raise Unavailable("there is no room")
        self.entries.append((row, [json.loads(draft.body) for draft in drafts]))
        self.subjects += [draft.subject for draft in drafts]

    def hold(self) -> None:
        """Let every store wait until `stores` is set again."""
        self.stores = trio.Event()

    @property
    def envelopes(self) -> list[dict[str, Any]]:
        return [event for _, events in self.entries for event in events]

    @property
    def story(self) -> list[str]:
        """Transitions as `a -> b`, watcher states as `watcher: outcome`."""
        return [_line(event["data"]) for event in self.envelopes]


def _line(data: dict[str, Any]) -> str:
    if "transition" in data:
        return f"{data['from_state']} -> {data['to_state']}"
    if "event_type" in data:
        return f"{data['governor']} {data['event_type']}"
    return f"{data['name']}: {data.get('previous_outcome', data.get('state'))}"


class Buckets:
    """Desired state in memory."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], Stored] = {}
        self.missing = False
        self.reads = 0
        self._revision = 0
        self._changed = trio.Event()

    def put(self, bucket: str, key: str, value: bytes | str) -> None:
        self._revision += 1
        self.values[bucket, key] = Stored(value.encode() if isinstance(value, str) else value, self._revision)
        self._tell()

    def delete(self, bucket: str, key: str) -> None:
        self.values.pop((bucket, key), None)
        self._tell()

    async def get(self, bucket: str, key: str) -> Stored | None:
        await trio.lowlevel.checkpoint()
        self.reads += 1
        if self.missing:
            raise Unavailable(f"there is no bucket {bucket}")
        return self.values.get((bucket, key))

    async def wait_changed(self, bucket: str, key: str, revision: int | None) -> None:
        while True:
            stored = self.values.get((bucket, key))
            if (stored.revision if stored else None) != revision:
                return
            await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class Slots:
    """A governor with one slot, or none."""

    def __init__(self, *, full: bool = False) -> None:
        self.full = full
        self.held = 0
        self.asked: list[tuple[str, str, str]] = []

    @asynccontextmanager
    async def slot(self, name: str, holder: str, patience: Duration) -> AsyncIterator[int]:
        self.asked.append((name, holder, str(patience)))
        await trio.lowlevel.checkpoint()
        if self.full:
            raise Unavailable(f"governor {name} is full")
        self.held += 1
        try:
            yield 212
        finally:
            self.held -= 1


class ScriptProperties(Properties):
    note: str = decode.text()


class ScriptWatcher(PollingWatcher[ScriptProperties]):
    """Finds what the test wrote down: outcomes, exceptions to raise, or an event to wait for. Else `unchanged`."""

    kind = "script"
    schema: ClassVar[type[Properties]] = ScriptProperties
    interval_rule = IntervalRule(minimum="1s")

    def __init__(self, definition: Any, context: Any) -> None:
        super().__init__(definition, context)
        self.script: deque[Outcome | Exception | trio.Event] = deque()
        self.looked: list[float] = []  # when, on the clock of Trio
        self.abandoned = 0
        self.cleaned = False

    async def evaluate(self) -> Outcome | None:
        self.looked.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        step = self.script.popleft() if self.script else Outcome("unchanged")
        if isinstance(step, trio.Event):
            try:
                await step.wait()
            except trio.Cancelled:
                self.abandoned += 1
                raise
            return Outcome("late", announce=True, transition=self.definition.success_transition)
        if isinstance(step, Exception):
            raise step
        return step

    async def removed(self) -> None:
        self.cleaned = True

    def report(self) -> Mapping[str, Any]:
        return {"previous_outcome": self.outcome}


class RestingWatcher(ScriptWatcher):
    kind = "resting"
    rests_after_run = True


class EagerWatcher(ScriptWatcher):
    kind = "eager"

    def first_wait(self) -> float:
        return 0.0


KINDS = registry([ScriptWatcher, RestingWatcher, EagerWatcher])

PUMP = """\
name: pump
version: 1.2.3
initial_state: "off"
transitions:
  - {name: start, from: ["off", fault], destination: "on"}
  - {name: stop, from: ["on"], destination: "off"}
  - {name: again, from: ["on", "off"], destination: "on"}
  - {name: trip, from: ["on"], destination: fault}
watchers:
"""


class Alone:
    """No neighbours, or those that a test names."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.told: list[tuple[str, str]] = []

    def state_of(self, name: str) -> str | None:
        return self.states.get(name)

    def tell(self, name: str, event: str) -> None:
        self.told.append((name, event))


class Middle:
    """Dice that always fall in the middle."""

    def randrange(self, stop: int) -> int:
        return stop // 2

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2


def services(journal: Journal, **others: Any) -> Services:
    return Services("edge-07", journal, dice=Middle(), **others)  # type: ignore[arg-type]


def machine(watchers: str, journal: Journal, directory: Path, *, manifest: str = PUMP, **others: Any) -> Machine:
    """A pump with these watchers, each a line of YAML such as `{name: w, type: script, interval: 10s}`."""
    neighbours = others.pop("neighbours", None) or Alone()
    lines = "".join(f"  - {line.strip()}\n" for line in watchers.strip().splitlines())
    read = load_manifest(manifest + lines, "machine.yaml", KINDS)
    data = MachineData.load(directory)
    return Machine(read, directory, data, services(journal, **others), neighbours, KINDS)
