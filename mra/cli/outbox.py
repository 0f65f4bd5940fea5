"""`mra outbox ...`: what is waiting, what failed, and what to do about it. Works beside a running daemon."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from mra import clock
from mra.cli import show
from mra.cli.options import LANE, config_option, json_option
from mra.cli.outbox_access import SEQ, complain, reading
from mra.cli.outbox_changes import adopt, drop, requeue, vacuum
from mra.cli.outbox_export import export
from mra.cli.outbox_sealed import exports, settle
from mra.errors import BadInput
from mra.outbox import inspection, verification
from mra.outbox.record import Lane
from mra.settings import read_settings
from mra.units import show_duration, show_size

if TYPE_CHECKING:
    from pathlib import Path


@click.group()
def outbox() -> None:
    """Look into the outbox, and mend it by hand.

    \b
    Examples:
      mra outbox lanes
      mra outbox ls events --limit 5
      mra outbox requeue --lane submissions
    """


for _command in (requeue, drop, export, exports, settle, vacuum, adopt):
    outbox.add_command(_command)


@outbox.command()
@config_option
@json_option
def lanes(config: Path, as_json: bool) -> None:
    """Show every lane: what was accepted and where it is now.

    \b
    Examples:
      mra outbox lanes
      mra outbox lanes --json | jq '.[] | select(.held)'
    """
    with reading(config) as connection:
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
@click.option("--limit", type=SEQ, default=20, show_default=True, help="Rows per lane.")
@click.option("--after", type=click.IntRange(0, 2**63 - 1), default=0, help="Only rows behind this sequence number.")
def ls(config: Path, as_json: bool, lane: str | None, limit: int, after: int) -> None:
    """List rows that wait, oldest first.

    \b
    Examples:
      mra outbox ls
      mra outbox ls events --limit 100 --after 5000
    """
    with reading(config) as connection:
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
@click.argument("seq", type=SEQ)
def show_row(config: Path, as_json: bool, lane: str, seq: int) -> None:
    """Show one row whole.

    \b
    Examples:
      mra outbox show events 17
      mra outbox show submissions 3 --json
    """
    with reading(config) as connection:
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
    show.raw(body)


@outbox.command()
@config_option
@json_option
@click.argument("lane", type=LANE)
@click.option("-n", "count", type=SEQ, default=10, show_default=True, help="Rows to begin with.")
@click.option("-f", "--follow", is_flag=True, help="Go on until interrupted.")
def tail(config: Path, as_json: bool, lane: str, count: int, follow: bool) -> None:
    """Show the newest rows of LANE, whatever became of them.

    \b
    Examples:
      mra outbox tail events
      mra outbox tail metrics --follow
    """
    after = 0
    with reading(config) as connection:
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
    """List rows that the SaaS refused for good, with its reason.

    \b
    Examples:
      mra outbox parked
      mra outbox parked --lane submissions --json
    """
    with reading(config) as connection:
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


@outbox.command()
@config_option
@json_option
def losses(config: Path, as_json: bool) -> None:
    """List what left undelivered, and why.

    \b
    Examples:
      mra outbox losses
      mra outbox losses --json | jq .reason
    """
    with reading(config) as connection:
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
    """Recount every lane, check every row's checksum and the file itself; exit code 1 when something is wrong.

    \b
    Examples:
      mra outbox verify
      mra outbox verify --json
    """
    with reading(config) as connection, show.progress("Checking rows", enabled=not as_json) as report:
        findings = verification.verify(connection, report)
    if any(finding.problem.startswith("SQLite: ") for finding in findings):
        complain(read_settings(config, secrets=False))
    document: dict[str, Any] = {"ok": not findings, "findings": [vars(finding) for finding in findings]}
    if as_json:
        show.print_json(document)
    else:
        for finding in findings:
            click.echo(f"{finding.lane or 'file'}: {finding.problem}")
        click.echo("All rows are intact and every lane adds up." if not findings else f"{len(findings)} problems.")
    if findings:
        raise click.exceptions.Exit(1)
