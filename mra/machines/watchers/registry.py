"""The types of watchers, by the names that manifests use."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from mra.errors import BadInput
from mra.machines.watchers.archive import ArchiveWatcher
from mra.machines.watchers.election import ElectionWatcher
from mra.machines.watchers.exec import ExecWatcher
from mra.machines.watchers.expression import ExpressionWatcher
from mra.machines.watchers.file import FileWatcher
from mra.machines.watchers.kv import KvWatcher
from mra.machines.watchers.metric import MetricWatcher
from mra.machines.watchers.nagios import NagiosWatcher
from mra.machines.watchers.plugins import PluginsWatcher
from mra.machines.watchers.schedule import ScheduleWatcher
from mra.machines.watchers.timer import TimerWatcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mra.machines.watchers.base import Watcher

BUILTIN: Final[tuple[type[Watcher[Any]], ...]] = (
    ArchiveWatcher,
    ElectionWatcher,
    ExecWatcher,
    ExpressionWatcher,
    FileWatcher,
    KvWatcher,
    MetricWatcher,
    NagiosWatcher,
    PluginsWatcher,
    ScheduleWatcher,
    TimerWatcher,
)


def registry(extra: Iterable[type[Watcher[Any]]] = ()) -> Mapping[str, type[Watcher[Any]]]:
    """The built-in types and those that an embedder brings along, by name.

    Raises:
        BadInput: two types have one name.
    """
    kinds: dict[str, type[Watcher[Any]]] = {}
    for watcher in (*BUILTIN, *extra):
        if watcher.kind in kinds:
            raise BadInput(f"There are two watcher types {watcher.kind!r}: give the added one another name.")
        kinds[watcher.kind] = watcher
    return MappingProxyType(kinds)
