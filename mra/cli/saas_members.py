"""`mra saas customer deny`, `allow` and `credentials`: single nodes of a customer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mra.cli import show
from mra.cli.options import json_option
from mra.cli.saas_access import Reach, directory_option, system_options
from mra.cli.saas_customers import change
from mra.errors import BadInput
from mra.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from mra.saas.registry import Customer


@click.command("deny")
@system_options
@json_option
@click.argument("name")
@click.option("--node", "nodes", multiple=True, help="Name of a node; every key it ever had is revoked.")
@click.option("--key", "users", multiple=True, help="Public key of a user (U...).")
def customer_deny(reach: Reach, as_json: bool, name: str, nodes: tuple[str, ...], users: tuple[str, ...]) -> None:
    """Cut nodes or keys of a customer, and give them no token any more.

    \b
    Example:
      mra saas customer deny acme --node web-1
    """
    _deny(reach, as_json, name, nodes, users, "denies them", lambda denied, named: denied | named)


@click.command("allow")
@system_options
@json_option
@click.argument("name")
@click.option("--node", "nodes", multiple=True, help="Name of a node that was denied.")
@click.option("--key", "users", multiple=True, help="Public key of a user that was denied.")
def customer_allow(reach: Reach, as_json: bool, name: str, nodes: tuple[str, ...], users: tuple[str, ...]) -> None:
    """Take `deny` back: the tokens count again, as long as they have not expired.

    \b
    Example:
      mra saas customer allow acme --node web-1
    """
    _deny(reach, as_json, name, nodes, users, "allows them", lambda denied, named: denied - named)


@click.command("credentials")
@directory_option
@json_option
@click.argument("name")
@click.argument("node")
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="File to make, mode 0600.")
@click.option("--validity", help="How long they count, such as 90d; default: for ever.")
def customer_credentials(reach: Reach, as_json: bool, name: str, node: str, output: Path, validity: str | None) -> None:
    """Make a credentials file for NODE of a customer, where enrolment is not used; key and token in one.

    \b
    Examples:
      mra saas customer credentials acme n1 --output n1.creds --validity 90d
    """
    from mra.saas.directory import write
    from mra.tokens import creds
    from mra.tokens.nkey import KeyPair, Kind

    registry = reach.registry()
    now = time.time()
    expires = int(now + parse_duration(validity, "--validity")) if validity else None
    if output.exists():
        raise BadInput(f"{output} exists: name another file, as keys are not replaced.")
    key = KeyPair.generate(Kind.USER)
    token = registry.issue(name, node, key.public, now=now, expires=expires)
    write(output, creds.compose(token, key))
    if as_json:
        show.print_json({"customer": name, "node": node, "user": key.public, "expires": expires, "file": str(output)})
    else:
        click.echo(f"{output} lets {node} of {name} in.")


def _deny(
    reach: Reach, as_json: bool, name: str, nodes: tuple[str, ...], users: tuple[str, ...], done: str,
    combine: Callable[[set[str], set[str]], set[str]],
) -> None:  # fmt: skip
    import msgspec

    from mra.saas.registry import check_node
    from mra.tokens.nkey import Kind, check_public

    if not nodes and not users:
        raise BadInput("Nobody is named: give --node or --key.")
    named_nodes, named_users = {check_node(node) for node in nodes}, {check_public(user, Kind.USER) for user in users}

    def alter(one: Customer) -> Customer:
        return msgspec.structs.replace(
            one,
            denied_nodes=tuple(sorted(combine(set(one.denied_nodes), named_nodes))),
            denied_users=tuple(sorted(combine(set(one.denied_users), named_users))),
        )

    change(reach, as_json, name, alter, done)
