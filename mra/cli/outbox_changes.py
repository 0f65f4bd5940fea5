"""`mra outbox requeue|drop|vacuum|adopt`: what mends an outbox by hand. Each leaves an audit row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mra.cli import show
from mra.cli.options import LANE, actor, config_option, json_option
from mra.cli.outbox_access import SEQ, writing
from mra.errors import BadInput, Refused
from mra.outbox import inspection, operator, sqlite
from mra.outbox.record import Lane
from mra.settings import read_settings
from mra.units import show_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from mra.outbox.sqlite import Connection

_SLICE = 500  # rows changed in one transaction: a running daemon gets its turn in between


def _chosen(connection: Connection, numbers: tuple[int, ...], lane: str | None, everything: bool) -> list[int]:
    if bool(numbers) + bool(lane) + everything != 1:
        raise BadInput("Say which rows: numbers from `mra outbox parked`, or --lane LANE, or --all.")
    if numbers:
        return list(numbers)
    return [row["no"] for row in inspection.parked(connection, Lane(lane) if lane else None) if row["intact"]]


def _slices(found: Sequence[int], asked: Sequence[int]) -> Iterator[Sequence[int]]:
    """What to change in a transaction each; numbers that a person gave go at once, for a wrong one changes nothing."""
    size = len(asked) or _SLICE
    for start in range(0, len(found), size):
        yield found[start : start + size]


@click.command()
@config_option
@json_option
@click.argument("numbers", type=SEQ, nargs=-1)
@click.option("--lane", type=LANE, help="All parked rows of this lane.")
@click.option("--all", "everything", is_flag=True, help="All parked rows.")
def requeue(config: Path, as_json: bool, numbers: tuple[int, ...], lane: str | None, everything: bool) -> None:
    """Send parked rows again, at the end of their lanes. Damaged ones stay parked.

    \b
    Examples:
      mra outbox requeue 4 5 6
      mra outbox requeue --lane submissions
    """
    with writing(config) as connection:
        chosen = _chosen(connection, numbers, lane, everything)
        count = sum(operator.requeue(connection, part, actor=actor()) for part in _slices(chosen, numbers))
    _poke(config)
    _say(as_json, {"requeued": count}, f"{count} rows wait again.")


@click.command()
@config_option
@json_option
@click.argument("numbers", type=SEQ, nargs=-1)
@click.option("--lane", type=LANE, help="NUMBERS are sequence numbers of rows that wait in this lane.")
@click.option("--all-parked", is_flag=True, help="Drop every parked row.")
@click.option("--force", is_flag=True, help="Do not ask.")
def drop(
    config: Path, as_json: bool, numbers: tuple[int, ...], lane: str | None, all_parked: bool, force: bool
) -> None:
    """Give rows up for good: parked rows by number, or waiting rows of --lane by sequence number.

    \b
    Examples:
      mra outbox drop 4 5 6
      mra outbox drop --lane events 17 18 --force
    """
    if bool(numbers) == all_parked or (lane and all_parked):
        raise BadInput("Say which rows: numbers from `mra outbox parked`, --lane LANE with numbers, or --all-parked.")
    if not force:
        click.confirm("Dropped rows are never delivered. Drop them?", abort=True, err=True)
    with writing(config) as connection:
        if lane:
            count = operator.drop_waiting(connection, Lane(lane), numbers, actor=actor())
        else:
            chosen = [row["no"] for row in inspection.parked(connection)] if all_parked else numbers
            count = sum(operator.drop_parked(connection, part, actor=actor()) for part in _slices(chosen, numbers))
    _say(as_json, {"dropped": count}, f"{count} rows dropped; see `mra outbox losses`.")


@click.command()
@config_option
@json_option
def vacuum(config: Path, as_json: bool) -> None:
    """Give free pages back to the disk.

    \b
    Example:
      mra outbox vacuum
    """
    with writing(config) as connection:
        before, after = operator.vacuum(connection)
    freed = (before - after) * sqlite.PAGE_SIZE
    _say(as_json, {"freed_bytes": freed}, f"{show_size(freed)} given back.")


@click.command()
@config_option
@json_option
@click.argument("lane", type=LANE)
@click.option("--force", is_flag=True, help="Do not ask.")
def adopt(config: Path, as_json: bool, lane: str, force: bool) -> None:
    """Let LANE go on after another writer used this agent's name (a restored copy, a second installation).

    Rows that wait are sent under a new epoch. If the other writer had sent some of the same rows, they are stored
    twice; their ids tell.

    \b
    Example:
      mra outbox adopt events
    """
    if not force:
        click.confirm(f"Is the other writer of lane {lane} stopped for good?", abort=True, err=True)
    with writing(config) as connection:
        held = operator.adopt(connection, Lane(lane), actor=actor())
    if not held:
        raise Refused(f"Lane {lane} is not held: there is nothing to adopt.")
    _poke(config)
    _say(as_json, {"adopted": lane}, f"Lane {lane} goes on under a new epoch at its next look at the SaaS.")


def _poke(config: Path) -> None:
    from mra.control import poke_daemon

    poke_daemon(read_settings(config, secrets=False).socket)


def _say(as_json: bool, document: dict[str, object], sentence: str) -> None:
    if as_json:
        show.print_json(document)
    else:
        click.echo(sentence)
