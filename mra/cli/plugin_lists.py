"""Lists of plugins as they were published: which came before, and what may follow. (pure)

It stands here because it joins two subsystems that do not know each other: the bucket and the specifications.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mra.cli import show
from mra.errors import MraError, Refused
from mra.machines import spec
from mra.machines.archives.source import without_credentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mra.config.bucket import Entry
    from mra.machines.spec import Document


def read_document(entry: Entry) -> Document | None:
    """The specification in a write; None for a removal or something else."""
    try:
        return None if entry.value is None else spec.parse(entry.value)
    except MraError:
        return None


def newest(history: Sequence[Entry]) -> Document | None:
    """The last specification among the writes, oldest first."""
    return next((found for entry in reversed(history) if (found := read_document(entry))), None)


def earlier(history: Sequence[Entry], revision: int | None) -> Document:
    """What to roll back to: the write at `revision`, or the last whose list is not the one in force. Raises Refused."""
    if revision is not None:
        entry = next((entry for entry in history if entry.revision == revision), None)
        found = read_document(entry) if entry else None
        if found is None:
            raise Refused(f"Revision {revision} is no specification: `mra saas plugins ls --history` shows all.")
        return found
    now = read_document(history[-1]) if history else None
    for entry in reversed(history):
        found = read_document(entry)
        if found and (now is None or found.plugins != now.plugins):
            return found
    raise Refused("There is no earlier list to go back to: sign and publish one.")


def check_newer(document: Document, last: Document | None) -> None:
    """Refuse what agents that accepted `last` would refuse as older. Raises Refused."""
    if last is None or not last.serial or document == last:
        return
    if not document.serial or int(document.serial) <= int(last.serial):
        raise Refused(
            f"Agents would refuse serial {document.serial or 'none'}, as {last.serial} was published before: "
            "sign with a greater serial."
        )


def picture(entry: Entry) -> dict[str, Any]:
    """A write as commands show it: no passwords, and a `problem` where it is no specification."""
    shown: dict[str, Any] = {
        "revision": entry.revision,
        "written": show.moment(entry.written),
        "serial": None,
        "plugins": [],
        "problem": "removed" if entry.value is None else None,
    }
    if entry.value is None:
        return shown
    try:
        document = spec.parse(entry.value)
        found = spec.entries(document.plugins)
    except MraError as error:
        shown["problem"] = error.sentence
        return shown
    shown["serial"] = document.serial
    shown["plugins"] = [
        {
            "name": plugin.name,
            "source": without_credentials(plugin.source),
            "checksum": plugin.checksum,
            "verify_checksum": plugin.verify_checksum,
            "match": plugin.match,
            "governor": plugin.governor,
        }
        for plugin in found
    ]
    return shown
