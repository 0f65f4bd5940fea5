"""What a metric watcher's command printed, read as numbers with labels. (pure)

Output that begins with a brace is Choria's own format, `{"labels": {...}, "metrics": {"name": 1.5}}`; anything else is
searched for Nagios performance data, and none of it makes an empty sample (section 3.10 of the reference).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mra.errors import BadInput
from mra.machines import perfdata
from mra.machines.perfdata import json_number
from mra.machines.prometheus import Family, Sample, folded

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNTIME: Final = "choria_runtime_seconds"
MOST_METRICS: Final = 1000  # of one sample; an event has to fit a message
_ABOUT: Final = "Choria Metric"


@dataclass(frozen=True, slots=True)
class Metrics:
    """One sample: numbers by name, the labels that go with all of them, and when (Unix seconds) they were taken."""

    labels: Mapping[str, str]
    values: Mapping[str, float]
    time: int

    def as_json(self) -> dict[str, Any]:
        """As events carry it and machine data stores it, with sorted names as Go writes maps."""
        return {
            "labels": {name: self.labels[name] for name in sorted(self.labels)},
            "metrics": {name: json_number(self.values[name]) for name in sorted(self.values)},
            "time": self.time,
        }

    def families(self, watcher: str) -> tuple[Family, ...]:
        """For the Prometheus file: one gauge for each number."""
        labels = {folded(name): folded(value) for name, value in self.labels.items()}
        prefix = f"choria_machine_metric_watcher_{folded(watcher)}"
        return tuple(
            Family(f"{prefix}_{name}", "gauge", _ABOUT, (Sample(value, labels),)) for name, value in self.values.items()
        )

    def graphite(self, prefix: str, runtime: float) -> str:
        """For Graphite's plain text port: a line for each number and one for the command's run time."""
        values = {name: value for name, value in self.values.items() if name != RUNTIME} | {"runtime": runtime}
        return "".join(f"{prefix}.{_word(name)} {value:f} {self.time}\n" for name, value in values.items())


EMPTY: Final = Metrics({}, {}, 0)
"""What a watcher announces before its first sample."""


def read_metrics(output: str, labels: Mapping[str, str], time: int, runtime: float) -> Metrics:
    """The sample in a command's output, with the command's run time among its numbers.

    Args:
        output: what the command printed.
        labels: those of the watcher, which go before those of the output.
        time: Unix seconds.
        runtime: seconds that the command took.

    Raises BadInput for output that begins as JSON and is not what it should be.
    """
    if output.lstrip().startswith("{"):
        own, values = _from_json(output)
        own = {"format": "choria", **own}
    else:
        own = {"format": "nagios"}
        values = {label: value for label, value, _ in perfdata.parse(output)}
    if len(values) > MOST_METRICS:
        raise BadInput(f"The output has {len(values)} metrics: print {MOST_METRICS} or fewer.")
    return Metrics({**own, **labels}, {**values, RUNTIME: runtime}, time)


def _from_json(output: str) -> tuple[dict[str, str], dict[str, float]]:
    try:
        document = msgspec.json.decode(output.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadInput(f"The output begins with a brace and is no JSON document ({error}).") from error
    # Go matches the names of fields in any case; a null is as good as nothing.
    fields = {name.casefold(): value for name, value in document.items()}
    labels, values = fields.get("labels") or {}, fields.get("metrics") or {}
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise BadInput('The output\'s "labels" is no object of strings: print {"labels": {"site": "a"}}.')
    if not isinstance(values, dict):
        raise BadInput('The output\'s "metrics" is no object of numbers: print {"metrics": {"rate": 1.5}}.')
    return labels, {name: _number(name, value) for name, value in values.items()}


def _number(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise BadInput(f"The output's metric {name[:40]!r} is no number: print it in digits.")


def _word(name: str) -> str:
    """A name for a line whose words are separated by spaces; a line break in it would forge another metric."""
    return "_".join(name.split()) or "_"
