"""Connects machines to the rest of the agent: the outbox, desired state, governors, the facts and the settings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mra.errors import Unavailable
from mra.machines.context import NoDesired, Services, Stored
from mra.machines.delivery import MACHINES_MANAGER
from mra.machines.fleet import Fleet
from mra.machines.overrides import Overrides
from mra.machines.scratch import Scratch
from mra.machines.trial import FleetTrials
from mra.machines.watchers.registry import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mra.config.mirror import Mirror
    from mra.governors.governors import Governors
    from mra.machines.compiled import CompiledMachine
    from mra.machines.context import MachineRow
    from mra.options import Options
    from mra.outbox.outbox import Outbox
    from mra.outbox.record import Draft
    from mra.outbox.sqlite import Connection
    from mra.settings import Settings

BUCKET = "CONFIG"
_KEEP = (
    "INSERT OR REPLACE INTO machine (name, version, state, since, instance, directory)"
    " VALUES (:name, :version, :state, :since_wall, :instance, :directory)"
)


def build_fleet(
    settings: Settings,
    options: Options,
    outbox: Outbox,
    mirror: Mirror | None,
    governors: Governors,
    facts: Callable[[], Mapping[str, Any]],
    status: Callable[[], Mapping[str, Any]],
) -> Fleet:
    """The machines of this agent; nothing runs yet. Raises BadInput when the builder's watchers cannot be."""
    machines = settings.machines
    kinds = registry(options.watchers)
    key = options.signing_key or machines.signing_key
    services = Services(
        settings.name,
        Recorder(outbox),
        facts=facts,
        desired=Buckets(mirror) if mirror else NoDesired(),
        governors=governors,
        overrides=Overrides(machines.overrides),
        status=status,
        text_file_directory=machines.text_files,
        signing_key=key,
        deny=machines.deny | options.deny,
        trials=FleetTrials(lambda: fleet, kinds),
        look_soon=lambda: fleet.look_soon(),
        extra_ca=machines.extra_ca,
        scratch=Scratch(settings.state),
    )
    services.scratch.clear()
    compiled_in = _compiled_in(options, follows=bool(key and mirror))
    fleet = Fleet(machines.directory, services, kinds, compiled_in, scan_seconds=machines.scan_seconds)
    return fleet


def _compiled_in(options: Options, *, follows: bool) -> Sequence[CompiledMachine]:
    """The builder's machines, and the one that deploys plugins where they are signed and ordered by the SaaS.

    A machine of the builder with its name takes its place.
    """
    if not follows or any(machine.name == MACHINES_MANAGER.name for machine in options.machines):
        return options.machines
    return (MACHINES_MANAGER, *options.machines)


class Recorder:
    """Stores the state of a machine and the events that tell of it in one transaction."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def __call__(self, row: MachineRow | None, drafts: Sequence[Draft], /) -> None:
        """See `mra.machines.context.Recorder`."""

        also = None if row is None else partial(_keep, row)
        await self._outbox.append_many(drafts, also=also)


def _keep(row: MachineRow, connection: Connection) -> None:
    connection.execute(_KEEP, row._asdict())


class Buckets:
    """The mirror of desired state, as watchers see it."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    async def get(self, bucket: str, key: str) -> Stored | None:
        """See `mra.machines.context.Desired`."""
        _check(bucket)
        found = await self._mirror.get(key)
        return None if found is None else Stored(found.value, found.revision)

    async def wait_changed(self, bucket: str, key: str, revision: int | None) -> None:
        """See `mra.machines.context.Desired`. Raises Unavailable when there is no such bucket."""
        _check(bucket)
        await self._mirror.wait_changed(key, revision)


def _check(bucket: str) -> None:
    if bucket != BUCKET:
        raise Unavailable(f"There is no bucket {bucket[:60]!r} here: desired state is in {BUCKET}.")
