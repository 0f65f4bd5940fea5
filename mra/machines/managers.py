"""Manager machines: for each plugin a small machine that keeps its archive deployed (section 3.12 of the reference).

    <store>/<prefix>_<plugin>/machine.yaml     the manager, written here and run by the fleet
    <store>/.<prefix>_<plugin>.gone            a manager that was retired; its plugin is still to be removed
    <plugins directory>/<plugin>/              the plugin, deployed by its manager

Choria looks for managers to purge in the plugins directory, and so finds none where that is not the store; here it is
the store in any case. A retired manager leaves a mark, so that a kill between the two removals leaves no plugin behind.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mra.durable import replace_file, sync_directory
from mra.errors import BadInput, Unavailable
from mra.machines.archives.deploy import remove_deployed
from mra.machines.archives.sums import SUMS_NAME
from mra.machines.archives.tree import remove
from mra.machines.scan import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from mra.machines.durations import Duration
    from mra.machines.spec import Plugin


def render(plugin: Plugin, prefix: str, interval: Duration, target: Path) -> bytes:
    """The manifest of a plugin's manager. (pure)

    Values are quoted as JSON, which is YAML, so that none of them can become anything but a value. Templates in them
    are left for the archive watcher to expand, as in Choria.
    """
    properties = {
        "source": plugin.source,
        "checksum": plugin.checksum,
        "creates": plugin.name,
        "target": str(target),
        "verify": SUMS_NAME,
        "verify_checksum": plugin.verify_checksum,
        "username": plugin.username,
        "password": plugin.password,
        "governor": plugin.governor,
    }
    written = "".join(f"      {name}: {_quoted(value)}\n" for name, value in properties.items() if value)
    return f"""\
name: {_quoted(f"{prefix}_{plugin.name}")}
version: "1.0.0"
initial_state: MANAGE
transitions:
  - name: enter_maintenance
    from: [MANAGE]
    destination: MAINTENANCE
  - name: resume
    from: [MAINTENANCE]
    destination: MANAGE
watchers:
  - name: download
    type: archive
    state_match: [MANAGE]
    interval: {_quoted(str(interval))}
    properties:
{written}""".encode()


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Managers:
    """The manager machines of one plugins watcher. Methods are blocking and can be repeated after a kill."""

    store: Path
    plugins_directory: Path
    prefix: str
    interval: Duration

    def check_names(self, plugins: Iterable[Plugin]) -> None:
        """Raises `BadInput` for a plugin that would be taken for a manager."""
        for plugin in plugins:
            if plugin.name.startswith(f"{self.prefix}_"):
                raise BadInput(f"plugin name {plugin.name} begins like those of managers; choose another")

    def write(self, plugin: Plugin) -> bool:
        """Make the plugin's manager what it shall be; whether there was anything to do."""
        manifest = render(plugin, self.prefix, self.interval, self.plugins_directory)
        directory = self._directory(plugin.name)
        with suppress(OSError):
            if (directory / MANIFEST).read_bytes() == manifest:
                return False
        if directory.is_dir() and not directory.is_symlink():
            replace_file(directory / MANIFEST, manifest)
            return True
        new = self.store / f".{directory.name}.new"
        remove(new)
        new.mkdir(mode=0o700)
        replace_file(new / MANIFEST, manifest)
        remove(directory)
        new.rename(directory)
        sync_directory(self.store)
        return True

    def retire(self, wanted: Collection[str]) -> bool:
        """Take the managers of all other plugins away from the fleet; whether there were any."""
        retired = False
        for directory in self.store.glob(f"{self.prefix}_*"):
            name = directory.name.removeprefix(f"{self.prefix}_")
            if name and name not in wanted and directory.is_dir() and not directory.is_symlink():
                remove(self._mark(name))
                directory.rename(self._mark(name))
                retired = True
        if retired:
            sync_directory(self.store)
        return retired

    def purge(self) -> bool:
        """Remove the plugins of retired managers; whether there were any. One whose manager is still at work stays."""
        purged = False
        for mark in self.store.glob(f".{self.prefix}_*.gone"):
            name = mark.name.removeprefix(f".{self.prefix}_").removesuffix(".gone")
            with suppress(Unavailable):  # its manager has not been stopped yet; the mark stays for the next time
                remove_deployed(self.plugins_directory, name)
                remove(mark)
                purged = True
        return purged

    def _directory(self, name: str) -> Path:
        return self.store / f"{self.prefix}_{name}"

    def _mark(self, name: str) -> Path:
        return self.store / f".{self.prefix}_{name}.gone"
