"""What is remembered of a check: its status, its last result, and the results before. (pure)

Statuses, exit codes, the event and its history are those of Choria's nagios watchers (sections 3.11 and 4.3 of the
reference), with one difference: state names count in any case, because its documentation writes them in lower case.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from mra.machines import perfdata
from mra.machines.perfdata import Measurement, as_event
from mra.machines.prometheus import Family, Sample

if TYPE_CHECKING:
    from collections.abc import Mapping

REMEMBERED: Final = 15
LONGEST_OUTPUT: Final = 64 * 1024  # characters in an event; more is cut off
MOST_PERFDATA: Final = 200  # entries in an event, which carries those of all remembered runs
FORCE: Final = "FORCE_CHECK"
_NEVER: Final = -62135596800  # Go's zero time in Unix seconds
_BILLION: Final = 1_000_000_000


class Status(IntEnum):
    """Statuses by their exit codes. The last two are no results: nothing is told about them."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3
    SKIPPED = 4
    NOTCHECKED = 5

    @property
    def is_result(self) -> bool:
        """Whether a check that ends in it is recorded and reported."""
        return self <= Status.UNKNOWN


def status_of_exit(code: int) -> Status:
    """What a plugin's exit code means; death by a signal, and codes that Nagios does not know, mean UNKNOWN."""
    return Status(code) if 0 <= code <= Status.NOTCHECKED else Status.UNKNOWN


@dataclass(frozen=True, slots=True)
class Result:
    """How a check ended; `reason` is for the operator when it could not be made at all."""

    status: Status
    output: str = ""
    reason: str = ""


@dataclass
class CheckLog:
    """One watcher's memory; it outlives the states of its machine."""

    machine: str
    status: Status = Status.NOTCHECKED
    plugin: str = ""
    output: str = ""
    perfdata: list[Measurement] = field(default_factory=list)
    checked: int | None = None  # wall clock, ns
    runtime: float = 0.0
    history: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    updates: int = 0

    def record(self, result: Result, plugin: str, checked: int, runtime: float) -> None:
        """Remember how a check ended that began at `checked` and took `runtime` seconds."""
        self.plugin, self.checked, self.runtime = plugin, checked, runtime
        self.output = result.output.strip()[:LONGEST_OUTPUT]
        self.perfdata = perfdata.parse(result.output)[:MOST_PERFDATA]
        if result.status.is_result:
            self.status = result.status
            entry: dict[str, Any] = {"execute": go_time(checked), "status": int(result.status)}
            self.history.append(entry | ({"perfdata": as_event(self.perfdata)} if self.perfdata else {}))
            self.updates += 1

    def enter(self, state: str) -> None:
        """Take the status from the name of the state that the machine is now in; one that names none means OK."""
        name = state.upper()
        results = {status.name: status for status in Status if status.is_result}
        self.status = results.get(name, Status.OK)
        self.updates += 1

    def as_event(self, annotations: Mapping[str, str]) -> dict[str, Any]:
        """The event's own keys, in Choria's order."""
        return {
            "plugin": self.plugin,
            "status": self.status.name,
            "status_code": int(self.status),
            "output": self.output,
            "check_time": _NEVER if self.checked is None else self.checked // _BILLION,
            "perfdata": as_event(self.perfdata) or None,
            "runtime": self.runtime,
            "history": list(self.history),
            "annotations": dict(annotations),
        }

    def families(self, wall: int) -> tuple[Family, ...]:
        """For the Prometheus file; a check that has not run yet is UNKNOWN there. `wall` is now, in ns."""
        status = self.status if self.status.is_result else Status.UNKNOWN
        name = {"name": self.machine}
        prefix = "choria_machine_nagios_watcher"
        return (
            Family(
                f"{prefix}_status",
                "gauge",
                "Choria Nagios Check Status",
                (Sample(int(status), {**name, "status": status.name}),),
            ),
            Family(
                f"{prefix}_last_run_seconds", "gauge", "Choria Nagios Check Time", (Sample(wall // _BILLION, name),)
            ),
            Family(
                f"{prefix}_checks_count", "counter", "Choria Nagios Check Count", (Sample(max(1, self.updates), name),)
            ),
        )


def go_time(wall: int) -> str:
    """Wall-clock nanoseconds as Go writes a UTC time into JSON: no zeros at the end of the fraction."""
    seconds, fraction = divmod(wall, _BILLION)
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{whole}{digits}Z"
