"""`mra saas config ...`: desired state, key by key."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from mra.cli import show
from mra.cli.options import json_option
from mra.cli.saas_access import Reach, access_options, with_session
from mra.errors import BadInput, Refused


@click.group()
def config() -> None:
    """What a customer's agents shall do: keys and values, of which only the newest count.

    \b
    Examples:
      mra saas config put acme limits limits.json
      mra saas config ls acme
      mra saas config get acme limits
    """


def read_input(file: Path, most: int = 8 * 1024 * 1024) -> bytes:
    """The bytes of FILE, or of standard input for `-`. Raises BadInput."""
    try:
        if str(file) == "-":
            data = sys.stdin.buffer.read(most + 1)
        else:
            with file.open("rb") as source:
                data = source.read(most + 1)
    except OSError as error:
        raise BadInput(f"Cannot read {file} ({error.strerror}): check the path.") from error
    if len(data) > most:
        raise BadInput(f"{file} has more than {most} bytes: publish a link to large things, not the things.")
    return data


@config.command("put")
@access_options
@json_option
@click.argument("customer")
@click.argument("key")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), default="-")
def config_put(reach: Reach, as_json: bool, customer: str, key: str, file: Path) -> None:
    """Store FILE (or standard input) as the value of KEY for all agents of CUSTOMER.

    \b
    Example:
      mra saas config put acme limits limits.json
    """
    from mra.saas.config import put

    account = reach.customer(customer)
    value = read_input(file)
    revision = with_session(reach.access(), lambda session: put(session, account, key, value))
    if as_json:
        show.print_json({"customer": customer, "key": key, "revision": revision, "bytes": len(value)})
    else:
        click.echo(f"{customer} {key} is at revision {revision}.")


@config.command("get")
@access_options
@json_option
@click.argument("customer")
@click.argument("key")
def config_get(reach: Reach, as_json: bool, customer: str, key: str) -> None:
    """Print the value of KEY, byte for byte; exit code 1 when there is none.

    \b
    Example:
      mra saas config get acme limits > limits.json
    """
    from mra.saas.config import get

    account = reach.customer(customer)
    entry = with_session(reach.access(), lambda session: get(session, account, key))
    if entry is None or entry.value is None:
        raise Refused(f"Customer {customer} has no key {key}: `mra saas config ls {customer}` lists those it has.")
    if as_json:
        written = datetime.fromtimestamp(entry.written / 1e9, UTC).isoformat() if entry.written else None
        text = entry.value.decode("utf-8", "replace")
        show.print_json({"key": key, "revision": entry.revision, "written": written, "value": text})
    else:
        click.echo(entry.value, nl=False)


@config.command("rm")
@access_options
@json_option
@click.argument("customer")
@click.argument("key")
def config_rm(reach: Reach, as_json: bool, customer: str, key: str) -> None:
    """Remove KEY for all agents of CUSTOMER; removing what is not there succeeds.

    \b
    Example:
      mra saas config rm acme limits
    """
    from mra.saas.config import remove

    account = reach.customer(customer)
    removed = with_session(reach.access(), lambda session: remove(session, account, key))
    if as_json:
        show.print_json({"customer": customer, "key": key, "removed": removed})
    else:
        click.echo(f"{customer} {key} is removed." if removed else f"{customer} has no key {key}.")


@config.command("ls")
@access_options
@json_option
@click.argument("customer")
def config_ls(reach: Reach, as_json: bool, customer: str) -> None:
    """List the keys of CUSTOMER and their revisions.

    \b
    Example:
      mra saas config ls acme
    """
    from mra.saas.config import ls

    account = reach.customer(customer)
    listing = with_session(reach.access(), lambda session: ls(session, account))
    if as_json:
        show.print_json({"customer": customer, "revision": listing.revision, "keys": listing.keys})
    else:
        show.table(("Key", "Revision"), sorted(listing.keys.items()), empty=f"{customer} has no keys.")
