"""What is gathered, how often, and what the node says of itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mra.errors import BadInput, quoted
from mra.outbox.record import check_subject

if TYPE_CHECKING:
    from pathlib import Path

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE
GROUPS: Final = ("host", "network", "partition", "cpu", "memory", "swap")
SMALLEST_REPORT: Final = 16 * 1024

Hook = Callable[[], Awaitable[Mapping[str, object]]]
"""Gives the builder's own facts, as plain JSON values. It may raise, and is cancelled when it takes too long."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What the node says of itself in `machine_room`; tokens are read for their fingerprints only."""

    options: Mapping[str, Any] = field(default_factory=dict)
    public_key: str = ""
    public_nkey: str = ""
    extended_claims: Mapping[str, Any] = field(default_factory=dict)
    server_token: Path | None = None
    provisioning_token: Path | None = None


@dataclass(frozen=True, slots=True)
class FactsSettings:
    """Times are seconds. Raises BadInput for values that make no sense.

    Attributes:
        identity: name of the node, and the subject of its reports.
        file: where the newest facts are kept for machines.
        skip: groups, of GROUPS, that are not gathered; their empty skeleton stays. `memory` takes `swap` with it.
        refresh_every: between two looks at the host; each ends in a full report or a heartbeat.
        full_every: the longest time between two full reports.
        hook_seconds: how long the hook may take.
        source_seconds: how long a source of the host may take.
        max_bytes: bound of a report.
        volatile: further paths, such as `machine_room.additional_facts.queue`, whose change alone makes no report.
    """

    identity: str
    file: Path
    node: NodeSettings = field(default_factory=NodeSettings)
    skip: frozenset[str] = frozenset()
    refresh_every: float = 10 * MINUTE
    full_every: float = 4 * HOUR
    hook_seconds: float = 10.0
    source_seconds: float = 10.0
    max_bytes: int = 512 * 1024
    volatile: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_subject(self.identity)
        for name in sorted(self.skip - set(GROUPS)):
            raise BadInput(f"There is no group of facts {quoted(name)}: use {', '.join(GROUPS)}.")
        for key in ("refresh_every", "full_every", "hook_seconds", "source_seconds"):
            if not 0.1 <= getattr(self, key) < float("inf"):
                raise BadInput(f"facts.{key} is {getattr(self, key)}: use a tenth of a second or more.")
        if self.max_bytes < SMALLEST_REPORT:
            raise BadInput(f"facts.max_bytes is {self.max_bytes}: give a report {SMALLEST_REPORT} bytes or more.")
