"""What a watcher may ask of its surroundings.

`Services` are the agent's, the same for all machines, and every member is a seam: the agent connects them to the
outbox, the mirror of desired state, the facts and the governors. `Context` is what one machine hands to its watchers.
"""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import trio

from mra.errors import MraError, Unavailable
from mra.governors.events import governor_event
from mra.log import logger
from mra.machines.scratch import Scratch
from mra.machines.templates import expand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from mra.governors.events import What
    from mra.governors.holding import Seat
    from mra.machines.data import MachineData
    from mra.machines.durations import Duration
    from mra.machines.events import Origin
    from mra.machines.states import Step
    from mra.outbox.record import Draft

log = logger("machines")


class MachineRow(NamedTuple):
    """A machine's place in the database: one row for each name."""

    name: str
    version: str
    state: str
    since_wall: int  # ns since 1970
    instance: str
    directory: str


class Recorder(Protocol):
    """Stores what happened."""

    async def __call__(self, row: MachineRow | None, drafts: Sequence[Draft], /) -> None:
        """Store the row and accept the drafts in one transaction; returns once both are on disk. Raises `MraError`."""


class Stored(NamedTuple):
    """A value of desired state, with the revision the bucket gave it."""

    value: bytes
    revision: int


class Desired(Protocol):
    """The agent's copy of the buckets of desired state; it answers without a network."""

    async def get(self, bucket: str, key: str) -> Stored | None:
        """The newest value; None when the key is absent or deleted. Raises `Unavailable` when there is no bucket."""

    async def wait_changed(self, bucket: str, key: str, revision: int | None) -> None:
        """Return once the key's revision is another than this one; None stands for absent."""


class Governors(Protocol):
    """Limits how many machines of a fleet do something at once."""

    def slot(self, name: str, holder: str, patience: Duration) -> AbstractAsyncContextManager[int]:
        """Hold a slot of one governor while inside; yields its sequence. Raises `MraError` when none was obtained."""

    def seat(self, name: str, holder: str, tell: Callable[[str], None]) -> AbstractAsyncContextManager[Seat]:
        """Hold a slot as a seat that says when it is lost; see `mra.governors.governors.Governors.seat`."""


class Trials(Protocol):
    """Says whether a machine that is being deployed does."""

    def check(self, tree: Path, /) -> None:
        """Raises `Refused` when what will stand as a machine's directory holds a manifest that cannot run. Blocking."""

    async def prove(self, directory: Path, /) -> None:
        """Return once the machine in this directory runs; raises `Refused` with the reason when it does not."""


class NoTrials:
    """Stands in where nothing can be tried out: every machine does."""

    def check(self, tree: Path, /) -> None:
        """Accepts."""

    async def prove(self, directory: Path, /) -> None:
        """Accepts."""


class NoDesired:
    """Stands in where no desired state is configured."""

    async def get(self, bucket: str, key: str) -> Stored | None:
        """Raises `Unavailable`."""
        raise Unavailable(f"bucket {bucket} with key {key} cannot be read, as this agent has no SaaS; enrol it first")

    async def wait_changed(self, bucket: str, key: str, revision: int | None) -> None:
        """Never returns."""
        await trio.sleep_forever()


class NoGovernors:
    """Stands in where there are no governors."""

    def slot(self, name: str, holder: str, patience: Duration) -> AbstractAsyncContextManager[int]:
        """Raises `Unavailable`."""
        raise Unavailable(f"governor {name} cannot be asked, as this agent has no SaaS; enrol it first")

    def seat(self, name: str, holder: str, tell: Callable[[str], None]) -> AbstractAsyncContextManager[Seat]:
        """Raises `Unavailable`."""
        raise Unavailable(f"governor {name} cannot be asked, as this agent has no SaaS; enrol it first")


class Fire(Protocol):
    """Fires a transition of the watcher's machine; `Machine.fire` is it."""

    def __call__(self, event: str, /, *, at_once: bool = False) -> Awaitable[Step | None]:
        """See `Machine.fire`."""


@dataclass(frozen=True)
class Services:
    """What the agent offers to its machines. All but the first two have working defaults."""

    identity: str
    record: Recorder
    facts: Callable[[], Mapping[str, Any]] = dict
    desired: Desired = field(default_factory=NoDesired)
    governors: Governors = field(default_factory=NoGovernors)
    overrides: Callable[[], Mapping[str, Any]] = dict  # of checks, by machine
    status: Callable[[], Mapping[str, Any]] = dict  # of the agent, as `mra status` shows it
    text_file_directory: Path | None = None  # where a Prometheus node exporter reads files
    signing_key: str = ""  # hex, of the signer of plugin specifications
    deny: frozenset[str] = frozenset()  # names of plugins and machines that may not run
    trials: Trials = field(default_factory=NoTrials)  # of machines that are deployed
    look_soon: Callable[[], None] = lambda: None  # have the machines directory looked at now
    extra_ca: Path | None = None  # of a certificate authority to trust beside the system's, for archives
    scratch: Scratch = field(default_factory=Scratch)  # for files of single runs
    dice: random.Random = field(default_factory=random.Random)


@dataclass(frozen=True)
class Context:
    """What one machine offers to its watchers."""

    origin: Origin
    directory: Path
    data: MachineData
    services: Services
    state: Callable[[], str]  # that the machine is in now
    fire: Fire
    foreign_state: Callable[[str], str | None]  # of a machine with this name, None when there is none

    def expand(self, text: str) -> str:
        """A property with its templates expanded, with the facts and data of this moment. Raises `TemplateError`."""
        return expand(text, facts=self.services.facts(), data=self.data.copy()) if "{{" in text else text

    async def publish(self, draft: Draft) -> None:
        """Have an event accepted; returns once it is on disk.

        An event that cannot be accepted (the disk is full, say) is lost, and the log says so: a machine goes on
        controlling its site whether or not anyone can be told.
        """
        try:
            await self.services.record(None, (draft,))
        except MraError as refusal:
            log.once_per(60, "event lost", machine=self.origin.machine, subject=draft.subject, reason=refusal.sentence)

    @asynccontextmanager
    async def governed(self, name: str, watcher: str, patience: Duration) -> AsyncIterator[None]:
        """Hold a slot of a governor while inside, and report it; without a name there is nothing to hold.

        Raises `MraError` when no slot was obtained in time, or the governor cannot be asked.
        """
        if not name:
            yield
            return
        async with AsyncExitStack() as held:
            try:
                slot = self.services.governors.slot(name, self._holder(watcher), patience)
                sequence = await held.enter_async_context(slot)
            except MraError:
                await self._publish_governor(name, 0, "timeouts")
                raise
            async with self._reported(name, sequence):
                yield

    @asynccontextmanager
    async def elected(self, name: str, watcher: str, tell: Callable[[str], None]) -> AsyncIterator[Seat]:
        """Hold a slot of a governor as the seat of a leader while inside, and report it.

        Waits for it without end, so there is no timeout to report, and calls `tell` with the reason while it does.
        Raises `MraError` when the governor cannot be asked. Stop what only a leader does before leaving.
        """
        governors, holder = self.services.governors, self._holder(watcher)
        async with governors.seat(name, holder, tell) as seat, self._reported(name, seat.sequence):
            yield seat

    def _holder(self, watcher: str) -> str:
        return f"Auto Agent  {self.origin.machine}#{watcher} @ {self.origin.identity}"

    @asynccontextmanager
    async def _reported(self, name: str, sequence: int) -> AsyncIterator[None]:
        await self._publish_governor(name, sequence, "enter")
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):  # who counts slots needs every exit; it is one local commit
                await self._publish_governor(name, sequence, "exit")

    async def _publish_governor(self, name: str, sequence: int, event: What) -> None:
        await self.publish(governor_event(self.origin.identity, self.origin.machine, name, sequence, event))
