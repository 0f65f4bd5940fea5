"""`mra outbox ...`: what is waiting, what failed, and what to do about it. Works beside a running daemon."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mra import clock
from mra.cli import show
from mra.cli.options import LANE, actor, config_option, json_option
from mra.errors import BadInput, Refused
from mra.outbox import inspection, operator, sqlite
from mra.outbox.opening import prepare
from mra.outbox.record import Lane
from mra.settings import read_settings
from mra.units import show_duration, show_size

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mra.outbox.sqlite import Connection


@click.group()
def outbox() -> None:
    """Look into the outbox, and mend it by hand.

    \b
    Examples:
      mra outbox lanes
      mra outbox ls events --limit 5
      mra outbox requeue --lane submissions
    """


def _reading(config: Path) -> AbstractContextManager[Connection]:
    return closing(sqlite.connect_readonly(read_settings(config).database))


def _writing(config: Path) -> AbstractContextManager[Connection]:
    settings = read_settings(config)
    if not settings.database.exists():
        raise BadInput(f"There is no outbox at {settings.database}: check --config.")
    return closing(prepare(settings.database, settings.outbox))


@outbox.command()
@config_option
@json_option
def lanes(config: Path, as_json: bool) -> None:
    """Show every lane: what was accepted and where it is now."""
    with _reading(config) as connection:
        reports = inspection.lane_reports(connection, clock.now())
    if as_json:
        show.print_json(reports)
        return
    show.table(
        ("Lane", "Accepted", "Delivered", "Waiting", "Parked", "Shed", "Bytes", "Oldest", "Held"),
        [
            (
                r["lane"], r["accepted"], r["delivered"], r["waiting"], r["parked"], r["shed"],
                show_size(r["waiting_bytes"]), None if r["oldest_age"] is None else show_duration(r["oldest_age"]),
                r["held"],
            )
            for r in reports
        ],
        empty="No lanes.",
    )  # fmt: skip


@outbox.command("ls")
@config_option
@json_option
@click.argument("lane", type=LANE, required=False)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Rows per lane.")
@click.option("--after", type=click.IntRange(0), default=0, help="Only rows behind this sequence number.")
def ls(config: Path, as_json: bool, lane: str | None, limit: int, after: int) -> None:
    """List rows that wait, oldest first."""
    with _reading(config) as connection:
        found = [
            row
            for each in ([Lane(lane)] if lane else Lane)
            for row in inspection.backlog(connection, each, after=after, limit=limit)
        ]
    if as_json:
        show.print_json_lines(found)
        return
    show.table(
        ("Lane", "Seq", "Accepted", "Subject", "Size", "In flight", "Id"),
        [
            (r["lane"], r["seq"], show.moment(r["wall"]), r["subject"], r["size"], r["in_flight"], r["id"])
            for r in found
        ],
        empty="Nothing waits.",
    )


@outbox.command("show")
@config_option
@json_option
@click.argument("lane", type=LANE)
@click.argument("seq", type=click.IntRange(1))
def show_row(config: Path, as_json: bool, lane: str, seq: int) -> None:
    """Show one row whole."""
    with _reading(config) as connection:
        found = inspection.row(connection, Lane(lane), seq)
    if found is None:
        raise BadInput(
            f"Row {seq} of lane {lane} is not kept here: it was delivered long ago, shed, or never accepted."
        )
    if as_json:
        show.print_json(found)
        return
    body = found.pop("body")
    found["wall"] = show.moment(found["wall"])
    show.pairs(found)
    click.echo()
    click.echo(body)


@outbox.command()
@config_option
@json_option
@click.argument("lane", type=LANE)
@click.option("-n", "count", type=click.IntRange(1), default=10, show_default=True, help="Rows to begin with.")
@click.option("-f", "--follow", is_flag=True, help="Go on until interrupted.")
def tail(config: Path, as_json: bool, lane: str, count: int, follow: bool) -> None:
    """Show the newest rows of LANE, whatever became of them."""
    after = 0
    with _reading(config) as connection:
        while True:
            found = inspection.newest(connection, Lane(lane), after=after, limit=1000 if after else count)
            for row in found:
                after = row["seq"]
                line = f"{show.moment(row['wall'])}  {row['seq']:>8}  {row['size']:>7} B  {row['subject']}"
                click.echo(json.dumps(row) if as_json else line)
            sys.stdout.flush()
            if not follow:
                return
            time.sleep(0.5)


@outbox.command()
@config_option
@json_option
@click.option("--lane", type=LANE, help="Only this lane.")
def parked(config: Path, as_json: bool, lane: str | None) -> None:
    """List rows that the SaaS refused for good, with its reason."""
    with _reading(config) as connection:
        found = inspection.parked(connection, Lane(lane) if lane else None)
    if as_json:
        show.print_json_lines(found)
        return
    show.table(
        ("No", "Lane", "Seq", "Parked", "Subject", "Size", "Reason"),
        [
            (r["no"], r["lane"], r["seq"], show.moment(r["parked_wall"]), r["subject"], r["size"], r["reason"])
            for r in found
        ],
        empty="Nothing is parked.",
    )


def _chosen(connection: Connection, numbers: tuple[int, ...], lane: str | None, everything: bool) -> list[int]:
    if bool(numbers) + bool(lane) + everything != 1:
        raise BadInput("Say which rows: numbers from `mra outbox parked`, or --lane LANE, or --all.")
    if numbers:
        return list(numbers)
    return [row["no"] for row in inspection.parked(connection, Lane(lane) if lane else None)]


@outbox.command()
@config_option
@json_option
@click.argument("numbers", type=int, nargs=-1)
@click.option("--lane", type=LANE, help="All parked rows of this lane.")
@click.option("--all", "everything", is_flag=True, help="All parked rows.")
def requeue(config: Path, as_json: bool, numbers: tuple[int, ...], lane: str | None, everything: bool) -> None:
    """Send parked rows again, at the end of their lanes."""
    with _writing(config) as connection:
        count = operator.requeue(connection, _chosen(connection, numbers, lane, everything), actor=actor())
    _poke(config)
    _say(as_json, {"requeued": count}, f"{count} rows wait again.")


@outbox.command()
@config_option
@json_option
@click.argument("numbers", type=int, nargs=-1)
@click.option("--lane", type=LANE, help="NUMBERS are sequence numbers of rows that wait in this lane.")
@click.option("--all-parked", is_flag=True, help="Drop every parked row.")
@click.option("--force", is_flag=True, help="Do not ask.")
def drop(
    config: Path, as_json: bool, numbers: tuple[int, ...], lane: str | None, all_parked: bool, force: bool
) -> None:
    """Give rows up for good: parked rows by number, or waiting rows of --lane by sequence number."""
    if not numbers and not all_parked:
        raise BadInput("Say which rows: numbers from `mra outbox parked`, or --lane LANE with sequence numbers.")
    if not force:
        click.confirm("Dropped rows are never delivered. Drop them?", abort=True)
    with _writing(config) as connection:
        if lane:
            count = operator.drop_waiting(connection, Lane(lane), numbers, actor=actor())
        else:
            chosen = [row["no"] for row in inspection.parked(connection)] if all_parked else list(numbers)
            count = operator.drop_parked(connection, chosen, actor=actor())
    _say(as_json, {"dropped": count}, f"{count} rows dropped; see `mra outbox losses`.")


@outbox.command()
@config_option
@json_option
def losses(config: Path, as_json: bool) -> None:
    """List what left undelivered, and why."""
    with _reading(config) as connection:
        found = inspection.losses(connection)
    if as_json:
        show.print_json_lines(found)
        return
    show.table(
        ("No", "Lane", "Reason", "Rows", "Bytes", "From", "To", "Last", "Reported", "Detail"),
        [
            (
                r["no"], r["lane"], r["reason"], r["count"], show_size(r["bytes"]), r["first_seq"], r["last_seq"],
                show.moment(r["wall"]), bool(r["reported"]), r["detail"],
            )
            for r in found
        ],
        empty="Nothing was lost.",
    )  # fmt: skip


@outbox.command()
@config_option
@json_option
def verify(config: Path, as_json: bool) -> None:
    """Recount every lane, check every row's checksum and the file itself; exit code 1 when something is wrong."""
    with _reading(config) as connection, show.progress("Checking rows", enabled=not as_json) as report:
        findings = inspection.verify(connection, report)
    document: dict[str, Any] = {"ok": not findings, "findings": [vars(finding) for finding in findings]}
    if as_json:
        show.print_json(document)
    else:
        for finding in findings:
            click.echo(f"{finding.lane or 'file'}: {finding.problem}")
        click.echo("All rows are intact and every lane adds up." if not findings else f"{len(findings)} problems.")
    if findings:
        raise click.exceptions.Exit(1)


@outbox.command()
@config_option
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), default="-")
@click.option("--lane", type=LANE, help="Only this lane.")
@click.option("--all", "everything", is_flag=True, help="Delivered rows that are still kept, too.")
def export(config: Path, file: Path, lane: str | None, everything: bool) -> None:
    """Write rows that wait to FILE (or standard output) as JSON lines; bodies are base64."""
    import base64

    count = 0
    with (
        _reading(config) as connection,
        click.open_file(str(file), "w", encoding="utf-8", atomic=str(file) != "-") as out,
    ):
        for each in [Lane(lane)] if lane else Lane:
            for row in inspection.export(connection, each, everything=everything):
                row["body"] = base64.b64encode(row["body"]).decode()
                out.write(json.dumps(row) + "\n")
                count += 1
    click.echo(f"{count} rows exported.", err=True)


@outbox.command()
@config_option
@json_option
def vacuum(config: Path, as_json: bool) -> None:
    """Give free pages back to the disk."""
    with _writing(config) as connection:
        before, after = operator.vacuum(connection)
    freed = (before - after) * sqlite.PAGE_SIZE
    _say(as_json, {"freed_bytes": freed}, f"{show_size(freed)} given back.")


@outbox.command()
@config_option
@json_option
@click.argument("lane", type=LANE)
@click.option("--force", is_flag=True, help="Do not ask.")
def adopt(config: Path, as_json: bool, lane: str, force: bool) -> None:
    """Let LANE go on after another writer used this agent's name (a restored copy, a second installation).

    Rows that wait are sent under a new epoch. If the other writer had sent some of the same rows, they are stored
    twice; their ids tell.
    """
    if not force:
        click.confirm(f"Is the other writer of lane {lane} stopped for good?", abort=True)
    with _writing(config) as connection:
        held = operator.adopt(connection, Lane(lane), actor=actor())
    if not held:
        raise Refused(f"Lane {lane} is not held: there is nothing to adopt.")
    _poke(config)
    _say(as_json, {"adopted": lane}, f"Lane {lane} goes on under a new epoch at its next look at the SaaS.")


def _poke(config: Path) -> None:
    from mra.control import poke_daemon

    poke_daemon(read_settings(config).socket)


def _say(as_json: bool, document: dict[str, object], sentence: str) -> None:
    if as_json:
        show.print_json(document)
    else:
        click.echo(sentence)
