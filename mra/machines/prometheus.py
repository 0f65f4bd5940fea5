"""The text format that Prometheus and its node exporter read (exposition format 0.0.4). (pure)

Names and values come from manifests and from the output of other programs. Whatever they hold, the result is one
valid document: a bad series would make the exporter refuse the whole file, and with it those of other programs.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NOT_IN_METRIC: Final = re.compile(r"[^a-zA-Z0-9_:]")
_NOT_IN_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")
_FOLDED: Final = str.maketrans(' ,"', "___")
_VALUE_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})


class Sample(NamedTuple):
    """One number with its labels."""

    value: float
    labels: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Family:
    """Samples of one name."""

    name: str
    kind: Literal["gauge", "counter"]
    about: str
    samples: tuple[Sample, ...]


def render(families: Iterable[Family]) -> str:
    """The document. Families of one name become one; of two samples with the same labels the later one stays."""
    merged: dict[str, tuple[Family, dict[str, float]]] = {}
    for family in families:
        name = metric_name(family.name)
        _, series = merged.setdefault(name, (family, {}))
        series.update((labels_text(sample.labels), sample.value) for sample in family.samples)
    lines: list[str] = []
    for name, (family, series) in merged.items():
        lines += (f"# HELP {name} {_encodable(family.about).translate(_HELP_ESCAPES)}", f"# TYPE {name} {family.kind}")
        lines += (f"{name}{labels} {value_text(value)}" for labels, value in series.items())
    return "".join(f"{line}\n" for line in lines)


def metric_name(text: str) -> str:
    """`text` with what no metric name may hold turned into underscores."""
    name = _NOT_IN_METRIC.sub("_", text)
    return name if name and not name[0].isdigit() else f"_{name}"


def label_name(text: str) -> str:
    """`text` as a label's name; two leading underscores are Prometheus's own."""
    name = _NOT_IN_LABEL.sub("_", text)
    name = name if name and not name[0].isdigit() else f"_{name}"
    return re.sub(r"^__+", "_", name)


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels in braces, sorted by name; nothing when there are none. Of two names that become one, the last stays."""
    named = {label_name(name): _encodable(value).translate(_VALUE_ESCAPES) for name, value in labels.items()}
    return "{" + ",".join(f'{name}="{named[name]}"' for name in sorted(named)) + "}" if named else ""


def value_text(value: float) -> str:
    """The number in the fewest digits that read back as the same."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))


def folded(text: str) -> str:
    """Choria's way with watcher names, label names and label values: lower case, underscores for ` `, `,` and `"`."""
    return text.lower().translate(_FOLDED)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
