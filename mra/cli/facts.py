"""`mra facts`: what this node tells of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from mra.cli import show
from mra.cli.options import agent_options, config_option, json_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mra.settings import Settings


@click.command()
@config_option
@json_option
def facts(config: Path, as_json: bool) -> None:
    """Show the facts of this node: those of the running daemon, or else those of this moment.

    \b
    Examples:
      mra facts
      mra facts --json | jq .machine_room.problems
    """
    from mra.settings import read_settings

    settings = read_settings(config)
    document = _from_daemon(settings) or _of_this_moment(settings)
    show.print_json(document) if as_json else show.pairs(dict(_lines(document)))


def _from_daemon(settings: Settings) -> Mapping[str, Any] | None:
    """None when no daemon runs, or it has no facts yet."""
    from mra.control import ask_daemon
    from mra.errors import Unavailable

    try:
        found: Mapping[str, Any] = ask_daemon(settings.socket, "facts")
    except Unavailable:
        return None
    return found


def _of_this_moment(settings: Settings) -> Mapping[str, Any]:
    import trio

    from mra.errors import Refused
    from mra.facts import take_snapshot

    if settings.facts is None:
        raise Refused("Facts are switched off: write `enabled = true` into section [facts] of the configuration.")
    options = agent_options()
    return trio.run(
        take_snapshot, replace(settings.facts, node=replace(settings.facts.node, options=options.build)), options.facts
    ).facts


def _lines(value: Any, path: str = "") -> Iterator[tuple[str, object]]:
    """Dotted paths and plain values."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _lines(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _lines(item, f"{path}.{index}")
    else:
        yield path, "" if value in ({}, []) else value
