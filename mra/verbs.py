"""What the daemon answers about its machines, and does to them, over the control socket."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import trio

from mra.errors import BadInput
from mra.machines import graph
from mra.machines.states import Moved

if TYPE_CHECKING:
    from mra.control import Answers
    from mra.machines.fleet import Fleet
    from mra.machines.picture import MachinePicture


def machine_verbs(fleet: Fleet) -> Answers:
    """Answers of the control socket by their names. Each raises BadInput for a machine that does not exist."""

    async def ls() -> list[dict[str, Any]]:
        await trio.lowlevel.checkpoint()
        return [_document(picture) for picture in fleet.pictures()]

    async def show(name: str) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return _document(_picture(fleet, name))

    async def data(name: str) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return fleet.find(name).data.copy()

    async def draw(name: str, form: str) -> str:
        await trio.lowlevel.checkpoint()
        machine = fleet.find(name)
        return (graph.dot if form == "dot" else graph.mermaid)(machine.manifest, machine.state)

    async def transition(name: str, event: str) -> dict[str, Any]:
        step = await fleet.fire(name, event)
        machine = fleet.find(name)
        return {"machine": machine.manifest.name, "moved": isinstance(step, Moved), "state": machine.state}

    return {
        "machines.ls": ls,
        "machines.show": show,
        "machines.data": data,
        "machines.graph": draw,
        "machines.transition": transition,
    }


def _picture(fleet: Fleet, name: str) -> MachinePicture:
    """A machine by its name, directory or instance, also one that may not or cannot run."""
    for picture in fleet.pictures():
        if name in (picture.name, picture.directory, picture.instance, picture.directory.rpartition("/")[2]):
            return picture
    raise BadInput(f"There is no machine {name[:60]!r}: use one that `mra machines ls` shows.")


def _document(picture: MachinePicture) -> dict[str, Any]:
    return {**asdict(picture), "condition": picture.condition.value}
