"""`mra submit`: accept records from the shell, with the daemon up or down."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mra.cli import show
from mra.cli.options import LANE, config_option, json_option
from mra.errors import BadInput

if TYPE_CHECKING:
    from mra.outbox.record import Draft, Receipt
    from mra.settings import Settings

_GROUP = 1000


@click.command()
@config_option
@json_option
@click.argument("subject")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), default="-")
@click.option("--lane", type=LANE, default="submissions", show_default=True, help="Lane that takes the record.")
@click.option(
    "--header", "-H", "headers", multiple=True, metavar="NAME=VALUE", help="Header to send along; repeatable."
)
@click.option("--id", "id_", help="Name of the submission: the same id is accepted once, so a retry is safe.")
@click.option("--ttl", help="Give up on it after this much uptime of the host, such as 24h.")
@click.option("--key", help="Key for lanes that keep the newest record of each key.")
@click.option("--lines", is_flag=True, help="Accept every line of FILE as a record of its own.")
def submit(
    config: Path, as_json: bool, subject: str, file: Path, lane: str, headers: tuple[str, ...], id_: str | None,
    ttl: str | None, key: str | None, lines: bool,
) -> None:  # fmt: skip
    """Accept FILE (or standard input) as a submission on SUBJECT and print its id.

    When the command succeeds the record is on disk and will be delivered, whatever happens to this host short of
    losing the disk. Exit code 75 means there was no room: nothing was accepted, try again later.

    \b
    Examples:
      mra submit app.orders order.json
      date | mra submit app.heartbeat --ttl 1h
      mra submit app.readings readings.ndjson --lines
    """
    from mra.outbox.record import Draft, Lane
    from mra.settings import read_settings
    from mra.units import parse_duration

    settings = read_settings(config)
    if lines and id_:
        raise BadInput("--id names one record and --lines makes many: leave one of them out.")
    lifetime = None if ttl is None else parse_duration(ttl, "--ttl")
    bodies = _bodies(file, lines)
    parsed = _headers(headers)
    drafts = [Draft(Lane(lane), subject, body, parsed, key, id_, lifetime) for body in bodies]
    if not drafts:
        raise BadInput(f"{file} holds no records: give at least one line.")
    receipts = _accept(settings, drafts)
    if as_json:
        found = [{"lane": r.lane.value, "seq": r.seq, "id": r.id, "repeated": r.repeated} for r in receipts]
        show.print_json_lines(found)
    else:
        for receipt in receipts:
            click.echo(receipt.id)


def _bodies(file: Path, lines: bool) -> list[bytes]:
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise BadInput(f"Cannot read {file} ({error.strerror}): check the path.") from error
    return [line for line in data.splitlines() if line] if lines else [data]


def _headers(texts: tuple[str, ...]) -> dict[str, str]:
    headers = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInput(f"--header {text!r} has no equals sign: write NAME=VALUE.")
        if name.lower().startswith(("nats-", "mra-")):
            raise BadInput(f"Header {name} is reserved: choose a name that does not start with Nats- or Mra-.")
        headers[name] = value
    return headers


def _accept(settings: Settings, drafts: list[Draft]) -> list[Receipt]:
    """Accept in groups of one transaction each; a refusal says how many were accepted before it."""
    from mra.clock import now
    from mra.control import poke_daemon
    from mra.outbox import sqlite
    from mra.outbox.outbox import prepare
    from mra.outbox.store import Request, accept

    receipts: list[Receipt] = []
    connection = prepare(settings.database, settings.outbox)
    try:
        for start in range(0, len(drafts), _GROUP):
            request = Request(drafts[start : start + _GROUP])
            outcome = accept(connection, settings.database, [request], settings.outbox, now())[0]
            if isinstance(outcome, Exception):
                if receipts:
                    click.echo(f"mra: {len(receipts)} of {len(drafts)} records were accepted.", err=True)
                raise outcome
            receipts += outcome
    except sqlite.Error as error:
        raise sqlite.translate(error, settings.database) from error
    finally:
        connection.close()
        if receipts:
            poke_daemon(settings.socket)
    return receipts
