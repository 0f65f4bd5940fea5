"""`mra saas node ...`: which nodes are enrolled, and whose key may be replaced."""

from __future__ import annotations

import time
from contextlib import closing

import click

from mra.cli import show
from mra.cli.options import json_option
from mra.cli.saas_access import Reach, directory_option
from mra.cli.saas_token import ledger_of


@click.group()
def node() -> None:
    """Nodes that the provisioning service has enrolled.

    \b
    Examples:
      mra saas node ls acme
      mra saas node forget acme web-1
    """


@node.command("ls")
@directory_option
@json_option
@click.option("--waiting", is_flag=True, help="Nodes whose last attempt failed, and why.")
@click.argument("name", required=False)
def node_ls(reach: Reach, as_json: bool, waiting: bool, name: str | None) -> None:
    """Enrolled nodes; of customer NAME only, if given.

    \b
    Examples:
      mra saas node ls acme
      mra saas node ls --waiting
    """
    from mra.provisioner import records

    with closing(ledger_of(reach)) as ledger:
        found = records.waiting(ledger) if waiting else records.nodes(ledger, name)
    if as_json:
        show.print_json(found)
    elif waiting:
        names = reach.names()
        failed = [
            (names.get(one["account"], one["account"]), one["identity"], one["failures"], one["reason"])
            for one in found
        ]
        show.table(("Customer", "Node", "Failures", "Reason"), failed, empty="No node waits.")
    else:
        rows = [
            (one["customer"], one["identity"], one["role"] or "-", _moment(one["renewed"]), _moment(one["expires"]))
            for one in found
        ]
        show.table(("Customer", "Node", "Role", "Renewed", "Expires"), rows, empty="No nodes.")


@node.command("forget")
@directory_option
@json_option
@click.argument("name")
@click.argument("identity")
def node_forget(reach: Reach, as_json: bool, name: str, identity: str) -> None:
    """Let another key enrol as IDENTITY of customer NAME, as after a node lost its disk.

    What the old key has still counts until it expires; the command says how to revoke it.

    \b
    Example:
      mra saas node forget acme web-1
    """
    from mra.provisioner.records import forget_node

    customer = reach.registry().get(name)
    with closing(ledger_of(reach)) as ledger:
        user = forget_node(ledger, customer.account, identity, time.time())
    if as_json:
        show.print_json({"customer": name, "identity": identity, "user": user})
    else:
        click.echo(f"{identity} of {name} may be enrolled by another key.")
        click.echo(f"To cut the old one: mra saas customer deny {name} --key {user}")


def _moment(second: int | None) -> str:
    return show.moment(second * 1_000_000_000 if second else None)
