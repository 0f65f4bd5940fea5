"""Where Choria's published schemas contradict the events that Choria itself sends; ours follow the events.

Each entry is (schema, what is wrong, how a schema is corrected before events are held against it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Defect(NamedTuple):
    schema: str  # below interop/schemas/choria
    defect: str
    correct: Callable[[dict[str, Any]], None]


def _schedule_is_called_file(schema: dict[str, Any]) -> None:
    schema["properties"]["type"]["enum"] = ["schedule"]


def _perfdata_may_be_null(schema: dict[str, Any]) -> None:
    schema["properties"]["perfdata"] = {"oneOf": [{"type": "null"}, {"$ref": "#/definitions/perfdata"}]}


def _a_check_may_not_have_run(schema: dict[str, Any]) -> None:
    schema["properties"]["status"]["enum"].append("NOTCHECKED")
    schema["properties"]["status_code"]["maximum"] = 5


DEFECTS = (
    Defect("machine/watcher/schedule/v1/state.json", "the type is fixed to `file`", _schedule_is_called_file),
    Defect("machine/watcher/nagios/v1/state.json", "perfdata may not be null, and is", _perfdata_may_be_null),
    Defect("machine/watcher/nagios/v1/state.json", "NOTCHECKED with code 5 is missing", _a_check_may_not_have_run),
)
# Not corrected, as they refuse nothing: all schemas say that `timestamp` counts nanoseconds, and it counts seconds.
